"""Batch normalisation and the activation after it in one native pass each way, for the CPU.

``native/core/layers.cpp`` takes two passes over memory where torch takes four. Forward and backward
took 3.0 ns per element and torch's 2.4 on a busy machine (one thread of a Zen 4, [128, 64, 16, 16],
freed memory kept), so it is the pass of :mod:`evolute.lanes.images` that is fast; this one serves
bfloat16, vectors, and images that other layers laid out with channels last.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evolute.lanes.native_layers import layers

_SUFFIXES = {torch.float32: "", torch.bfloat16: "_bf16"}


def serves(x: Tensor) -> bool:
    """Say whether the native pass can take a tensor [N, C, …]."""
    on_cpu = x.device.type == "cpu" and x.dtype in _SUFFIXES and x.numel() > 0
    return on_cpu and x.ndim in (2, 4) and layers() is not None


class RowNorm(torch.autograd.Function):
    """The pass over x [N, C] or [N, C, H, W]; weight and bias [C], float32."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, activation: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = _laid(x)
        z = torch.empty_like(x)
        mean, variance, deviation = (torch.empty_like(weight) for _ in range(3))
        rows, columns = x.numel() // x.shape[1], x.shape[1]
        _function("forward", x.dtype)(
            activation, x.data_ptr(), z.data_ptr(), rows, columns,
            weight.data_ptr(), bias.data_ptr(), epsilon,
            mean.data_ptr(), variance.data_ptr(), deviation.data_ptr(),
        )  # fmt: skip
        ctx.save_for_backward(x, weight, bias, mean, deviation)
        ctx.activation = activation
        ctx.mark_non_differentiable(mean, variance)
        return z, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight, bias, mean, deviation = ctx.saved_tensors
        gradient = _laid(gradients[0].to(x.dtype))
        out = torch.empty_like(x)
        weight_gradient, bias_gradient = torch.empty_like(weight), torch.empty_like(bias)
        rows, columns = x.numel() // x.shape[1], x.shape[1]
        _function("backward", x.dtype)(
            ctx.activation, x.data_ptr(), gradient.data_ptr(), out.data_ptr(), rows, columns,
            weight.data_ptr(), bias.data_ptr(), mean.data_ptr(), deviation.data_ptr(),
            weight_gradient.data_ptr(), bias_gradient.data_ptr(),
        )  # fmt: skip
        return out, weight_gradient, bias_gradient, None, None


def _laid(x: Tensor) -> Tensor:
    """Return a tensor with channels last in memory."""
    if x.ndim == 2:
        return x.contiguous()
    if x.permute(0, 2, 3, 1).is_contiguous():
        return x
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def _function(way: str, dtype: torch.dtype) -> Any:
    return getattr(layers(), f"evolute_norm_{way}{_SUFFIXES[dtype]}")
