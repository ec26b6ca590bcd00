"""While workers begin, a run screens its first proposals; what it finds is what it would find."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runs.test_run import everything_stored
from tiny import TINY_CONFIG, build

from evolute.presets import resolve
from evolute.runs import run as run_module
from evolute.runs.evaluate import Evaluator
from evolute.runs.executors.base import TrialRequest
from evolute.runs.executors.in_process import InProcessExecutor
from evolute.runs.run import Ending, Progress, Run
from evolute.store.sql import open_store
from evolute.tasks.base import Task


def times(count: int) -> Callable[[], bool]:
    """Return what says yes so many times."""
    answers = iter([True] * count)
    return lambda: next(answers, False)


def run_once(
    store: Path, *, looks: int, budget: int | None = None, observe: Callable[[Progress], None]
) -> Ending:
    """Run the tiny search, begun as far as so many looks go."""
    task = build()
    with open_store(store) as opened, InProcessExecutor(task) as executor:
        run = new_run(Evaluator(task, opened, executor), budget=budget, observe=observe)
        run.begin(times(looks))
        observe(Progress(phase="begun"))
        return run.execute()


def new_run(
    evaluator: Evaluator,
    *,
    budget: int | None = None,
    observe: Callable[[Progress], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Run:
    settings = resolve("quick", TINY_CONFIG | {"task": "tiny", "budget": budget})
    config = settings.run_config(evaluator.task.name)
    return Run(
        config=config,
        search=config.new_search(),
        evaluator=evaluator,
        budget=settings.parsed_budget(),
        observe=observe,
        clock=clock,
    )


@pytest.mark.parametrize("looks", [1, 2, 4, 100])
def test_a_run_that_was_begun_is_the_one_that_was_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, looks: int
) -> None:
    monkeypatch.setattr(run_module, "SCREENED_AT_ONCE", 3)
    stores = [tmp_path / "begun.sqlite", tmp_path / "not.sqlite"]
    for budget in (5, None):  # the second goes on from what the first has stored
        for store, count in zip(stores, (looks, 0), strict=True):
            run_once(store, looks=count, budget=budget, observe=lambda _: None)
        assert everything_stored(stores[0]) == everything_stored(stores[1])


def test_nobody_hears_of_proposals_before_the_run_is_executed(tmp_path: Path) -> None:
    heard: list[Progress] = []
    ending = run_once(tmp_path / "store.sqlite", looks=100, observe=heard.append)
    assert heard[0].phase == "begun"
    assert ending is Ending.COMPLETE
    assert heard[-1].trained > 3


class Asked(InProcessExecutor):
    """Remembers what it was asked for."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.requests: list[TrialRequest] = []

    def submit(self, request: TrialRequest) -> int:
        self.requests.append(request)
        return super().submit(request)


def test_trials_of_first_candidates_are_asked_for_and_left_to_others_if_nothing_follows(
    tmp_path: Path,
) -> None:
    task = build()
    with open_store(tmp_path / "store.sqlite") as opened, Asked(task) as executor:
        run = new_run(Evaluator(task, opened, executor))
        run.begin(times(100))
        digests = [run.evaluator.digest(request) for request in executor.requests]
        assert len(digests) >= TINY_CONFIG["search"]["initial_candidates"]
        assert opened.held(digests).keys() == set(digests)
        run.close()
        run.close()
        assert not opened.held(digests)
        assert executor.next() is None


class Ahead(Asked):
    """Trains where it is told to while somebody else waits, as workers do by themselves."""

    collect: Callable[[], None] | None = None

    def when_others_wait(self, collect: Callable[[], None] | None) -> None:
        self.collect = collect

    @property
    def ended(self) -> int:
        return self._trainer is not None and self._trainer.busy


def test_trials_that_end_before_the_run_is_executed_are_charged_to_its_time(tmp_path: Path) -> None:
    task = build()
    with open_store(tmp_path / "store.sqlite") as opened, Ahead(task) as executor:
        run = new_run(Evaluator(task, opened, executor), clock=lambda: 0.0)
        run.begin(times(100))
        assert executor.collect is not None
        executor.collect()
        ahead = opened.get_many([run.evaluator.digest(each) for each in executor.requests])
        assert ahead
        run.execute()
        seconds = sum(trial.provenance.seconds for trial in ahead.values())
        assert seconds > 0
        assert run.progress.seconds == pytest.approx(seconds)
