"""Wherever memory runs out, half as many lanes go on, and every figure is as without it."""

from __future__ import annotations

import gc
import json
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from train.small_task import ADAM, AT_RATE, PROBED, make, untimed

from evolute.compiler.population import LaneOptimizer
from evolute.errors import TaskError
from evolute.lanes import check, choose, remembered, serving, timing
from evolute.lanes.base import LaneNetwork
from evolute.lanes.stacked.network import StackedNetwork
from evolute.lang.rule import Rule
from evolute.tasks.base import Task
from evolute.train import planning, workshop
from evolute.train.deck import Deck
from evolute.train.environment import fixed_environment
from evolute.train.equipment import Equipment
from evolute.train.first_models import FirstModels
from evolute.train.first_use import FirstUse
from evolute.train.population import Population
from evolute.train.sources import Cohort
from evolute.trial import OutcomeKind, Trial

RULES = "v/sqrt(s)", "momentum: g", "exp(exp(exp(g*0+3)))"
LANES = 8

PLACES: dict[str, tuple[Any, str]] = {
    "a network is made": (StackedNetwork, "__init__"),
    "a model is put into a slot": (StackedNetwork, "put"),
    "slots are added": (StackedNetwork, "resize"),
    "lanes make a step": (StackedNetwork, "train_step"),
    "lanes are evaluated": (StackedNetwork, "evaluate"),
    "weights are looked at": (StackedNetwork, "finite"),
    "a deck is made": (Deck, "__init__"),
    "states of rules are made": (LaneOptimizer, "assign"),
    "states of rules move": (LaneOptimizer, "rebind"),
    "rules make a step": (LaneOptimizer, "step"),
    "slots are given back": (Deck, "leave"),
    "a batch is made": (Cohort, "next_batch"),
    "a first model is made": (FirstModels, "kept"),
    "a new shape is compared": (FirstUse, "_told"),
}
PLANNING: dict[str, tuple[Any, str]] = {
    "the task is looked at": (planning, "survey"),
    "other shapes are looked for": (planning, "other_kinds"),
    "plans are compared with the plain module": (check, "_lanes"),
    "a plan is made": (serving.Serving, "maker"),
    "a plan is asked for": (workshop, "plan_lanes"),
}
ALL = PLACES | PLANNING


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@cache
def task() -> Task:
    return make(name="short of memory")


@dataclass
class Fault:
    """Lets memory run out at some calls of a place."""

    fails: Callable[[int, Any], bool]
    calls: int = 0
    failed: int = 0

    def around(self, real: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            self.calls += 1
            if self.fails(self.calls, args):
                self.failed += 1
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")
            return real(*args, **named)

        return call


def train(lanes: int = LANES, *, planned: bool = False, early: int = 1) -> dict[int, Trial]:
    """Train some trials, and when they have begun, others beside them."""
    population = Population(
        task(),
        Equipment(lanes=lanes, plan="stacked"),
        make_network=None if planned else StackedNetwork,
    )
    requests = [(text, seed) for seed in (0, 1) for text in RULES]
    ended: dict[int, Trial] = {}
    with fixed_environment():
        for ticket, (text, seed) in enumerate(requests):
            population.add(ticket, Rule.parse(text), PROBED, seed=seed)
            if ticket == early - 1:
                for _ in range(3):
                    ended.update(population.step())
        ended.update(population.run())
    return {ticket: untimed(trial) for ticket, trial in ended.items()}


@cache
def undisturbed(*, planned: bool = False) -> dict[int, Trial]:
    trials = train(planned=planned)
    assert {trial.outcome.kind for trial in trials.values()} >= {
        OutcomeKind.FINISHED,
        OutcomeKind.DIVERGED,
    }
    return trials


@pytest.mark.parametrize("place", ALL)
def test_memory_that_runs_out_once_changes_no_figure(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = place in PLANNING
    wanted = undisturbed(planned=planned)
    owner, name = ALL[place]
    failed = 0
    for lanes, at in ((LANES, 1), (LANES, 7), (1, 1)):
        fault = Fault(lambda call, _, at=at: call == at)  # type: ignore[misc]
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, fault.around(getattr(owner, name)))
            assert train(lanes, planned=planned) == wanted
        failed += fault.failed
    assert failed


SIZED = {
    "init": (StackedNetwork, "__init__"),
    "put": (StackedNetwork, "put"),
    "resize": (StackedNetwork, "resize"),
    "finite": (StackedNetwork, "finite"),
    "step": (StackedNetwork, "train_step"),
}


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("place", SIZED)
def test_as_many_lanes_go_on_as_there_is_memory_for(
    place: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_many(_call: int, args: tuple[Any, ...]) -> bool:
        size = {"init": args[-1], "resize": args[-1]}.get(place)
        return bool((args[0].size if size is None else size) > limit)

    wanted = undisturbed()
    owner, name = SIZED[place]
    fault = Fault(too_many)
    monkeypatch.setattr(owner, name, fault.around(getattr(owner, name)))
    assert train(early=6 if place == "init" else 1) == wanted
    assert fault.failed


ALONE = [place for place in PLACES if place not in ("slots are added", "states of rules move")]
"""What happens where there is one lane, too."""


@pytest.mark.parametrize("place", [*ALONE, *PLANNING])
def test_where_not_even_one_lane_fits_one_line_says_so(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name = ALL[place]
    fault = Fault(lambda *_: True)
    monkeypatch.setattr(owner, name, fault.around(getattr(owner, name)))
    with pytest.raises(TaskError, match="not even one training fits into the memory") as caught:
        train(planned=place in PLANNING)
    assert "\n" not in str(caught.value)


def plan_of(lanes: int = LANES) -> str:
    """Return the plan that a new process chooses."""
    remembered._here.clear()
    ((_, plan),) = planning.choose_plans(
        task(), (AT_RATE,), equipment=Equipment(lanes=lanes)
    ).chosen
    return plan


def test_a_plan_that_was_taken_before_is_kept_among_as_many_lanes_as_there_is_memory_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plan_of()
    ((key, row),) = json.loads(remembered.plans_file().read_text()).items()
    row |= {"seconds": {"stacked/16": 1.0}, "sittings": 3, "finished": True}
    remembered.plans_file().write_text(json.dumps({key: row}))
    fault = Fault(lambda _, args: args[2] > 3)
    make_network = StackedNetwork.__init__
    monkeypatch.setattr(StackedNetwork, "__init__", fault.around(make_network))
    with caplog.at_level(logging.INFO, "evolute"):
        assert plan_of() == "stacked/16"
    assert caplog.messages[-1].endswith("memory ran out as plans were tried: now among 2 lanes")


@pytest.mark.parametrize("lanes", [1, LANES])
def test_a_plan_for_which_there_was_no_memory_is_tried_again_by_later_runs(
    lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "LANES_TIMED", 1)
    fault = Fault(lambda *_: True)
    with monkeypatch.context() as patched:
        patched.setattr(StackedNetwork, "__init__", fault.around(StackedNetwork.__init__))
        assert "loop" in plan_of(lanes)
    assert fault.failed
    assert not remembered.plans_file().exists()
    plan_of(lanes)
    (row,) = json.loads(remembered.plans_file().read_text()).values()
    assert "stacked" in row["seconds"]


def test_where_memory_is_short_the_networks_of_plans_are_timed_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watches: list[timing.Stopwatch] = []
    held: list[int] = []

    class Watched(timing.Stopwatch):
        def __init__(self, *args: Any) -> None:
            held.append(sum(each._network is not None for each in watches))
            super().__init__(*args)
            watches.append(self)

    monkeypatch.setattr(choose, "Stopwatch", Watched)
    monkeypatch.setattr(planning, "LANES_TIMED", 1)
    with monkeypatch.context() as patched:
        fault = Fault(lambda call, _: call == 1)
        patched.setattr(planning, "lane_criterion", fault.around(planning.lane_criterion))
        plan_of(1)
    assert len(held) > 1
    assert not any(held)


def test_what_the_lost_lanes_held_is_free_before_the_next_ones_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[weakref.ref[LaneNetwork]] = []
    alive: list[int] = []
    step = StackedNetwork.train_step

    class Watched(StackedNetwork):
        def __init__(self, *args: Any, **named: Any) -> None:
            alive.append(sum(each() is not None for each in made))
            super().__init__(*args, **named)
            made.append(weakref.ref(self))

        def train_step(self, batches: Any, slots: Any, *rest: Any) -> Any:
            held = [torch.zeros(4)]  # what a failing step leaves in its frame
            held.append(held)  # type: ignore[arg-type]
            if len(slots) > 2:
                raise MemoryError
            return step(self, batches, slots, *rest)

    population = Population(task(), Equipment(lanes=8), make_network=Watched)
    for ticket in range(6):
        population.add(ticket, ADAM, AT_RATE, seed=ticket)
    gc.disable()
    try:
        with fixed_environment():
            list(population.run())
    finally:
        gc.enable()
    assert alive == [0, 0, 0]


def test_the_time_of_lost_steps_counts_for_no_limit() -> None:
    class Slow(StackedNetwork):
        def train_step(self, batches: Any, slots: Any, *rest: Any) -> Any:
            measured = super().train_step(batches, slots, *rest)
            if len(slots) > 1 and population.under_way:
                lost.append(sum(lane.seconds for lane in population._training))
                if len(lost) == 5:
                    raise MemoryError
            return measured

    lost: list[float] = []
    population = Population(task(), Equipment(lanes=2), make_network=Slow)
    for ticket in (0, 1):
        population.add(ticket, ADAM, AT_RATE, seed=0)
    with fixed_environment():
        for _ in range(5):
            population.step()
        assert lost[-1] > 0
        assert [job.account.seconds for job in population._begun.values()] == pytest.approx([0, 0])
        list(population.run())


def test_a_trial_in_the_loop_and_the_lanes_beside_it_wait_for_one_another_where_memory_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from train.test_first_use import seldom

    own = make(name="seldom", model=seldom)
    protocol = replace(AT_RATE, learning_rate=0.01)

    def trained() -> dict[int, Trial]:
        population = Population(own, Equipment(plan="stacked", lanes=8))
        for seed in range(12):
            population.add(seed, ADAM, protocol, seed=seed)
        with fixed_environment():
            return {ticket: untimed(trial) for ticket, trial in population.run()}

    wanted = trained()
    decks: list[weakref.ref[Deck]] = []
    real = Deck.step

    def step(deck: Deck) -> Any:
        decks[:] = [each for each in decks if each() is not None and each() is not deck]
        decks.append(weakref.ref(deck))
        if sum(bool(each().lanes) for each in decks) > 1:  # type: ignore[union-attr]
            raise MemoryError
        return real(deck)

    monkeypatch.setattr(Deck, "step", step)
    assert trained() == wanted
