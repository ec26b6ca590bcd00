"""Whatever is awkward about a task or a protocol, lanes are the plain trainer."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset
from train.small_task import AT_RATE, PROBED, SHORT, make, pairs, untimed

from evolute.lang.rule import Rule
from evolute.tasks.base import Task
from evolute.train.environment import fixed_environment
from evolute.train.equipment import Equipment
from evolute.train.population import Population
from evolute.train.protocol import Protocol
from evolute.train.trainer import run_trial
from evolute.trial import OutcomeKind, Trial

RULES = "v/sqrt(s)", "momentum: g", "nesterov: dropout(v, 0.5)", "exp(exp(exp(g*0+3)))"


class Transformed(Dataset[tuple[Tensor, Tensor]]):
    """Draws from every global generator, as transforms of pictures do."""

    def __init__(self) -> None:
        self.inputs, self.targets = pairs(40, 0)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        shift = torch.rand(4) + np.random.rand() + random.random()
        return self.inputs[index] + shift, self.targets[index]


def noisy(inputs: Tensor, generator: Generator) -> Tensor:
    drawn = torch.rand(inputs.shape, generator=generator)
    return inputs + drawn @ torch.rand(4, 4)  # a product: of other bits under autocast


def batches(special: float, *, at: int) -> list[tuple[Tensor, Tensor]]:
    """Return as many batches as a training has steps, one of which holds a number of its own."""
    given = [pairs(8, seed) for seed in range(SHORT.steps)]
    given[at][0][0, 0] = special
    return given


TASKS: dict[str, Callable[[], Task]] = {
    "a dataset that draws": lambda: make(train=Transformed()),
    "an augmentation that draws": lambda: make(augment=noisy),
    "fewer batches than steps": lambda: make(train=pairs(17, 0)),
    "fewer examples than a batch": lambda: make(train=pairs(5, 0)),
    "a short last batch": lambda: make(
        train=DataLoader(TensorDataset(*pairs(19, 0)), batch_size=8, shuffle=True)
    ),
    "a loss that breaks in the first step": lambda: make(train=batches(torch.nan, at=0)),
    "a loss that breaks in the last step": lambda: make(train=batches(torch.inf, at=-1)),
    "weights that break in the last step": lambda: make(train=batches(1e25, at=-1)),
    "a loss that breaks as an epoch ends": lambda: make(train=batches(torch.nan, at=3)),
}
PROTOCOLS: dict[str, Protocol] = {
    "probed": PROBED,
    "at a rate": AT_RATE,
    "epochs of other lengths": replace(AT_RATE, training=replace(SHORT, epoch_steps=5)),
    "bf16": replace(AT_RATE, precision="bf16"),
    "the best epoch": replace(AT_RATE, fitness="metric", fitness_epoch="best", split="test"),
}


def side_by_side(task: Task, protocol: Protocol) -> dict[str, Trial]:
    population = Population(task, Equipment(plan="loop", lanes=3))
    for ticket, text in enumerate(RULES):
        population.add(ticket, Rule.parse(text), protocol, seed=ticket % 2)
    with fixed_environment():
        return {RULES[ticket]: untimed(trial) for ticket, trial in population.run()}


def one_by_one(task: Task, protocol: Protocol) -> dict[str, Trial]:
    return {
        text: untimed(run_trial(Rule.parse(text), task, protocol, seed=ticket % 2))
        for ticket, text in enumerate(RULES)
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("task", TASKS)
def test_lanes_are_the_plain_trainer_to_the_bit(task: str, protocol: str) -> None:
    with_augmentation = replace(PROTOCOLS[protocol], augment="augmentation" in task)
    found = side_by_side(TASKS[task](), with_augmentation)
    assert found == one_by_one(TASKS[task](), with_augmentation)
    if "break" in task and protocol != "probed":
        assert found["momentum: g"].outcome.kind is OutcomeKind.DIVERGED
