"""Losses and metrics that a task can name: one row each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Any, Any], Tensor]
"""loss(output, target) -> scalar tensor, the mean over the examples of a batch."""

Metric = Callable[[Any, Any], "Tensor | float"]
"""metric(output, target) -> number, the mean over the examples; higher is better."""


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error; both of one shape, since broadcasting hides mistakes.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if output.shape != target.shape:
        raise ValueError(
            f"the output has shape {tuple(output.shape)} and the target {tuple(target.shape)}: "
            "mse needs equal shapes"
        )
    return functional.mse_loss(output, target)


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Return the share of examples whose largest output [N, C, ...] is the target class [N, ...].

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
    tensor(0.5000)
    """
    classes = output.argmax(dim=1)
    if classes.shape != target.shape:
        raise ValueError(
            f"the output has shape {tuple(output.shape)} and the target {tuple(target.shape)}: "
            "accuracy needs an output [N, C] (or [N, C, …]) and classes [N] (or [N, …])"
        )
    return (classes == target).to(torch.float32).mean()


LOSSES: dict[str, Loss] = {"cross_entropy": functional.cross_entropy, "mse": mse}
"""Losses by name."""

METRICS: dict[str, Metric] = {"accuracy": accuracy}
"""Metrics by name."""
