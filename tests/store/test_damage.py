"""A store that was damaged, or made by a stranger, is refused: what it says is never believed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from evolute.errors import StoreError
from evolute.store import inspection, sqlite
from evolute.store.base import Store
from evolute.store.checksums import trial_checksum
from evolute.store.sql import open_store
from evolute.testing.store_examples import RUN, example_entry, example_trial

DIGEST = example_trial(1).key.digest

ASKING: tuple[Callable[[Store], object], ...] = (
    lambda store: store.get(DIGEST),
    lambda store: store.find_trial(DIGEST[:8]),
    lambda store: store.trials(),
    lambda store: store.trials(run=RUN.digest),
    lambda store: store.put(example_trial(1)),
)
"""Every way to come by a trial."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store.sqlite"
    with open_store(path) as store:
        trial = store.put(example_trial(1, fitness=0.5))
        store.open_run(RUN)
        store.record_many(RUN.digest, [example_entry(0, trial)])
        store.put_document(RUN.digest, "verdict", [1])
    return path


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file count as too large to be checked whole when it is opened."""
    monkeypatch.setattr(sqlite, "CHECKED_WHOLE_BYTES", 0)


def refusal(path: Path) -> str:
    messages = set()
    for read_only in (True, False):
        with pytest.raises(StoreError, match="damaged") as caught:
            open_store(path, read_only=read_only)
        messages.add(str(caught.value))
    (message,) = messages
    assert "\n" not in message
    assert "evolute store repair" in message
    return message


def damage(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


CHANGES = [
    ("rule", "none: another"),
    ("seed", 7),
    ("seed", "seven"),
    ("protocol_id", 7),
    ("outcome", "won"),
    ("sentence", b"\xff"),
    ("sentence", "trained to its ene"),
    ("machine", b"\xff"),
    ("created_at", b"\5"),
    ("fitness", 0.5000000001),
    ("fitness", "high"),
    ("fitness", float("inf")),
    ("loss", None),
    ("steps", b"\0"),
    ("steps", 901),
    ("seconds", "long"),
    ("curve", "[["),
    ("curve", "[1]"),
    ("curve", '[[1,2,3,4,"x"]]'),
    ("curve", "[[1,2,3]]"),
    ("curve", "[" * 200_000),
    ("curve", b"\xff"),
    ("checksum", 1),
]


@pytest.mark.parametrize(("column", "value"), CHANGES)
def test_a_damaged_trial_is_found_when_a_store_is_opened(
    path: Path, column: str, value: object
) -> None:
    damage(path, f"UPDATE trials SET {column} = ?", value)
    assert "(trial 1: " in refusal(path)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(("column", "value"), CHANGES)
def test_a_damaged_trial_is_refused_whoever_asks(path: Path, column: str, value: object) -> None:
    damage(path, f"UPDATE trials SET {column} = ?", value)
    with open_store(path) as store:
        for ask in ASKING:
            with pytest.raises(StoreError, match="damaged") as caught:
                ask(store)
            assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("outcome", "won"),
        ("fitness", "high"),
        ("loss", None),
        ("steps", "many"),
        ("seconds", "long"),
        ("curve", "[["),
        ("curve", '[[1,2,3,4,"x"]]'),
    ],
)
def test_what_cannot_be_is_refused_even_with_a_right_checksum(
    path: Path, column: str, value: object
) -> None:
    damage(path, f"UPDATE trials SET {column} = ?", value)
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        row = connection.execute("SELECT * FROM trials").fetchone()
        damage(path, "UPDATE trials SET checksum = ?", trial_checksum(row))
    with open_store(path) as store, pytest.raises(StoreError, match="damaged"):
        store.get(DIGEST)


@pytest.mark.parametrize("facts", ["{", "1", "[" * 200_000, b"\xff", '"text"', '{"stage":1}'])
def test_a_damaged_entry_is_refused(
    path: Path, facts: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(path, "UPDATE run_entries SET facts = ?", facts)
    assert "(entry 1 0: " in refusal(path)
    monkeypatch.setattr(sqlite, "CHECKED_WHOLE_BYTES", 0)
    with open_store(path) as store:
        with pytest.raises(StoreError, match="damaged"):
            store.run_entries(RUN.digest)
        with pytest.raises(StoreError, match="damaged"):
            store.trials(run=RUN.digest)


@pytest.mark.parametrize(("column", "value"), [("fitness", 0.75), ("outcome", "diverged")])
def test_an_entry_that_repeats_its_trial_wrongly_is_refused(
    path: Path, column: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(path, f"UPDATE run_entries SET {column} = ?", value)
    assert f"it repeats the {column} of its trial wrongly" in refusal(path)
    monkeypatch.setattr(sqlite, "CHECKED_WHOLE_BYTES", 0)
    with open_store(path) as store, pytest.raises(StoreError, match="damaged"):
        store.trials(run=RUN.digest)


@pytest.mark.parametrize(
    ("statement", "part"),
    [
        ("UPDATE documents SET body = '{'", "document 1 verdict"),
        ("UPDATE documents SET body = '[2]'", "document 1 verdict"),
        ("UPDATE runs SET name = 'another'", "run 1"),
        ("UPDATE protocols SET text = '{}'", "protocol 1"),
        ("UPDATE protocols SET text = x'ff'", "protocol 1"),
    ],
)
def test_damage_of_any_other_row_is_found_when_a_store_is_opened(
    path: Path, statement: str, part: str
) -> None:
    damage(path, statement)
    assert f"({part}: " in refusal(path)


@pytest.mark.usefixtures("large")
def test_a_damaged_document_run_or_count_is_refused(path: Path) -> None:
    damage(path, "UPDATE documents SET body = '[2]'")
    damage(path, "UPDATE run_entries SET outcome = 'won'")
    damage(path, "UPDATE runs SET name = 'another'")
    with open_store(path) as store:
        for ask in (store.counts, store.results, lambda run: store.document(run, "verdict")):
            with pytest.raises(StoreError, match="damaged"):
                ask(RUN.digest)
        with pytest.raises(StoreError, match="damaged"):
            store.runs()


@pytest.mark.usefixtures("large")
def test_a_text_that_is_no_text_is_refused(path: Path) -> None:
    damage(path, "UPDATE trials SET sentence = CAST(x'ff' AS TEXT)")
    with open_store(path) as store, pytest.raises(StoreError, match="damaged"):
        store.trials()


@pytest.mark.usefixtures("large")
def test_a_table_that_is_missing_is_an_error_of_one_line(path: Path) -> None:
    damage(path, "DROP TABLE trials")
    with open_store(path) as store, pytest.raises(StoreError, match="no such table") as caught:
        store.trials()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", ["large", "small"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_file_that_was_cut_short_is_found_when_it_is_opened(
    path: Path, part: float, size: str, request: pytest.FixtureRequest
) -> None:
    if size == "large":
        request.getfixturevalue("large")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    refusal(path)


def test_a_flipped_byte_in_the_heading_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(b"T" + whole[1:])
    with pytest.raises(StoreError, match="is not a database"):
        open_store(path)


def test_a_text_that_no_database_can_hold_is_refused_and_the_rest_goes_on(path: Path) -> None:
    trial = example_trial(2, task="\ud800")
    with open_store(path) as store:
        with pytest.raises(StoreError, match="cannot be used"):
            store.put(trial)
        store.put(example_trial(3))
        assert len(store.trials()) == 2


CHECKPOINT_CHANGES = [
    "UPDATE checkpoints SET content = x'00'",
    "UPDATE checkpoints SET content = 'text'",
    "UPDATE checkpoints SET entries = 0",
    "UPDATE checkpoints SET name = 'other'",
    "UPDATE checkpoints SET checksum = 0",
    "UPDATE checkpoints SET part = 7 WHERE part = 1",
    "DELETE FROM checkpoints WHERE part = 1",
]


@pytest.mark.parametrize("change", CHECKPOINT_CHANGES)
def test_a_damaged_checkpoint_counts_as_none_and_nothing_else_is_refused(
    path: Path, change: str
) -> None:
    columns = {"state": b"{}", "settled": bytes(32)}
    with open_store(path) as store:
        store.put_checkpoint(RUN.digest, columns, entries=1)
    damage(path, change)
    with open_store(path) as store:
        assert store.checkpoint(RUN.digest) is None
        assert len(store.run_entries(RUN.digest)) == 1
        store.put_checkpoint(RUN.digest, columns, entries=1)
        assert store.checkpoint(RUN.digest) == columns
    assert inspection.find_faults(path) == []


def test_a_damaged_checkpoint_is_told_by_the_check(path: Path) -> None:
    with open_store(path) as store:
        store.put_checkpoint(RUN.digest, {"state": b"{}"}, entries=1)
    damage(path, "UPDATE checkpoints SET content = x'00'")
    (fault,) = inspection.find_faults(path)
    assert fault.startswith("checkpoint 1 0: its content and its checksum")
