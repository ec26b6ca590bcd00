"""Models that copies would change, or that write into their inputs, train as the plain one does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from train.small_task import AT_RATE, make, untimed

from evolute.lang.rule import Rule
from evolute.train.environment import fixed_environment
from evolute.train.equipment import Equipment
from evolute.train.population import Population
from evolute.train.trainer import run_trial

RULES = ("g", "v/sqrt(s)", "sign(v)")


class Hooked(nn.Linear):
    """A layer whose weight stays as it is, by a hook."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.weight.register_hook(torch.zeros_like)


class Scaled(nn.Module):
    """A network whose scale is known to a function alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(4, 3), nn.Parameter(torch.ones(()))
        self.act = lambda hidden: hidden * self.scale

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.layer(x))  # type: ignore[no-untyped-call]
        return result


class WritesIntoInputs(nn.Linear):
    """A layer that moves what it is given where it lies."""

    def __init__(self) -> None:
        super().__init__(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sub_(0.5))


@pytest.mark.parametrize("build", [Hooked, Scaled, WritesIntoInputs])
def test_a_model_that_runs_as_it_is_trains_in_lanes_as_it_does_alone(
    build: Callable[[], nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="evolute")
    task = make(model=build)
    population = Population(task, Equipment())
    for ticket, text in enumerate(RULES):
        population.add(ticket, Rule.parse(text), AT_RATE, seed=ticket % 2)
    with fixed_environment():
        found = dict(population.run())
    for ticket, text in enumerate(RULES):
        alone = run_trial(Rule.parse(text), task, AT_RATE, seed=ticket % 2)
        assert untimed(found[ticket]) == untimed(alone)
    assert "plan 'loop': " in caplog.text
