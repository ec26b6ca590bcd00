"""Batches of other shapes than the first are right, or refused with the reason."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from train.small_task import ADAM, AT_RATE, PROBED, SHORT, make, pairs, untimed

from evolute.lanes.stacked.network import StackedNetwork
from evolute.lang.rule import Rule
from evolute.tasks.base import Task
from evolute.train.environment import fixed_environment
from evolute.train.equipment import Equipment
from evolute.train.planning import first_model
from evolute.train.population import MakeNetwork, Population
from evolute.train.trainer import run_trial
from evolute.trial import OutcomeKind, Trial


class Scales(nn.Module):
    """Divides by a constant, as it says, where a batch is short; a trace forgets that."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        if len(x) != 8:
            with torch.no_grad():
                scale = hidden.std(0) + 0.1
            hidden = hidden / scale
        return self.last(hidden)  # type: ignore[no-any-return]


class Picks(Scales):
    """Calls what no plan stacks where a batch of evaluation is large."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        if not self.training and len(x) > 8:
            hidden = hidden * (hidden >= hidden.topk(4, dim=1)[0][:, -1:])
        return self.last(hidden)  # type: ignore[no-any-return]


def loader(examples: int, seed: int) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(*pairs(examples, seed)), batch_size=8)


def with_short_batches() -> Task:
    return make(
        name="short", model=Scales, train=loader(20, 0), validation=loader(8, 1), test=loader(8, 2)
    )


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def figures(trial: Trial) -> list[float]:
    return [figure for epoch in trial.curve for figure in (epoch.train_loss, epoch.validation_loss)]


def train(task: Task, make_network: MakeNetwork | None = None) -> list[float]:
    population = Population(task, make_network=make_network)
    population.add(0, ADAM, AT_RATE, seed=0)
    with fixed_environment():
        return figures(dict(population.run())[0])


@pytest.mark.parametrize("build", [with_short_batches, lambda: make(name="picks", model=Picks)])
def test_a_plan_that_is_wrong_on_a_later_shape_is_not_taken_and_the_log_says_so_each_time(
    build: Callable[[], Task], caplog: pytest.LogCaptureFixture
) -> None:
    task = build()
    wanted = figures(run_trial(ADAM, task, AT_RATE, seed=0))
    with caplog.at_level(logging.WARNING, "evolute"):
        assert train(task) == pytest.approx(wanted, rel=1e-4)
    assert any("is not used" in line and "on a batch of shape" in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (with_short_batches, "shape (4, 4) in training mode: "),
        (lambda: make(name="picks", model=Picks), "shape (20, 4) in evaluation mode: it calls"),
    ],
)
def test_a_trial_that_comes_to_a_shape_which_its_plan_cannot_train_begins_again_in_the_loop(
    build: Callable[[], Task], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    task = build()
    population = Population(task, make_network=StackedNetwork)
    rules = [ADAM, Rule.parse("g")]
    for ticket, rule in enumerate(rules):
        population.add(ticket, rule, PROBED, seed=0)
    with caplog.at_level(logging.WARNING, "evolute"), fixed_environment():
        trials = dict(population.run())
    for ticket, rule in enumerate(rules):
        assert untimed(trials[ticket]) == untimed(run_trial(rule, task, PROBED, seed=0))
    (line,) = caplog.messages
    assert said in line
    assert "trained by the plan 'loop', from their beginning" in line


def seldom() -> nn.Module:
    """Return a network that divides by what it drew when it was built, in one case of eight."""
    network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 3))
    network.scale = 2.0 if torch.rand(()) < SHARE else 1.0  # type: ignore[assignment]
    network.register_forward_hook(lambda module, _, output: output / module.scale)
    return network


SHARE = 0.125
SEEDS = range(12)


def test_a_model_that_differs_in_more_than_weights_is_trained_in_the_loop_and_no_other_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = make(name="seldom", model=seldom)
    scales = [first_model(task, seed, width=None).scale for seed in SEEDS]
    assert scales[:3] == [1.0] * 3
    odd = [seed for seed in SEEDS if scales[seed] != 1.0]
    assert odd
    orders = SEEDS, reversed(SEEDS)
    found = []
    for order in orders:
        population = Population(task, Equipment(plan="stacked", lanes=4))
        for seed in order:
            population.add(seed, ADAM, PROBED, seed=seed)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "evolute"), fixed_environment():
            found.append({ticket: untimed(trial) for ticket, trial in population.run()})
        (line,) = caplog.messages
        assert "its models differ in more than parameters and buffers (scale)" in line
    assert found[0] == found[1]
    for seed in odd:
        assert found[0][seed] == untimed(run_trial(ADAM, task, PROBED, seed=seed))


def test_the_time_limit_of_a_trial_that_begins_again_in_the_loop_begins_again_too() -> None:
    def train(make_network: MakeNetwork | None, plan: str, limit: float) -> Trial:
        seconds = itertools.count()
        population = Population(
            make(name="picks", model=Picks),
            Equipment(plan=plan),
            make_network=make_network,
            clock=lambda: next(seconds),  # looked at twice in a step: each takes a second
        )
        population.add(0, ADAM, AT_RATE, seed=0, timeout_seconds=limit)
        with fixed_environment():
            ((_, trial),) = population.run()
        return trial

    steps = SHORT.steps  # of which the stacked plan makes those of the first epoch
    for limit in (steps, steps - 1.5):
        again, loop = train(StackedNetwork, "auto", limit), train(None, "loop", limit)
        assert again == loop
    assert loop.outcome.kind is OutcomeKind.TIMED_OUT
    assert train(StackedNetwork, "auto", 3.5).outcome.sentence.startswith(
        "timed out: 3.5 seconds were over at step 4 of"
    )


def test_trials_that_wait_for_the_loop_are_dropped_and_counted_as_all_others() -> None:
    task = make(name="picks", model=Picks)
    population = Population(task, Equipment(lanes=2), make_network=StackedNetwork)
    for ticket in range(4):
        population.add(ticket, ADAM, AT_RATE, seed=0)
    with fixed_environment():
        for _ in range(2 * SHORT.epoch_steps):
            population.step()
        assert population.busy
        assert population.under_way == (0,)
        assert population.lanes == 1
        assert population.drop_waiting() == [1, 2, 3]
        assert [ticket for ticket, _ in population.run()] == [0]


def test_what_is_tried_on_a_new_shape_leaves_the_lanes_as_they_were() -> None:
    def norms() -> nn.Module:
        hidden = nn.Linear(4, 8, bias=False)  # a bias would get rounding alone for a gradient
        return nn.Sequential(hidden, nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))

    task = make(
        name="norms", model=norms, train=loader(20, 0), validation=loader(12, 1), test=loader(8, 2)
    )
    wanted = figures(run_trial(ADAM, task, AT_RATE, seed=0))
    assert train(task, StackedNetwork) == pytest.approx(wanted, rel=1e-4)
