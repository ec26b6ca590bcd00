"""What survives the death of a process, a full disk and other processes at the same store."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

import evolute
from evolute.errors import StoreError
from evolute.store import migrations
from evolute.store.inspection import find_faults
from evolute.store.sql import open_store
from evolute.store.sql_store import SqlStore
from evolute.testing.store_examples import RUN, example_entry, example_trial
from evolute.trial import Trial, canonical_json

WITHOUT_THE_FACE = f"""
import sys, types
face = types.ModuleType("evolute")
face.__path__ = {list(evolute.__path__)!r}
sys.modules["evolute"] = face
"""
"""The store needs none of the libraries, slow to load, that the package's face brings."""

WRITER = """
import sys
from evolute.store.sql import open_store
from evolute.testing.store_examples import example_trial
from evolute.trial import canonical_json

path, start, stop = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open_store(path) as store:
    for number in range(start, stop):
        held = store.put(example_trial(number, fitness=1 / (number + 1)))
        print(canonical_json(held.to_dict()), flush=True)
"""

KILLED_BEFORE_COMMIT = """
import os, signal, sys
from sqlalchemy import event
from evolute.store.sql import open_store
from evolute.testing.store_examples import example_trial

store = open_store(sys.argv[1])
event.listen(store._engine, "commit", lambda _: os.kill(os.getpid(), signal.SIGKILL))
store.put_many([example_trial(number) for number in range(1000)])
"""


KILLED_FIFTY_TIMES = """
import itertools, os, random, signal, sys, time
from evolute.store.sql import open_store
from evolute.testing.store_examples import RUN, example_entry, example_trial
from evolute.trial import canonical_json

def write(told):
    with open_store(sys.argv[1]) as store:
        store.open_run(RUN)
        first = len(store.run_entries(RUN.digest))
        for number in itertools.count(first):
            held = store.put(example_trial(number, fitness=1 / (number + 1)))
            store.record_many(RUN.digest, [example_entry(number, held)])
            os.write(1, (canonical_json(held.to_dict()) + "\\n").encode())
            os.write(told, b".")

open_store(sys.argv[1]).close()
draw = random.Random(0)
for _ in range(50):
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        write(told)
    for _ in range(draw.randrange(6)):
        os.read(heard, 1)
    time.sleep(draw.uniform(0, 0.006))
    os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    os.close(heard)
    os.close(told)
"""
"""Each goes on where the last one was killed; a child of a process that has loaded everything."""

LIMITED_WRITER = """
import resource, signal, sys
from evolute.errors import StoreError
from evolute.store.sql import open_store
from evolute.testing.store_examples import example_trial
from evolute.trial import canonical_json

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with open_store(sys.argv[1]) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    try:
        for number in range(10_000):
            held = store.put(example_trial(number, fitness=1.0))
            print(canonical_json(held.to_dict()), flush=True)
    except StoreError as error:
        print("refused:", error, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""

OLD = Path(__file__).parent / "assets" / "schema-0001.sql"


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WITHOUT_THE_FACE + program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kill_after(writer: subprocess.Popen[str], *, lines: int, path: Path) -> list[str]:
    """Kill a writer after so many lines, 0: as soon as its file is there; return its lines."""
    assert writer.stdout is not None
    seen = [writer.stdout.readline() for _ in range(lines)]
    while not lines and not path.exists():
        time.sleep(0.001)
    writer.send_signal(signal.SIGKILL)
    rest, _ = writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    # The last line may be cut short: its print had not returned.
    return seen + [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]


def require_sound(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def held_texts(store: SqlStore) -> set[str]:
    return {canonical_json(stored.trial.to_dict()) for stored in store.trials()}


def test_what_a_killed_process_was_told_is_stored_is_there(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    told: set[str] = set()
    for round_number, lines in enumerate((0, 1, 20, 150)):
        writer = start(WRITER, path, 1000 * round_number, 1000 * round_number + 100_000)
        told |= {line.strip() for line in kill_after(writer, lines=lines, path=path)}
        with open_store(path) as store:
            held = held_texts(store)
        assert told <= held
        require_sound(path)
    assert len(told) >= 171


def test_killed_at_fifty_moments_a_store_keeps_all_that_was_told(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    out, _ = start(KILLED_FIFTY_TIMES, path).communicate()
    told = {line for line in out.splitlines(keepends=True) if line.endswith("\n")}
    with open_store(path) as store:
        held = {f"{text}\n" for text in held_texts(store)}
        entries = store.run_entries(RUN.digest)
    assert len(told) > 50
    assert told <= held
    assert [entry.position for entry in entries] == list(range(len(entries)))
    assert find_faults(path) == []


def test_a_file_that_may_not_grow_loses_nothing_and_goes_on_once_it_may(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    writer = start(LIMITED_WRITER, path)
    out, _ = writer.communicate()
    *told, message = out.splitlines()
    assert writer.returncode == 0
    assert message.startswith("refused: store ")
    assert "disk" in message
    with open_store(path) as store:
        assert held_texts(store) == set(told)
        store.put(example_trial(10**6))
    assert told
    assert find_faults(path) == []


def test_two_processes_may_make_the_same_store_at_once(tmp_path: Path) -> None:
    for round_number in range(3):
        path = tmp_path / f"{round_number}.sqlite"
        writers = [start(WRITER, path, 100 * n, 100 * n + 5) for n in range(2)]
        told = {line for writer in writers for line in writer.communicate()[0].splitlines()}
        assert [writer.returncode for writer in writers] == [0, 0]
        with open_store(path) as store:
            assert held_texts(store) == told
        assert len(told) == 10


def test_two_processes_may_update_the_same_old_store_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD.read_text("utf-8"))
    writers = [start(WRITER, path, 100 * n, 100 * n + 5) for n in range(2)]
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers] == [0, 0]
    with open_store(path) as store:
        assert len(store.trials()) == 14
    with closing(sqlite3.connect(f"{path}.schema-0001")) as connection:
        assert connection.execute("SELECT count(*) FROM trials").fetchone() == (4,)


def test_a_process_killed_before_its_commit_leaves_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with open_store(path) as store:
        first = store.put(example_trial(5000))
    writer = start(KILLED_BEFORE_COMMIT, path)
    writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    with open_store(path) as store:
        assert [stored.trial for stored in store.trials()] == [first]
    require_sound(path)


def test_two_processes_that_store_the_same_hold_one_copy(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    writers = [start(WRITER, path, 0, 150) for _ in range(2)]
    told = [writer.communicate()[0].splitlines() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert told[0] == told[1]
    with open_store(path) as store:
        assert held_texts(store) == set(told[0])
        assert len(store.trials()) == 150


def test_an_update_of_the_schema_is_made_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.sqlite"
    whole = migrations.migrate

    def interrupted(connection: object) -> None:
        whole(connection)  # type: ignore[arg-type]  # handed on as it came
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "migrate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_store(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM sqlite_master").fetchall() == []
    with open_store(path) as store:
        assert store.trials() == ()


def fill(store: SqlStore, accepted: list[Trial]) -> None:
    """Store trials until the disk is full; note those that were accepted."""
    for number in range(10_000):
        accepted.append(store.put(example_trial(number, fitness=float(number))))  # noqa: PERF401


def test_a_full_disk_loses_nothing_and_the_store_goes_on_once_there_is_space(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.sqlite"
    with open_store(path) as store:
        store.open_run(RUN)
        with store._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 40")
        accepted: list[Trial] = []
        with pytest.raises(StoreError, match="no space left on its disk: free some"):
            fill(store, accepted)
        assert accepted
        assert [stored.trial for stored in store.trials(order="stored")] == accepted
        with pytest.raises(StoreError, match="no space left"):
            store.put_document(RUN.digest, "verdict", "x" * 100_000)
        with store._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 100000")
        store.put_document(RUN.digest, "verdict", "x" * 100_000)
        store.record_many(RUN.digest, [example_entry(0, accepted[0])])
    with open_store(path) as store:
        assert [stored.trial for stored in store.trials(order="stored")] == accepted
    require_sound(path)


def test_a_write_that_fails_in_the_middle_leaves_nothing_of_it(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.sqlite") as store:
        store.open_run(RUN)
        first = store.put(example_trial(0))
        with pytest.raises(StoreError, match="holds no trial"):
            store.record_many(
                RUN.digest, [example_entry(0, first), example_entry(1, example_trial(1))]
            )
        too_large = [example_trial(1), example_trial(2**63)]
        with pytest.raises(StoreError, match="cannot be used: Python int too large"):
            store.put_many(too_large)
        assert [stored.trial for stored in store.trials()] == [first]
        assert store.run_entries(RUN.digest) == ()


def test_nobody_writes_between_what_a_write_reads_and_what_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    attempts: list[str] = []
    with open_store(path) as store, closing(sqlite3.connect(path, timeout=0)) as other:
        store.open_run(RUN)
        trial = store.put(example_trial(1))

        def write_beside(_c: object, _k: object, statement: str, *_: object) -> None:
            if statement.startswith("INSERT INTO run_entries"):
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.execute("INSERT INTO protocols (text) VALUES ('{}')")
                attempts.append(statement)

        event.listen(store._engine, "before_cursor_execute", write_beside)
        store.record_many(RUN.digest, [example_entry(0, trial)])
        assert len(attempts) == 1


def test_each_connection_has_the_settings_that_sqlite_forgets(tmp_path: Path) -> None:
    full = 2
    wanted = {"foreign_keys": 1, "synchronous": full, "trusted_schema": 0, "journal_mode": "wal"}
    with open_store(tmp_path / "store.sqlite") as store, store._engine.connect() as connection:
        found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted}
    assert found == wanted


def test_a_store_leaves_no_logs_beside_it_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with open_store(path) as store:
        store.put(example_trial(1))
        assert os.path.exists(f"{path}-wal")  # noqa: PTH110  # a suffix, not a path of its own
    assert list(tmp_path.iterdir()) == [path]
