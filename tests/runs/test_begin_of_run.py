"""While workers begin, a run screens its first proposals; what it finds is what it would find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from runs.test_run import everything_stored
from tiny import TINY_CONFIG, build

from evolute.presets import resolve
from evolute.runs import run as run_module
from evolute.runs.answers import Deferred
from evolute.runs.evaluate import Evaluator
from evolute.runs.executors.base import TrialRequest
from evolute.runs.executors.in_process import InProcessExecutor
from evolute.runs.run import Ending, Progress, Run
from evolute.store.sql import open_store


def times(count: int) -> Callable[[], bool]:
    """Return what says yes so many times."""
    answers = iter([True] * count)
    return lambda: next(answers, False)


def run_once(
    store: Path, *, looks: int, budget: int | None = None, observe: Callable[[Progress], None]
) -> Ending:
    """Run the tiny search, begun as far as so many looks go."""
    settings = resolve("quick", TINY_CONFIG | {"task": "tiny", "budget": budget})
    task = build()
    config = settings.run_config(task.name)
    with open_store(store) as opened, InProcessExecutor(task) as executor:
        run = Run(
            config=config,
            search=config.new_search(),
            evaluator=Evaluator(task, opened, executor),
            budget=settings.parsed_budget(),
            observe=observe,
        )
        run.begin(times(looks))
        observe(Progress(phase="begun"))
        return run.execute()


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


class Kept:
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def ask(self, requests: dict[str, TrialRequest]) -> None:
        self.asked.extend(requests)


def test_requests_are_deferred_until_there_is_somebody_to_ask() -> None:
    deferred, kept = Deferred(), Kept()
    request = object()
    deferred.ask({"a": request})  # type: ignore[dict-item]
    deferred.pass_on(kept)  # type: ignore[arg-type]
    deferred.ask({"b": request})  # type: ignore[dict-item]
    assert kept.asked == ["a", "b"]
