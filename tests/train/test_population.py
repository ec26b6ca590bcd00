"""Trials trained side by side are the trials trained alone, in whatever company."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from train.small_task import ADAM, ANYTHING, AT_RATE, PROBED, SHORT, make, pairs, run, untimed

from evolute.errors import InputError, TaskError
from evolute.lanes.base import LaneNetwork
from evolute.lanes.choose import PLANS, Choice, choose
from evolute.lang.rule import Rule
from evolute.tasks.base import Evaluation, Measurement, Split, Task
from evolute.train.environment import fixed_environment
from evolute.train.equipment import Equipment
from evolute.train.planning import lane_criterion
from evolute.train.population import Population
from evolute.train.protocol import Protocol, Threshold, Training
from evolute.train.trainer import run_trial
from evolute.trial import OutcomeKind, Trial

TEXTS = (
    "g",
    "momentum: v/(sqrt(s)+1e-08)",
    "nesterov: dropout(v, 0.5) + [a3]*g",
    "[a1]*(sign_v + w1e_3)",
    "exp(exp(exp(g*0+3)))",
    "1",
)
TINY = replace(PROBED, training=Training(steps=6, epoch_steps=3, warmup_steps=1, abandon=ANYTHING))
Request = tuple[str, int]
EVERYTHING: tuple[Request, ...] = tuple((text, seed) for text in TEXTS for seed in (0, 1))


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)),
        nn.Conv2d(1, 4, 2, padding=1),
        nn.BatchNorm2d(4),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(4, 3),
    )


@cache
def choice(plan: str, task: Task) -> Choice:
    """Return the plan as it is offered for a task; one that is not is no plan to be tested."""
    batch = next(task.batches(torch.Generator().manual_seed(0), TINY.batch_size))
    criterion = lane_criterion(task)
    try:
        return choose(task.model, batch, criterion, name="", version="", plan=plan)
    except InputError as refusal:
        pytest.skip(str(refusal))


def train(
    requests: Sequence[Request],
    *,
    task: Task,
    plan: str,
    lanes: int,
    protocol: Protocol = TINY,
    late: int = 0,
) -> dict[Request, Trial]:
    """Train these side by side; the last ``late`` are asked for only after a few steps."""

    population = Population(
        task, Equipment(lanes=lanes), make_network=lambda _, size: choice(plan, task).make(size)
    )
    ended: list[tuple[int, Trial]] = []
    cut = len(requests) - late
    with fixed_environment():
        for ticket, (text, seed) in enumerate(requests):
            if ticket == cut:
                for _ in range(4):
                    ended += population.step()
            population.add(ticket, Rule.parse(text), protocol, seed=seed)
        ended += population.run()
    assert sorted(ticket for ticket, _ in ended) == list(range(len(requests)))
    return {requests[ticket]: untimed(trial) for ticket, trial in ended}


TASKS: Mapping[str, Task] = {"perceptron": make(), "convolutions": make(model=convolutions)}
ALONE: dict[tuple[str, str], dict[Request, Trial]] = {}


def alone(task: str, plan: str) -> dict[Request, Trial]:
    """Each request trained with nothing beside it."""
    if (task, plan) not in ALONE:
        ALONE[task, plan] = {
            request: train([request], task=TASKS[task], plan=plan, lanes=1)[request]
            for request in EVERYTHING
        }
    return ALONE[task, plan]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("plan", PLANS)
def test_a_trial_is_the_same_in_any_company(plan: str, task: str) -> None:
    expected = alone(task, plan)
    kinds = {trial.outcome.kind for trial in expected.values()}
    assert kinds >= {OutcomeKind.FINISHED, OutcomeKind.DIVERGED}

    @given(st.integers(1, 9), st.integers(0, 8), st.randoms(use_true_random=False))
    @settings(max_examples=4)
    def same(lanes: int, late: int, shuffler: random.Random) -> None:
        company = shuffler.sample(EVERYTHING, shuffler.randint(2, len(EVERYTHING)))
        late = min(late, len(company) - 1)
        got = train(company, task=TASKS[task], plan=plan, lanes=lanes, late=late)
        assert got == {request: expected[request] for request in company}

    same()


@pytest.mark.parametrize("task", TASKS)
def test_lanes_in_a_loop_are_the_one_at_a_time_trainer_to_the_bit(task: str) -> None:
    for (text, seed), trial in alone(task, "loop").items():
        assert trial == untimed(run_trial(Rule.parse(text), TASKS[task], TINY, seed=seed))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("plan", PLANS)
def test_fifty_steps_side_by_side_are_those_of_the_one_at_a_time_trainer(
    plan: str, task: str
) -> None:
    fifty = Training(steps=50, epoch_steps=10, warmup_steps=5, hold_steps=5, abandon=ANYTHING)
    protocol = replace(AT_RATE, training=fifty).at_rate(0.01)
    # No division by sqrt(s): a bias before a batch normalisation has gradients of pure rounding.
    requests = [("momentum: g", 0), ("nesterov: [a3]*v", 1)]
    together = train(requests, task=TASKS[task], plan=plan, lanes=2, protocol=protocol)
    for (text, seed), trial in together.items():
        plain = run_trial(Rule.parse(text), TASKS[task], protocol, seed=seed)
        assert trial.outcome.kind is plain.outcome.kind
        for mine, theirs in zip(trial.curve, plain.curve, strict=True):
            assert mine.train_loss == pytest.approx(theirs.train_loss, rel=1e-4)
            assert mine.validation_loss == pytest.approx(theirs.validation_loss, rel=1e-4)


def test_the_probes_of_a_trial_occupy_lanes_at_the_same_time() -> None:
    population = Population(make(), Equipment(plan="loop"))
    population.add(0, ADAM, PROBED, seed=3)
    with fixed_environment():
        population.step()
        assert population.lanes == 2
        ended = dict(population.run())
    assert untimed(ended[0]) == run()


def test_a_slot_is_taken_again_as_soon_as_its_lane_leaves() -> None:
    population = Population(make(), Equipment(lanes=2, plan="loop"))
    hopeless = replace(SHORT, abandon_epoch=1, abandon=Threshold(accuracy=1.0, loss_fraction=0.0))
    for ticket in range(4):
        short = replace(AT_RATE, training=hopeless if ticket == 1 else SHORT)
        population.add(ticket, ADAM, short, seed=0)
    ended: list[int] = []
    with fixed_environment():
        for _ in range(SHORT.epoch_steps):
            ended += [ticket for ticket, _ in population.step()]
        assert ended == [1]
        population.step()
        assert population.under_way == (0, 2)


def out_of_memory_at(limit: int, error: Exception) -> tuple[list[int], Any]:
    """Return the sizes that were tried, and what makes networks that fail with more lanes."""
    sizes: list[int] = []

    class Small(PLANS["loop"].make):  # type: ignore[misc]
        def train_step(self, batches: Any, slots: Sequence[int], *rest: Any) -> Any:
            if len(slots) > limit:
                raise error
            return super().train_step(batches, slots, *rest)

    def network(model: nn.Module, size: int) -> LaneNetwork:
        sizes.append(size)
        made: LaneNetwork = Small(model, size)
        return made

    return sizes, network


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_running_out_of_memory_halves_the_lanes_and_loses_nothing(error: Exception) -> None:
    sizes, network = out_of_memory_at(3, error)
    population = Population(make(), Equipment(lanes=8), make_network=network)
    with fixed_environment():
        for ticket, text in enumerate(TEXTS):
            population.add(ticket, Rule.parse(text), TINY, seed=0)
        trials = {ticket: untimed(trial) for ticket, trial in population.run()}
    assert min(sizes) <= 3
    assert trials == {
        ticket: untimed(run_trial(Rule.parse(text), make(), TINY, seed=0))
        for ticket, text in enumerate(TEXTS)
    }


def test_one_lane_that_does_not_fit_is_an_error_in_words() -> None:
    _, network = out_of_memory_at(0, MemoryError())
    population = Population(make(), Equipment(lanes=4), make_network=network)
    population.add(0, ADAM, AT_RATE, seed=0)
    with (
        fixed_environment(),
        pytest.raises(TaskError, match="not even one training fits into the memory"),
    ):
        list(population.run())


def test_another_error_of_the_task_is_not_taken_for_a_lack_of_memory() -> None:
    def failing(output: Tensor, target: Tensor) -> Tensor:
        raise RuntimeError("mine")

    population = Population(make(loss=failing), Equipment(plan="loop"))
    population.add(0, ADAM, AT_RATE, seed=0)
    with fixed_environment(), pytest.raises(TaskError, match="mine"):
        list(population.run())


class OwnMeasure(Task):
    """A task that measures in a way that neither its loss nor its metric tells."""

    def measure(
        self, model: nn.Module, batch: tuple[Any, Any], *, with_metric: bool = True
    ) -> Measurement:
        measured = super().measure(model, batch, with_metric=with_metric)
        return Measurement(2 * measured.loss, 0.5)

    def evaluate(self, model: nn.Module, split: Split) -> Evaluation:
        return Evaluation(super().evaluate(model, split).loss + 1, 0.25)


def test_a_task_that_measures_itself_is_trained_by_its_own_methods() -> None:
    parts: dict[str, Any] = {"train": pairs(40, 0), "validation": pairs(20, 1), "test": pairs(9, 2)}
    own = OwnMeasure(name="own", version="1", model=convolutions, metric="accuracy", **parts)
    population = Population(own, Equipment())
    population.add(0, ADAM, AT_RATE, seed=0)
    with fixed_environment():
        ((_, trial),) = population.run()
    assert untimed(trial) == untimed(run_trial(ADAM, own, AT_RATE, seed=0))
    assert trial.score is not None
    assert trial.score.metric == 0.25


def test_a_model_that_writes_into_its_batch_spoils_it_for_no_other_lane() -> None:
    class Writing(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs.mul_(2) if self.training else inputs)

    task = make(model=lambda: Writing(4, 3))
    population = Population(task)
    for ticket in (0, 1):
        population.add(ticket, ADAM, TINY, seed=0)
    with fixed_environment():
        trials = dict(population.run())
    assert untimed(trials[0]) == untimed(trials[1])
    assert untimed(trials[0]) == untimed(run_trial(ADAM, task, TINY, seed=0))


def test_a_trial_whose_share_of_the_time_is_over_has_timed_out_and_others_go_on() -> None:
    population = Population(make(), Equipment(plan="loop"))
    population.add(0, ADAM, AT_RATE, seed=0, timeout_seconds=1e-9)
    population.add(1, ADAM, AT_RATE, seed=0, timeout_seconds=1e9)
    with fixed_environment():
        trials = dict(population.run())
    assert trials[0].outcome.kind is OutcomeKind.TIMED_OUT
    assert trials[0].outcome.sentence.startswith("timed out: 1e-09 seconds were over at step 1 of")
    assert trials[1].outcome.kind is OutcomeKind.FINISHED


def test_protocols_of_other_networks_take_their_turn() -> None:
    widths: list[int] = []

    def model(width: int = 2) -> nn.Module:
        widths.append(width)
        return nn.Sequential(nn.Linear(4, width), nn.Linear(width, 3))

    task = make(model=model)
    protocols = [replace(AT_RATE, width=width) for width in (2, 5, 2)]
    population = Population(task, Equipment(plan="loop"))
    for ticket, protocol in enumerate(protocols):
        population.add(ticket, ADAM, protocol, seed=0)
    with fixed_environment():
        trials = dict(population.run())
    for ticket, protocol in enumerate(protocols):
        assert untimed(trials[ticket]) == untimed(run_trial(ADAM, task, protocol, seed=0))
    assert {2, 5} <= set(widths)


def test_slots_that_nothing_will_take_are_given_back() -> None:
    sizes: list[int] = []

    class Watched(PLANS["loop"].make):  # type: ignore[misc]
        def resize(self, size: int, *, keep: Sequence[int]) -> None:
            sizes.append(size)
            super().resize(size, keep=keep)

    def network(model: nn.Module, size: int) -> LaneNetwork:
        made: LaneNetwork = Watched(model, size)
        return made

    long = replace(AT_RATE, training=replace(SHORT, steps=24))
    population = Population(make(), Equipment(lanes=32), make_network=network)
    for ticket in range(32):
        population.add(ticket, ADAM, long if ticket == 31 else AT_RATE, seed=0)
    with fixed_environment():
        trials = dict(population.run())
    assert sizes[-1] == 8
    assert untimed(trials[31]) == untimed(run_trial(ADAM, make(), long, seed=0))
