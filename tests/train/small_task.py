"""A task and protocols of a few steps, shared by the tests of the trainer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from evolute.lang.rule import Rule
from evolute.tasks.base import Task
from evolute.train.protocol import Probe, Protocol, Threshold, Training
from evolute.train.trainer import run_trial
from evolute.trial import Provenance, Trial

SGD = Rule.parse("g")
ADAM = Rule.parse("v/sqrt(s)")
ANYTHING = Threshold(accuracy=None, loss_fraction=1.0)
SHORT = Training(steps=12, epoch_steps=4, warmup_steps=2, abandon=ANYTHING)
AT_RATE = Protocol(
    batch_size=8,
    probe=None,
    learning_rate=0.1,
    training=SHORT,
    fitness="loss",
    fitness_epoch="last",
)
PROBED = replace(
    AT_RATE,
    learning_rate=None,
    probe=Probe(
        steps=6,
        epoch_steps=2,
        warmup_steps=1,
        first_rates=(1.0, 0.01),
        other_rates=(0.1,),
        abandon=ANYTHING,
        accept=ANYTHING,
    ),
)


def pairs(examples: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(examples, 4, generator=generator)
    return inputs, inputs[:, :3].argmax(1)


def dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))


def make(**changes: Any) -> Task:
    parts: dict[str, Any] = {
        "name": "small",
        "version": "1",
        "model": dropping,
        "train": pairs(40, 0),
        "validation": pairs(20, 1),
        "test": pairs(20, 2),
        "metric": "accuracy",
    }
    return Task(**(parts | changes))


def untimed(trial: Trial) -> Trial:
    return replace(trial, provenance=Provenance(0.0))


def run(rule: Rule = ADAM, task: Task | None = None, protocol: Protocol = PROBED) -> Trial:
    return untimed(run_trial(rule, task or make(), protocol, seed=3))
