"""Layer normalisation and the Gaussian error linear unit of many lanes, native, for the CPU.

``native/core/layers_rows.cpp`` runs one lane after the other, so a lane has the same bits in any
company; torch's gelu has not, since its last numbers fill no vector.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from evolute.lanes.native_layers import Gelu, Rows, layers


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, *, epsilon: float) -> Tensor:
    """Return w·(x − mean)/√(var + ε) + b, mean and var over the last dimension.

    Parameters
    ----------
    x
        [L, …, F].
    weight, bias
        w and b, [L, F].
    epsilon
        ε.
    """
    apply: Any = _LayerNorm.apply
    result: Tensor = apply(x, weight, bias, epsilon)
    return result


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
        x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
        out = torch.empty_like(x)
        mean, deviation = (torch.empty(x.shape[:-1]) for _ in range(2))
        _norm_rows(epsilon, x, None, out, weight, bias, mean, deviation)
        ctx.save_for_backward(x, weight, mean, deviation)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight, mean, deviation = ctx.saved_tensors
        gradient, out = gradients[0].contiguous(), torch.empty_like(x)
        of_weight, of_bias = torch.empty_like(weight), torch.empty_like(weight)
        _norm_rows(0.0, x, gradient, out, weight, None, mean, deviation, of_weight, of_bias)
        return out, of_weight, of_bias, None


def _norm_rows(epsilon: float, x: Tensor, *more: Tensor | None) -> None:
    lanes, size = len(x), x.shape[-1]
    pointers = [None if each is None else each.data_ptr() for each in more]
    work = Rows(lanes, x[0].numel() // size, size, 0, epsilon, x.data_ptr(), *pointers)
    layers().evolute_layer_norm(ctypes.byref(work))  # type: ignore[union-attr]


def gelu(x: Tensor) -> Tensor:
    """Return x·Φ(x), Φ the distribution function of the standard normal; x is [L, …]."""
    apply: Any = _Gelu.apply
    result: Tensor = apply(x)
    return result


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        dense = x.stride(0) == x[0].numel() and torch.empty_like(x).stride() == x.stride()
        x = x if dense else x.contiguous()
        out = torch.empty_like(x)
        ctx.save_for_backward(x)
        _gelu(x, None, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        gradient, out = gradients[0], torch.empty_like(x)
        if gradient.stride() != x.stride():
            gradient = torch.empty_like(x).copy_(gradient)
        _gelu(x, gradient, out)
        return out


def _gelu(x: Tensor, gradient: Tensor | None, out: Tensor) -> None:
    at = None if gradient is None else gradient.data_ptr()
    work = Gelu(len(x), x[0].numel(), x.data_ptr(), at, out.data_ptr())
    layers().evolute_gelu(ctypes.byref(work))  # type: ignore[union-attr]
