"""Losses and metrics of many lanes equal those of each lane."""

from __future__ import annotations

import pytest
import torch
from lanes.networks import CLASSES, SQUARES
from torch import Tensor
from torch.nn import functional

from evolute.lanes.criterion import LaneCriterion

WEIGHTED = torch.rand(3, 6, 4).softmax(-1)


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        (torch.randn(3, 6, 4), list(torch.randint(4, (3, 6)))),
        (torch.randn(3, 6, 4), [torch.randint(4, (6,))] * 3),
        (torch.randn(3, 6, 4), [torch.tensor([0, 1, -100, 2, -100, 3])] * 3),
        (torch.randn(3, 6, 4, 5), list(torch.randint(4, (3, 6, 5)))),
        (torch.randn(3, 6, 4), list(WEIGHTED)),
    ],
)
def test_cross_entropy_of_lanes_equals_that_of_each(outputs: Tensor, targets: list[Tensor]) -> None:
    wanted = [functional.cross_entropy(*pair) for pair in zip(outputs, targets, strict=True)]
    torch.testing.assert_close(CLASSES.losses(outputs, targets), torch.stack(wanted))


def test_accuracy_and_mean_squared_error_of_lanes_equal_those_of_each() -> None:
    outputs, targets = torch.randn(3, 6, 4), list(torch.randint(4, (3, 6)))
    assert CLASSES.metric is not None
    pairs = list(zip(outputs, targets, strict=True))
    wanted = torch.tensor([float(CLASSES.metric(*pair)) for pair in pairs])
    found = CLASSES.metrics(outputs, targets)
    assert found is not None
    assert torch.equal(found, wanted)
    goals = list(torch.randn(3, 6, 4))
    wanted = torch.stack([functional.mse_loss(*pair) for pair in zip(outputs, goals, strict=True)])
    torch.testing.assert_close(SQUARES.losses(outputs, goals), wanted)
    with pytest.raises(ValueError, match="mse needs equal shapes"):
        SQUARES.losses(outputs, [goals[0][:, :1]] * 3)


def test_another_loss_is_called_lane_by_lane() -> None:
    criterion = LaneCriterion(lambda output, target: (output - target).abs().max())
    outputs = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert criterion.losses(outputs, [torch.zeros(2)] * 2).tolist() == [2.0, 5.0]
    assert criterion.metrics(outputs, [torch.zeros(2)] * 2) is None
