"""Linear layers of many lanes, native, for the CPU.

``native/core/layers_products.cpp`` runs one lane after the other by the same instructions, so a
lane has the same bits in any company, which torch's products of matrices promise on no processor.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from evolute.lanes.native_layers import Linear, layers


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, rectified: bool = False
) -> Tensor:
    """Return x·Wᵀ + b of each lane.

    Parameters
    ----------
    x
        [L, …, I]; expanded where lanes share it.
    weight
        W, [L, O, I].
    bias
        b, [L, O], or None.
    rectified
        Whether max(0, x·Wᵀ + b) is returned.
    """
    apply: Any = _Linear.apply
    result: Tensor = apply(x, weight, bias, rectified)
    return result


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rectified: bool
    ) -> Tensor:
        shared = x.stride(0) == 0 and len(x) > 1
        x, weight = (x[:1] if shared else x).contiguous(), weight.contiguous()
        bias = None if bias is None else bias.contiguous()
        out = torch.empty(len(weight), *x.shape[1:-1], weight.shape[1])
        ctx.more = rectified, 0 if shared else x[0].numel()
        _linear(*ctx.more, x, weight, bias, None, out)
        ctx.save_for_backward(x, weight, out if rectified else None)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight, out = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        of_x = torch.empty(len(weight), *x.shape[1:]) if wants_x else None
        of_weight = torch.empty_like(weight) if wants_weight else None
        of_bias = torch.empty(weight.shape[:2]) if wants_bias else None
        _linear(*ctx.more, x, weight, None, gradient, out, of_x, of_weight, of_bias)
        return of_x, of_weight, of_bias, None


def _linear(rectified: bool, stride: int, x: Tensor, weight: Tensor, *more: Tensor | None) -> None:
    lanes, outputs, inputs = weight.shape
    pointers = [None if each is None else each.data_ptr() for each in (x, weight, *more)]
    work = Linear(lanes, x[0].numel() // inputs, inputs, outputs, rectified, stride, 0, *pointers)
    layers().evolute_linear(ctypes.byref(work))  # type: ignore[union-attr]
