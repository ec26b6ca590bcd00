"""A task and settings so small that a whole search takes a second or two; shared by tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from evolute.tasks.base import Task

TINY_TASK = f"{__file__}:build"
"""The task as ``--task`` names it."""

_PROTOCOL: dict[str, Any] = {
    "batch_size": 16,
    "probe": {
        "steps": 6,
        "epoch_steps": 3,
        "warmup_steps": 1,
        "abandon_epoch": 2,
        "first_rates": (1.0, 0.01),
        "other_rates": (0.1,),
        "abandon": {"loss_fraction": 1.0},
        "accept": {"loss_fraction": 1.0},
    },
    "training": {
        "steps": 12,
        "epoch_steps": 6,
        "warmup_steps": 2,
        "abandon_epoch": 1,
        "abandon": {"loss_fraction": 1.0},
    },
}

TINY_CONFIG: dict[str, Any] = {
    "initial": _PROTOCOL,
    "main": _PROTOCOL,
    "search": {"initial_candidates": 8, "particles": 3, "time_steps": 2, "children": 3, "tries": 2},
    "verdict": {"finalists": 2, "tuning_seeds": 1, "fresh_seeds": 3, "widenings": 1},
}
"""Overlay of the preset ``quick``."""


def model() -> nn.Module:
    """Return the network."""
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def build(model: Callable[[], nn.Module] = model) -> Task:
    """Build a task of three classes in four dimensions."""
    generator = torch.Generator().manual_seed(0)
    centers = 2 * torch.randn(3, 4, generator=generator)
    splits = []
    for examples in (60, 30, 30):
        targets = torch.randint(3, (examples,), generator=generator)
        noise = torch.randn(examples, 4, generator=generator)
        splits.append((centers[targets] + noise, targets))
    train, validation, test = splits
    return Task(
        name="tiny",
        version="1",
        model=model,
        train=train,
        validation=validation,
        test=test,
        loss="cross_entropy",
        metric="accuracy",
    )
