"""The check of a task before a search starts: one batch of each split, forward and backward."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evolute.errors import TaskError
from evolute.seeds.streams import seeded
from evolute.tasks.base import Split, Task
from evolute.tasks.data import Batch
from evolute.tasks.faults import calling


def check_task(task: Task) -> None:
    """Try a task on the first batch of each of its splits; return if a search can use it.

    Global generators are put back as they were.

    Raises
    ------
    TaskError
        If the user's code raises, shapes do not fit, a loss or metric is not finite, or no weight
        gets a gradient.
    """
    with seeded(0):
        model = task.model()
        for split in Split:
            batch = task.first_batch(split)
            _check_batch(task, split, batch)
            model.train(split is Split.TRAIN)
            with torch.set_grad_enabled(split is Split.TRAIN):
                measured = task.measure(model, batch)
            _check_finite(task, split, "loss", measured.loss.item())
            if measured.metric is not None:
                _check_finite(task, split, "metric", measured.metric)
            if split is Split.TRAIN and measured.loss.requires_grad:
                with calling(task.name, "the backward pass of its loss"):
                    measured.loss.backward()
    if not any(weight.grad is not None for weight in model.parameters()):
        raise TaskError(
            f"task {task.name!r}: no weight of its model gets a gradient from the loss: check "
            "requires_grad, and that the loss depends on the output"
        )


def _check_batch(task: Task, split: Split, batch: Batch) -> None:
    inputs, targets = batch
    if not isinstance(targets, Tensor) or targets.ndim == 0:
        raise TaskError(
            f"task {task.name!r}: targets of the {split} data are {type(targets).__name__}: give "
            "a tensor whose first dimension counts the examples"
        )
    if isinstance(inputs, Tensor) and (inputs.ndim == 0 or len(inputs) != len(targets)):
        raise TaskError(
            f"task {task.name!r}: a batch of the {split} data has inputs of shape "
            f"{tuple(inputs.shape)} and targets of shape {tuple(targets.shape)}: the first "
            "dimension of both counts the examples"
        )


def _check_finite(task: Task, split: Split, what: str, value: float) -> None:
    if not math.isfinite(value):
        raise TaskError(
            f"task {task.name!r}: the {what} of the new model on the first batch of the {split} "
            f"data is {value}: check the data for NaN and the {what} for divisions by zero"
        )
