"""What every Task promises, as tests to inherit.

A test file of a task holds no more than how it is built::

    class TestMyTask(TaskContract):
        def build(self) -> Task:
            return load_task("path/to/file.py:build")
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evolute.lang.rule import Rule
from evolute.seeds import torch_generator
from evolute.seeds.streams import seeded
from evolute.tasks.base import Split, Task
from evolute.tasks.check import check_task
from evolute.tasks.data import Batch
from evolute.train.protocol import Protocol, Threshold, Training
from evolute.train.trainer import run_trial
from evolute.trial import OutcomeKind, Provenance

_ANYTHING = Threshold(accuracy=None, loss_fraction=1.0)

SHORT = Protocol(
    batch_size=16,
    probe=None,
    learning_rate=1e-3,
    training=Training(steps=6, epoch_steps=3, warmup_steps=1, abandon=_ANYTHING),
    fitness="loss",
    fitness_epoch="last",
)
"""A trial of a few steps, enough to see whether it is repeatable."""


def same(first: object, second: object) -> bool:
    """Whether two batches, or parts of them, are equal to the bit."""
    match first, second:
        case Tensor(), Tensor():
            return torch.equal(first, second)
        case ((list() | tuple()), (list() | tuple())):
            return len(first) == len(second) and all(map(same, first, second))
        case dict(), dict():
            return first.keys() == second.keys() and all(
                same(first[key], second[key]) for key in first
            )
        case _:
            return bool(first == second)


class TaskContract(ABC):
    """Guarantees of every task."""

    draws_weights = True
    """False for a task whose trainings all begin from the same weights, such as fine-tuning."""

    @abstractmethod
    def build(self) -> Task:
        """Build the task anew."""

    @pytest.fixture
    def task(self) -> Task:
        """Return the task of one test."""
        return self.build()

    def test_it_passes_the_check_before_a_search(self, task: Task) -> None:
        """A task that fails it cannot be searched on."""
        check_task(task)

    def test_building_it_again_gives_the_same_name_and_version(self, task: Task) -> None:
        """Stored trials are found again by these."""
        again = self.build()
        assert (task.name, task.version, task.metric) == (again.name, again.version, again.metric)
        assert task.version

    def test_the_seed_decides_the_first_weights(self, task: Task) -> None:
        """Rules are compared from the same weights, and seeds are independent draws."""
        first, again, other = (_weights(_model(task, seed)) for seed in (1, 1, 2))
        assert same(first, again)
        assert same(first, other) != self.draws_weights

    def test_models_share_no_weight(self, task: Task) -> None:
        """A training changes no other one."""
        first, second = _model(task, 1), _model(task, 1)
        places = {weight.data_ptr() for weight in first.parameters()}
        assert places.isdisjoint(weight.data_ptr() for weight in second.parameters())

    def test_batches_are_a_function_of_the_generator_alone(self, task: Task) -> None:
        """What ran before, and the global generators, change no batch; passes go on for ever."""
        with seeded(1):
            first = _batches(task, seed=5, count=40)
        with seeded(2):
            again = _batches(task, seed=5, count=40)
        assert same(first, again)

    def test_generators_give_different_batches(self, task: Task) -> None:
        """The seeds of a trial are independent draws of the order."""
        assert not same(_batches(task, seed=5, count=3), _batches(task, seed=6, count=3))

    def test_batches_and_evaluation_leave_the_global_generators_alone(self, task: Task) -> None:
        """Or dropout masks would depend on how the data is read."""
        with seeded(3):
            untouched = torch.rand(4)
        with seeded(3):
            model = _model(task, 1)
            _batches(task, seed=5, count=3)
            task.evaluate(model, Split.VALIDATION)
            assert same(torch.rand(4), untouched)

    @pytest.mark.parametrize("split", Split)
    def test_every_split_is_evaluated_alike_each_time(self, task: Task, split: Split) -> None:
        """A split has an order and an end, and a mean that is finite for a new model."""
        first, again = (task.evaluate(_model(task, 1), split) for _ in range(2))
        assert first == again
        assert math.isfinite(first.loss)
        assert (first.metric is None) == (task.metric is None)

    @pytest.mark.parametrize("training", [True, False])
    def test_evaluation_changes_neither_weights_nor_mode(self, task: Task, training: bool) -> None:
        """An evaluation in the middle of a training is not felt."""
        model = _model(task, 1).train(training)
        before = _weights(model)
        task.evaluate(model, Split.VALIDATION)
        assert same(_weights(model), before)
        assert model.training is training
        assert all(weight.grad is None for weight in model.parameters())

    def test_a_trial_is_repeatable_to_the_bit(self, task: Task) -> None:
        """Its figures are a function of rule, task, protocol and seed."""
        rule = Rule.parse("momentum: v/sqrt(s)")
        first, again = (
            replace(run_trial(rule, built, SHORT, seed=4), provenance=Provenance(0.0))
            for built in (task, self.build())
        )
        assert first == again
        assert first.outcome.kind is OutcomeKind.FINISHED


def _model(task: Task, seed: int) -> nn.Module:
    with seeded(seed):
        return task.model()


def _weights(model: nn.Module) -> list[Any]:
    return [value.detach().clone() for value in model.state_dict().values()]


def _batches(task: Task, *, seed: int, count: int) -> list[Batch]:
    return list(itertools.islice(task.batches(torch_generator(seed, "batches"), 16), count))
