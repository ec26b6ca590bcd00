"""The leaderboard of a run, read in pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from evolute import leaderboard
from evolute.leaderboard import read_leaderboard
from evolute.store.base import RunRecord
from evolute.store.sql import open_store
from evolute.store.sql_store import SqlStore
from evolute.testing.store_examples import RUN, example_entry, example_trial
from evolute.trial import Trial, canonical_json

INITIAL, MAIN = '{"stage":"initial"}', '{"stage":"main"}'


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlStore]:
    monkeypatch.setattr(leaderboard, "ROWS_AT_ONCE", 3)
    with open_store(":memory:") as opened:
        yield opened


def run_of(store: SqlStore, trials: list[Trial]) -> RunRecord:
    config = canonical_json({"initial": INITIAL, "main": MAIN})
    record = store.open_run(replace(RUN, config_json=config))
    held = store.put_many(trials)
    store.record_many(record.digest, [example_entry(n, trial) for n, trial in enumerate(held)])
    return record


def scored(count: int, protocol: str, *, start: int = 0) -> list[Trial]:
    trials = [example_trial(n, fitness=-float(n % 7)) for n in range(start, start + count)]
    return [replace(trial, key=replace(trial.key, protocol=protocol)) for trial in trials]


@pytest.mark.parametrize("limit", [None, 0, 1, 3, 4, 10, 20])
def test_pages_make_up_the_whole_leaderboard(store: SqlStore, limit: int | None) -> None:
    trials = scored(10, MAIN)
    run = run_of(store, [*trials, example_trial(50)])
    rows = read_leaderboard(store, run, limit=limit)
    expected = sorted(trials, key=lambda trial: -(trial.score.fitness if trial.score else 0))
    assert [row.trial for row in rows] == [trial.key.digest for trial in expected][:limit]
    assert [row.rank for row in rows] == list(range(1, len(rows) + 1))


def test_the_main_stage_is_listed_and_the_initial_one_while_there_is_none(store: SqlStore) -> None:
    run = run_of(store, scored(5, INITIAL))
    assert len(read_leaderboard(store, run)) == 5
    (trial,) = store.put_many(scored(1, MAIN, start=99))
    store.record_many(run.digest, [example_entry(99, trial)])
    assert [row.trial for row in read_leaderboard(store, run)] == [trial.key.digest]


def test_only_what_may_be_listed_is_counted_to_the_limit(store: SqlStore) -> None:
    trials = scored(10, MAIN)
    run = run_of(store, trials)
    allowed = {trial.key.digest for trial in trials[5:]}
    rows = read_leaderboard(store, run, limit=4, within=allowed)
    assert len(rows) == 4
    assert {row.trial for row in rows} <= allowed


def test_a_short_leaderboard_reads_no_more_than_it_shows(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(store, scored(10, MAIN))
    read: list[int] = []
    whole = store.trials

    def noting(**choice: object) -> object:
        found = whole(**choice)  # type: ignore[arg-type]  # handed on as they came
        read.append(len(found))
        return found

    monkeypatch.setattr(store, "trials", noting)
    assert len(read_leaderboard(store, run, limit=2)) == 2
    assert read == [2]
