"""Cross-entropy and accuracy of many lanes, native, for the CPU.

``native/core/layers_loss.cpp`` finds the loss of a lane and its gradient in one pass over rows of
scores, however the lanes are many.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from evolute.lanes.native_layers import Entropy, layers, serves


def serves_classes(outputs: Tensor, targets: Tensor) -> bool:
    """Say whether the native functions can take scores [L, N, C, …] and classes [L or 1, N, …]."""
    return (
        outputs.ndim >= 3
        and targets.dtype == torch.int64
        and targets.device.type == "cpu"
        and targets.shape[1:] == outputs.shape[1:2] + outputs.shape[3:]
        and serves(outputs)
        and outputs.movedim(2, -1).is_contiguous()
    )


def cross_entropies(outputs: Tensor, targets: Tensor, *, ignored: int) -> Tensor:
    """Return the mean of −log softmax(output)[target] of each lane.

    Parameters
    ----------
    outputs
        Scores [L, N, C, …], the classes side by side in memory.
    targets
        Classes [L, N, …], or [1, N, …] where lanes share them.
    ignored
        The class that is left out of the mean.

    Raises
    ------
    IndexError
        If a target is no class.
    """
    apply: Any = _CrossEntropy.apply
    result: Tensor = apply(outputs, targets, ignored)
    return result


def accuracies(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the share of rows of each lane that are answered right; shapes as above."""
    shares = torch.empty(len(outputs))
    work = _work(outputs.movedim(2, -1), targets.contiguous(), 0, shares, None)
    layers().evolute_accuracy(ctypes.byref(work))  # type: ignore[union-attr]
    return shares


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, outputs: Tensor, targets: Tensor, ignored: int) -> Tensor:
        losses, rows, targets = (
            torch.empty(len(outputs)),
            outputs.movedim(2, -1),
            targets.contiguous(),
        )
        gradient = torch.empty_like(rows)
        work = _work(rows, targets, ignored, losses, gradient)
        if layers().evolute_cross_entropy(ctypes.byref(work)):  # type: ignore[union-attr]
            raise IndexError(
                f"a target is no class: {outputs.shape[2]} scores allow 0 to {outputs.shape[2] - 1}"
            )
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (own,) = ctx.saved_tensors
        (factor,) = gradients
        if any(each != 1.0 for each in factor.tolist()):
            own = own * factor.view(-1, *[1] * (own.ndim - 1))
        return own.movedim(-1, 2), None, None


def _work(
    rows: Tensor, targets: Tensor, ignored: int, losses: Tensor, gradient: Tensor | None
) -> Entropy:
    classes = rows.shape[-1]
    stride = 0 if len(targets) == 1 else targets[0].numel()
    pointers = [
        None if each is None else each.data_ptr() for each in (rows, targets, losses, gradient)
    ]
    return Entropy(len(rows), rows[0].numel() // classes, classes, stride, ignored, *pointers)
