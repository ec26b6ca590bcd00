"""A search with the engine: the same to the bit with one worker and with two, under any plan."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from runs.test_run import everything_stored
from tiny import TINY_CONFIG, TINY_TASK, build

import evolute
from evolute.cli.progress import ProgressDisplay
from evolute.lanes.choose import PLANS
from evolute.runs.executors.base import Executor
from evolute.runs.executors.in_process import InProcessExecutor
from evolute.runs.executors.process import BegunWorkers
from evolute.runs.listener import Listener
from evolute.runs.run import Progress
from evolute.train.equipment import Equipment


def search(
    store: Path, *, plan: str, workers: int = 1, task: str | evolute.Task = TINY_TASK
) -> evolute.SearchResult:
    config = {**TINY_CONFIG, "plan": plan}
    return evolute.search(
        task, config=config, store=store, workers=workers, budget=8, verdict=False
    )


def test_one_worker_and_two_give_the_same_bits_under_the_stacked_plan(tmp_path: Path) -> None:
    stores = [tmp_path / "one.sqlite", tmp_path / "two.sqlite"]
    one, two = (search(store, plan="stacked", workers=at + 1) for at, store in enumerate(stores))
    assert everything_stored(stores[0]) == everything_stored(stores[1])
    assert one.best == two.best
    assert [row.trial for row in one.leaderboard] == [row.trial for row in two.leaderboard]
    assert len(one.leaderboard) >= 3


def test_side_by_side_the_same_trials_are_found_as_one_after_the_other(tmp_path: Path) -> None:
    stacked = search(tmp_path / "stacked.sqlite", plan="stacked", task=build())
    plain = search(tmp_path / "plain.sqlite", plan="plain", task=build())
    assert {row.trial for row in stacked.leaderboard} == {row.trial for row in plain.leaderboard}
    fitness = {row.trial: row.fitness for row in plain.leaderboard}
    for row in stacked.leaderboard:
        assert row.fitness == pytest.approx(fitness[row.trial], rel=1e-4)


class Steps(Listener):
    """Notes what it hears, in order."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def choosing(self) -> None:
        self.heard.append("choosing")

    def baselines(self, done: int, expected: int) -> None:
        self.heard.append("baselines")


def test_workers_are_told_the_plan_that_was_chosen_before_they_begin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[Equipment] = []

    def made(
        _name: str, loaded: evolute.Task, *, equipment: Equipment, begun: BegunWorkers, **_: object
    ) -> Executor:
        begun.close()
        told.append(equipment)
        return InProcessExecutor(loaded, equipment=equipment)

    monkeypatch.setattr("evolute.discover.make_executor", made)
    steps = Steps()
    evolute.search(
        TINY_TASK, config=TINY_CONFIG, store=tmp_path / "s.sqlite", workers=1, budget=1,
        verdict=False, listener=steps,
    )  # fmt: skip
    ((_, plan),) = told[0].chosen
    assert plan in PLANS
    assert steps.heard[0] == "choosing"
    assert steps.heard.count("choosing") == 1
    assert "baselines" in steps.heard


def test_a_line_says_that_plans_are_chosen() -> None:
    written = io.StringIO()
    with ProgressDisplay(Console(file=written, width=200)) as display:
        display.choosing()
    assert written.getvalue() == "choosing how to train many copies side by side…\n"


def test_a_line_says_how_many_trials_are_trained_side_by_side() -> None:
    written = io.StringIO()
    with ProgressDisplay(Console(file=written, width=200)) as display:
        display.progress(Progress(phase="drawing", under_way=7))
    assert "side by side 7" in written.getvalue()


def test_a_task_object_is_planned_by_the_process_that_trains_it(tmp_path: Path) -> None:
    steps = Steps()
    evolute.search(
        build(), config=TINY_CONFIG, store=tmp_path / "s.sqlite", budget=1, verdict=False,
        listener=steps,
    )  # fmt: skip
    assert "choosing" not in steps.heard
