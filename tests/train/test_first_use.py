"""Batches of other shapes than the first are right, or refused with the reason."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from train.small_task import AT_RATE, make, pairs

from evolute.errors import TaskError
from evolute.lanes.stacked.network import StackedNetwork
from evolute.lang.rule import Rule
from evolute.tasks.base import Task
from evolute.train.environment import fixed_environment
from evolute.train.population import MakeNetwork, Population
from evolute.train.trainer import run_trial


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


def train(task: Task, make_network: MakeNetwork | None = None) -> list[float]:
    population = Population(task, make_network=make_network)
    population.add(0, Rule.parse("v/sqrt(s)"), AT_RATE, seed=0)
    with fixed_environment():
        trial = dict(population.run())[0]
    return [figure for epoch in trial.curve for figure in (epoch.train_loss, epoch.validation_loss)]


@pytest.mark.parametrize("build", [with_short_batches, lambda: make(name="picks", model=Picks)])
def test_a_plan_that_is_wrong_on_a_later_shape_is_not_taken_and_the_log_says_so_each_time(
    build: Callable[[], Task], caplog: pytest.LogCaptureFixture
) -> None:
    task = build()
    plain = run_trial(Rule.parse("v/sqrt(s)"), task, AT_RATE, seed=0)
    wanted = [each for epoch in plain.curve for each in (epoch.train_loss, epoch.validation_loss)]
    with caplog.at_level(logging.WARNING, "evolute"):
        assert train(task) == pytest.approx(wanted, rel=1e-4)
    assert any("is not used" in line and "on a batch of shape" in line for line in caplog.messages)


def test_a_shape_that_nobody_could_foresee_is_refused_when_it_comes() -> None:
    with pytest.raises(
        TaskError, match=r"'stacked' does not compute .* shape \(4, 4\) in training"
    ):
        train(with_short_batches(), StackedNetwork)


def test_a_call_that_no_plan_knows_is_refused_with_the_shape_that_led_to_it() -> None:
    with pytest.raises(TaskError, match=r"shape \(20, 4\) in evaluation mode: it calls .*topk"):
        train(make(name="picks", model=Picks), StackedNetwork)


def test_what_is_tried_on_a_new_shape_leaves_the_lanes_as_they_were() -> None:
    def norms() -> nn.Module:
        hidden = nn.Linear(4, 8, bias=False)  # a bias would get rounding alone for a gradient
        return nn.Sequential(hidden, nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))

    task = make(
        name="norms", model=norms, train=loader(20, 0), validation=loader(12, 1), test=loader(8, 2)
    )
    plain = run_trial(Rule.parse("v/sqrt(s)"), task, AT_RATE, seed=0)
    wanted = [each for epoch in plain.curve for each in (epoch.train_loss, epoch.validation_loss)]
    assert train(task, StackedNetwork) == pytest.approx(wanted, rel=1e-4)
