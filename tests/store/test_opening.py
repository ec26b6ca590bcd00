"""What open_store accepts and refuses, each refusal in one line and with nothing changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolute.errors import StoreError
from evolute.store import schema, sqlite
from evolute.store.address import parse_address
from evolute.store.sql import open_store
from evolute.testing.store_examples import RUN, example_trial

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store that holds one trial."""
    path = tmp_path / "store.sqlite"
    with open_store(path) as store:
        store.put(example_trial(1, fitness=0.5))
    return path


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", 0.02)


@pytest.fixture
def ordinary_folder() -> Iterator[Path]:
    """A folder that any user can reach, for tests of what a user may write."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Give up the superuser's rights for a while: nothing is read-only to a superuser."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def change(path: Path, statement: str, *values: object) -> None:
    """Change a closed store behind its back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def refusal(path: Path | str, *, create: bool = True, read_only: bool = False) -> str:
    with pytest.raises(StoreError) as caught:
        open_store(path, create=create, read_only=read_only)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("size", [1, 5, 100, 511, 512, 5000])
def test_a_text_file_is_refused_untouched(tmp_path: Path, size: int, *, read_only: bool) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"x" * size)
    assert "is not a database" in refusal(path, read_only=read_only)
    assert path.read_bytes() == b"x" * size
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_database_of_something_else_is_refused_untouched(
    tmp_path: Path, journal_mode: str, *, read_only: bool
) -> None:
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('0001')")
    before = path.read_bytes()
    assert "is a database of something else" in refusal(path, read_only=read_only)
    assert path.read_bytes() == before


@pytest.mark.parametrize("revision", ["0004", "9999", "0000", "", "x" * 500, "1\n2"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_store_of_a_newer_version_is_refused_untouched(
    path: Path, revision: str, *, read_only: bool
) -> None:
    change(path, f"UPDATE {schema.VERSION_TABLE} SET version_num = ?", revision)
    before = path.read_bytes()
    assert "was written by a newer evolute" in refusal(path, read_only=read_only)
    assert path.read_bytes() == before


def test_a_store_of_an_older_version_is_not_read_before_it_is_updated(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, "9999"))
    assert "was written by an older evolute" in refusal(path, read_only=True)


def test_a_folder_or_device_is_refused(tmp_path: Path) -> None:
    assert "is no file" in refusal(tmp_path)
    assert "is no file" in refusal("")
    assert "is no file" in refusal(os.devnull)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "its folder does not exist" in refusal(tmp_path / "none" / "store.sqlite")
    (tmp_path / "file").touch()
    assert "its folder does not exist" in refusal(tmp_path / "file" / "store.sqlite")


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    assert "cannot be opened" in refusal(tmp_path / ("x" * 5000))
    assert "zero byte" in refusal(tmp_path / "a\0b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("create", "read_only"), [(False, False), (False, True), (True, True)])
def test_a_store_is_made_only_when_asked(tmp_path: Path, *, create: bool, read_only: bool) -> None:
    path = tmp_path / "store.sqlite"
    assert "does not exist" in refusal(path, create=create, read_only=read_only)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_becomes_a_store_but_is_not_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.touch()
    assert "is empty" in refusal(path, read_only=True)
    assert path.stat().st_size == 0
    with open_store(path) as store:
        assert store.trials() == ()


@pytest.mark.parametrize(
    "address",
    [
        "mysql://me:secret@host/db",
        "postgresql+psycopg://me:secret@host:port/db",
        "postgresql+asyncpg://me:secret@host/db",
        "sqlite://host/db",
        "://",
        "a://",
    ],
)
def test_an_unknown_kind_of_address_is_refused_without_repeating_it(address: str) -> None:
    message = refusal(address)
    assert "sqlite:///path" in message
    assert "secret" not in message


def test_without_its_driver_an_address_on_a_server_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    message = refusal("postgresql+psycopg://me:secret@host/db")
    assert "pip install 'evolute[postgresql]'" in message
    assert "secret" not in message


@given(
    user=st.text("abc.-", max_size=8),
    password=st.text("abc:/?#%&=[]", max_size=12),
    rest=st.text(max_size=12),
)
def test_no_address_is_named_or_refused_with_its_password(
    user: str, password: str, rest: str
) -> None:
    said = []
    try:
        said.append(parse_address(f"postgresql+psycopg://{user}:s3cret{password}@{rest}").name)
    except StoreError as error:
        said.append(str(error))
    assert "s3cret" not in said[0]
    assert "\n" not in said[0]


def test_an_address_may_be_relative_or_absolute_or_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_store("sqlite:///here.sqlite").close()
    open_store(f"sqlite:///{tmp_path}/there.sqlite").close()
    open_store("sqlite://").close()
    open_store("sqlite:///:memory:").close()
    assert {entry.name for entry in tmp_path.iterdir()} == {"here.sqlite", "there.sqlite"}


def test_the_home_folder_may_be_written_as_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    open_store("~/store.sqlite").close()
    assert (tmp_path / "store.sqlite").exists()
    assert "no such home folder" in refusal("~nobody-of-this-name/store.sqlite")


@pytest.mark.usefixtures("impatient")
def test_a_locked_store_is_refused_and_opens_once_it_is_free(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "is locked by another process" in refusal(path)
        with open_store(path, read_only=True) as reader:
            assert len(reader.trials()) == 1
    with open_store(path) as store:
        assert len(store.trials()) == 1


@pytest.mark.usefixtures("impatient")
def test_a_store_locked_while_open_loses_nothing_and_goes_on(path: Path) -> None:
    with open_store(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="is locked by another process"):
            store.put(example_trial(2))
        other.execute("ROLLBACK")
        store.put(example_trial(2))
        assert len(store.trials()) == 2


def test_a_store_opened_for_reading_is_never_written(path: Path) -> None:
    before = path.read_bytes()
    with open_store(path, read_only=True) as store:
        assert len(store.trials()) == 1
        with pytest.raises(StoreError, match="is read-only"):
            store.put(example_trial(2))
        with pytest.raises(StoreError, match="is read-only"):
            store.open_run(RUN)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o444, 0o000])
def test_a_file_that_may_not_be_written_is_refused_for_writing(
    ordinary_folder: Path, mode: int
) -> None:
    path = ordinary_folder / "store.sqlite"
    with ordinary_user():
        open_store(path).close()
        path.chmod(mode)
        message = refusal(path)
    assert ("is read-only" if mode else "cannot be opened") in message


def test_a_read_only_folder_is_refused_for_writing_and_can_be_read(ordinary_folder: Path) -> None:
    path = ordinary_folder / "store.sqlite"
    with open_store(path) as store:
        trial = store.put(example_trial(1, fitness=0.5))
    path.chmod(0o444)
    ordinary_folder.chmod(0o555)
    with ordinary_user():
        with open_store(path, read_only=True) as store:
            assert store.get(trial.key.digest) == trial
        assert "is read-only" in refusal(path)
        assert "cannot be opened" in refusal(ordinary_folder / "new.sqlite")
    assert list(ordinary_folder.iterdir()) == [path]


def test_a_read_only_copy_with_trials_not_yet_merged_is_never_read_without_them(
    path: Path, ordinary_folder: Path
) -> None:
    with open_store(path) as store:
        store.put(example_trial(2))
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", ordinary_folder / f"store.sqlite{suffix}")
    ordinary_folder.chmod(0o555)
    with ordinary_user():
        assert "cannot be opened" in refusal(ordinary_folder / "store.sqlite", read_only=True)


def test_a_folder_that_may_not_be_entered_is_refused(ordinary_folder: Path) -> None:
    ordinary_folder.chmod(0o000)
    with ordinary_user():
        assert "cannot be opened: Permission denied" in refusal(ordinary_folder / "store.sqlite")


def test_many_may_make_the_same_store_at_once(tmp_path: Path) -> None:
    faults = open_together([tmp_path / "store.sqlite"] * 8)
    assert faults == []
    with open_store(tmp_path / "store.sqlite") as store:
        assert len(store.trials()) == 8


def test_many_stores_may_be_made_at_once(tmp_path: Path) -> None:
    assert open_together([tmp_path / f"{number}.sqlite" for number in range(8)]) == []


def open_together(paths: list[Path]) -> list[Exception]:
    """Open these stores in as many threads, released at once; return what went wrong."""
    faults: list[Exception] = []
    barrier = threading.Barrier(len(paths))

    def work(number: int) -> None:
        barrier.wait()
        try:
            with open_store(paths[number]) as store:
                store.put(example_trial(number))
        except Exception as fault:  # noqa: BLE001  # whatever a thread raises, the test must see
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(paths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return faults
