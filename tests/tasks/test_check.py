"""The check before a search: what cannot be trained is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evolute.errors import TaskError
from evolute.tasks.base import Task
from evolute.tasks.check import check_task

INPUTS, TARGETS = torch.rand(6, 2, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
PAIR = (INPUTS, TARGETS)


def make(**changes: Any) -> Task:
    parts: dict[str, Any] = {
        "name": "small",
        "model": lambda: nn.Linear(2, 3),
        "train": PAIR,
        "validation": PAIR,
        "test": PAIR,
        "metric": "accuracy",
    }
    return Task(**(parts | changes))


def frozen() -> nn.Module:
    return nn.Linear(2, 3).requires_grad_(False)


def without_weights() -> nn.Module:
    return nn.ConstantPad1d((0, 1), 0.0)


def without_gradient(output: Tensor, target: Tensor) -> Tensor:
    return torch.zeros(()).requires_grad_()


def of_the_targets_alone(output: Tensor, target: Tensor) -> Tensor:
    return target.float().mean()


def infinite_loss(output: Tensor, target: Tensor) -> Tensor:
    return output.sum() / 0


def nan_metric(output: Tensor, target: Tensor) -> float:
    return float("nan")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": frozen}, "no weight of its model gets a gradient"),
        ({"model": without_weights}, "no weight of its model gets a gradient"),
        ({"loss": without_gradient}, "no weight of its model gets a gradient"),
        ({"loss": of_the_targets_alone}, "no weight of its model gets a gradient"),
        ({"loss": infinite_loss}, "the loss of the new model on the first batch of the train"),
        ({"metric": nan_metric}, "the metric of the new model on the first batch of the train"),
        ({"test": (INPUTS * float("nan"), TARGETS)}, "first batch of the test data is nan"),
        ({"validation": (INPUTS, TARGETS + 3)}, "its loss raised IndexError"),
        ({"test": (INPUTS[:, :1], TARGETS)}, "its model's forward raised RuntimeError"),
        ({"train": [(INPUTS, TARGETS[:4])]}, "inputs of shape (6, 2) and targets of shape (4,)"),
        ({"train": [(INPUTS, [0, 1])]}, "targets of the train data are list"),
        ({"test": []}, "the test data has no batch"),
        ({"metric": "accuracy", "model": lambda: nn.Linear(2, 3), "loss": "mse"}, "equal shapes"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(TaskError) as caught:
        check_task(make(**changes))
    assert says in str(caught.value)
    assert str(caught.value).startswith("task 'small': ")
    assert "\n" not in str(caught.value)


def test_a_sound_task_passes_and_the_global_generator_is_left_alone() -> None:
    before = torch.default_generator.get_state()
    check_task(make())
    check_task(make(metric=None))
    assert torch.equal(torch.default_generator.get_state(), before)


def test_the_check_is_not_fooled_by_gradients_switched_off() -> None:
    with torch.no_grad():
        check_task(make())
