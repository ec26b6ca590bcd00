"""What a model draws follows from its seed alone, in training and in evaluation."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from train.small_task import AT_RATE, make, untimed

from evolute.lang.rule import Rule
from evolute.seeds.streams import Stream
from evolute.train.environment import fixed_environment
from evolute.train.equipment import Equipment
from evolute.train.population import Population
from evolute.train.trainer import run_trial
from evolute.trial import Trial

PROTOCOL = replace(AT_RATE, learning_rate=0.01)


class Drops(nn.Module):
    """Draws in evaluation mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(functional.dropout(self.first(x), 0.3))  # type: ignore[no-any-return]


class Scales(Drops):
    """Draws from Python's generator."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x) * (0.5 + random.random()))  # type: ignore[no-any-return]


class Late(Drops):
    """Begins to draw at its third step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        hidden = self.first(x)
        if self.training and self.steps > 2:
            hidden = functional.dropout(hidden, 0.3)
        return self.last(hidden)  # type: ignore[no-any-return]


def leaky() -> nn.Module:
    """Return a network that draws a number for each negative value alone."""
    return nn.Sequential(nn.Linear(4, 8), nn.RReLU(), nn.Linear(8, 3))


def side_by_side(
    build: Callable[[], nn.Module], requests: list[tuple[str, int]], plan: str
) -> list[Trial]:
    population = Population(make(model=build), Equipment(plan=plan))
    for ticket, (text, seed) in enumerate(requests):
        population.add(ticket, Rule.parse(text), PROTOCOL, seed=seed)
    with fixed_environment():
        trials = dict(population.run())
    return [trials[ticket] for ticket in range(len(requests))]


@pytest.mark.parametrize("build", [leaky, Late, Scales, Drops])
def test_what_a_lane_of_the_loop_draws_does_not_depend_on_its_company(
    build: Callable[[], nn.Module],
) -> None:
    (alone,) = side_by_side(build, [("v/sqrt(s)", 0)], "loop")
    torch.rand(7)  # nor on what is drawn elsewhere
    among = side_by_side(build, [("v/sqrt(s)", 0), ("g", 0), ("g", 1)], "loop")
    assert untimed(among[0]) == untimed(alone)


@pytest.mark.parametrize(
    ("build", "plan"),
    [(leaky, "loop"), (Late, "loop"), (Scales, "loop"), (Drops, "loop"), (Drops, "stacked")],
)
def test_lanes_draw_what_the_plain_trainer_draws(build: Callable[[], nn.Module], plan: str) -> None:
    requests = [("v/sqrt(s)", 0), ("g", 0), ("g", 1)]
    for (text, seed), trial in zip(requests, side_by_side(build, requests, plan), strict=True):
        plain = run_trial(Rule.parse(text), make(model=build), PROTOCOL, seed=seed)
        for own, its in zip(trial.curve, plain.curve, strict=True):
            assert own.train_loss == pytest.approx(its.train_loss, rel=1e-4)
            assert own.validation_loss == pytest.approx(its.validation_loss, rel=1e-4)


def test_a_seeded_stream_holds_the_generators_of_torch_numpy_and_python() -> None:
    stream, again = Stream(5), Stream(5)
    with stream.active():
        drawn = random.random(), float(torch.rand(()))
    outside = random.getstate()
    with again.active():
        assert (random.random(), float(torch.rand(()))) == drawn
    assert random.getstate() == outside
