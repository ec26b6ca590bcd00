"""What the check of a plan takes for rounding, and what for another network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lanes.networks import CLASSES
from torch import Tensor, nn

from evolute.lanes import check
from evolute.lanes.base import CannotStackError
from evolute.lanes.check import Subject, check_against_plain
from evolute.lanes.loop import LoopNetwork


@pytest.fixture
def subject(monkeypatch: pytest.MonkeyPatch) -> Subject:
    """Three perceptrons in bfloat16, whose rounding is beyond what the check tolerates."""
    monkeypatch.setitem(check.TOLERANCES, "bf16", 1e-3)
    torch.manual_seed(0)
    models = tuple(nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4)) for _ in range(3))
    inputs, targets = torch.randn(24, 16), torch.randint(4, (24,))
    batches = ((inputs, targets), (inputs.flip(0), targets))
    return Subject(models, batches, CLASSES, "bf16", torch.device("cpu"))


class Scaled(LoopNetwork):
    """Computes in float32; its gradients are too large by a share."""

    share = 0.0

    def train_step(self, *args: Any, **named: Any) -> Any:
        found = super().train_step(*args, **named)
        for gradient in self.gradients:
            gradient.mul_(1 + self.share)
        return found


def scaled(subject: Subject, share: float) -> Any:
    def make(size: int) -> LoopNetwork:
        network = Scaled(subject.models[0], size)
        network.share = share
        return network

    return make


def losses_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the check see no difference but in gradients."""
    far = check._far

    def of_gradients(wanted: Tensor, given: Tensor, tolerance: float, *, floor: float) -> bool:
        return wanted.ndim > 0 and far(wanted, given, tolerance, floor=floor)

    monkeypatch.setattr(check, "_far", of_gradients)


def test_gradients_nearer_to_those_in_float32_than_autocast_comes_are_right(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses_alike(monkeypatch)
    check_against_plain(scaled(subject, 0.0), subject)
    monkeypatch.setattr(check, "ROUNDING", -1.0)
    with pytest.raises(CannotStackError, match="the gradient of '.*' differs"):
        check_against_plain(scaled(subject, 0.0), subject)


def test_gradients_further_from_those_in_float32_than_rounding_are_wrong(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses_alike(monkeypatch)
    with pytest.raises(CannotStackError, match="the gradient of '.*' differs"):
        check_against_plain(scaled(subject, 0.05), subject)
