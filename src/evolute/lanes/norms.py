"""Batch normalisation and the activation after it, by one of the native passes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ACTIVATIONS = {None: 0, "relu": 1, "silu": 2}
"""Numbers of the activations, as in ``layers_vector.h``."""


def normalise(
    native: type[torch.autograd.Function],
    x: Tensor,
    *,
    weight: Tensor,
    bias: Tensor,
    running: tuple[Tensor, Tensor] | None,
    momentum: float,
    epsilon: float,
    activation: str | None,
) -> Tensor:
    """Return f(w·(x − mean)/√(var + ε) + b), mean and var over all but lanes and channels.

    Parameters
    ----------
    native
        The pass: :class:`.fused.RowNorm` or :class:`.images.ImageNorm`, which state their shapes.
    x
        What is normalised.
    weight, bias
        w and b, a number for each channel.
    running
        Running mean and variance, shaped like w and moved in place by ``momentum`` towards those of
        the batch; or None. The variance counts n/(n − 1) times, as torch has it.
    momentum
        Share of the batch in the running averages.
    epsilon
        ε.
    activation
        f, a key of :data:`ACTIVATIONS`.
    """
    apply: Any = native.apply
    z, mean, variance = apply(x, weight, bias, epsilon, ACTIVATIONS[activation])
    if running is not None:
        count = x.numel() // weight.numel()
        move_running(running, (mean, variance), momentum=momentum, count=count)
    result: Tensor = z
    return result


def move_running(
    running: tuple[Tensor, Tensor],
    found: tuple[Tensor, Tensor],
    *,
    momentum: float,
    count: int,
) -> None:
    """Move a running mean and variance towards those found in a batch of ``count`` numbers."""
    running[0].mul_(1 - momentum).add_(found[0], alpha=momentum)
    running[1].mul_(1 - momentum).add_(found[1], alpha=momentum * count / max(count - 1, 1))
