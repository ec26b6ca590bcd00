"""A store that was damaged, or made by a stranger, is refused: what it says is never believed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from evolute.errors import StoreError
from evolute.store.base import Store
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


def damage(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("rule", "none: another"),
        ("seed", 7),
        ("seed", "seven"),
        ("outcome", "won"),
        ("sentence", b"\xff"),
        ("machine", b"\xff"),
        ("created_at", b"\5"),
        ("fitness", "high"),
        ("fitness", float("inf")),
        ("loss", None),
        ("steps", b"\0"),
        ("seconds", "long"),
        ("curve", "[["),
        ("curve", "[1]"),
        ("curve", '[[1,2,3,4,"x"]]'),
        ("curve", "[[1,2,3]]"),
        ("curve", "[" * 200_000),
        ("curve", b"\xff"),
    ],
)
def test_a_damaged_trial_is_refused(path: Path, column: str, value: object) -> None:
    damage(path, f"UPDATE trials SET {column} = ?", value)
    with open_store(path) as store:
        for ask in ASKING:
            with pytest.raises(StoreError, match="damaged") as caught:
                ask(store)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("facts", ["{", "1", "[" * 200_000, b"\xff", '"text"'])
def test_a_damaged_entry_is_refused(path: Path, facts: object) -> None:
    damage(path, "UPDATE run_entries SET facts = ?", facts)
    with open_store(path) as store:
        with pytest.raises(StoreError, match="damaged"):
            store.run_entries(RUN.digest)
        with pytest.raises(StoreError, match="damaged"):
            store.trials(run=RUN.digest)


def test_a_damaged_document_or_count_is_refused(path: Path) -> None:
    damage(path, "UPDATE documents SET body = ?", "{")
    damage(path, "UPDATE trials SET outcome = ?", "won")
    with open_store(path) as store:
        with pytest.raises(StoreError, match="damaged"):
            store.document(RUN.digest, "verdict")
        with pytest.raises(StoreError, match="damaged"):
            store.counts(RUN.digest)


def test_a_text_that_is_no_text_is_refused(path: Path) -> None:
    damage(path, "UPDATE trials SET sentence = CAST(x'ff' AS TEXT)")
    with open_store(path) as store, pytest.raises(StoreError, match="damaged"):
        store.trials()


def test_a_table_that_is_missing_is_an_error_of_one_line(path: Path) -> None:
    damage(path, "DROP TABLE trials")
    with open_store(path) as store, pytest.raises(StoreError, match="no such table") as caught:
        store.trials()
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="is damaged: restore"), open_store(path) as store:
        store.put(example_trial(2))


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
