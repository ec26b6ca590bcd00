"""Errors about a network name its task, and say the same whoever trains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from train.small_task import ADAM, AT_RATE, make, untimed

from evolute.errors import InputError, TaskError
from evolute.lanes.loop import LoopNetwork
from evolute.train.environment import fixed_environment
from evolute.train.equipment import Equipment
from evolute.train.planning import choose_plans
from evolute.train.population import Population
from evolute.train.trainer import run_trial
from evolute.trial import Trial

Precision = Literal["float32", "bf16"]


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(5, 3, sparse=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows((x[:, 0] > 0).long())  # type: ignore[no-any-return]


class Begins(nn.Module):
    """Uses a layer from its sixth call on, or until then."""

    def __init__(self, *, late: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(4, 3)
        self.late, self.calls = late, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        hidden: Tensor = self.first(x)
        return hidden + self.second(x) if (self.calls > 5) is self.late else hidden


class Unused(nn.Module):
    """Has a weight that it does not use, and moves its inputs where they lie."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.spare = nn.Linear(4, 3), nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.sub_(0.5))  # type: ignore[no-any-return]


def train(model: Callable[[], nn.Module], *, plan: str, precision: Precision = "float32") -> Trial:
    task = make(name="mine", model=model)
    protocol = replace(AT_RATE, precision=precision)
    equipment = choose_plans(task, [protocol], equipment=Equipment(plan=plan))
    population = Population(task, equipment)
    population.add(0, ADAM, protocol, seed=0)
    with fixed_environment():
        return untimed(dict(population.run())[0])


@pytest.mark.parametrize("plan", ["auto", "loop"])
@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: nn.LazyLinear(3), "the weight 'weight' is lazy"),
        (lambda: Begins(late=False), "had a gradient on the first step and has none now: .*plain"),
        (lambda: Begins(late=True), "had no gradient on the first step and has one now: .*plain"),
    ],
)
def test_what_lanes_cannot_train_is_said_with_the_name_of_the_task(
    model: Callable[[], nn.Module], said: str, plan: str
) -> None:
    with pytest.raises(TaskError, match=f"^task 'mine': .*{said}") as caught:
        train(model, plan=plan)
    assert str(caught.value).count("task 'mine'") == 1


@pytest.mark.parametrize("plan", ["auto", "loop", "stacked"])
def test_a_sparse_gradient_is_refused_with_the_same_advice_as_by_the_plain_trainer(
    plan: str,
) -> None:
    with pytest.raises(InputError) as plain:
        run_trial(ADAM, make(name="mine", model=Sparse), AT_RATE, seed=0)
    with pytest.raises(TaskError, match="make its layer with sparse=False") as caught:
        train(Sparse, plan=plan)
    assert str(caught.value) == f"task 'mine': {plain.value}"


def test_models_that_have_other_weights_are_refused_in_one_line() -> None:
    calls = iter(range(100))

    def changing() -> nn.Module:
        layer = nn.Linear(4, 3)
        return layer if next(calls) < 3 else nn.Sequential(layer)

    population = Population(make(name="mine", model=changing), make_network=LoopNetwork)
    for seed in range(4):
        population.add(seed, ADAM, AT_RATE, seed=seed)
    said = "^task 'mine': .*always return the same kind of network"
    with fixed_environment(), pytest.raises(TaskError, match=said):
        list(population.run())


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_loop_without_a_comparison_keeps_the_precision_and_passes_over_unused_weights(
    precision: Precision,
) -> None:
    protocol = replace(AT_RATE, precision=precision)
    plain = run_trial(ADAM, make(name="mine", model=Unused), protocol, seed=0)
    assert train(Unused, plan="auto", precision=precision) == untimed(plain)
