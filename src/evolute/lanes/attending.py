"""Attention of many lanes, native, for the CPU.

``native/core/layers_attention.cpp`` runs one head after the other with its scores in the cache, and
those above the diagonal are left out in blocks where places see earlier ones only.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from evolute.lanes.native_layers import Attention, Side, layers, serves

MOST_PLACES = 1024
"""Longer sequences are left to torch: a block of their scores is no longer in the first caches."""


def serves_heads(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Say whether the native attention can take these: [L, N, H, T, D], all of one shape."""
    return (
        query.ndim == 5
        and query.shape == key.shape == value.shape
        and query.shape[3] <= MOST_PLACES
        and serves(query, key, value)
    )


def attention(
    query: Tensor, key: Tensor, value: Tensor, *, causal: bool, scale: float | None = None
) -> Tensor:
    """Return softmax(q·kᵀ·scale)·v of each lane, example and head.

    Parameters
    ----------
    query, key, value
        q, k and v, [L, N, H, T, D].
    causal
        Whether a place sees itself and earlier ones only.
    scale
        1/√D where None.
    """
    apply: Any = _Attention.apply
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    result: Tensor = apply(query, key, value, causal, factor)
    return result


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, causal: bool, scale: float
    ) -> Tensor:
        query, key, value = map(_laid, (query, key, value))
        statistics = torch.empty(*query.shape[:3], 2 * query.shape[3])
        out = _empty(query.shape)
        ctx.save_for_backward(query, key, value, statistics)
        ctx.more = causal, scale
        _attention(causal, scale, statistics, query, key, value, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        query, key, value, statistics = ctx.saved_tensors
        found = [_empty(query.shape) for _ in range(3)]
        _attention(*ctx.more, statistics, query, key, value, None, _laid(gradients[0]), *found)
        return *found, None, None


def _attention(causal: bool, scale: float, statistics: Tensor, *sides: Tensor | None) -> None:
    query = sides[0]
    assert query is not None
    work = Attention(
        *query.shape, causal, scale, statistics.data_ptr(), *(_side(each) for each in sides)
    )
    layers().evolute_attention(ctypes.byref(work))  # type: ignore[union-attr]


def _side(tensor: Tensor | None) -> Side:
    return Side() if tensor is None else Side(tensor.data_ptr(), *tensor.stride()[:4])


def _laid(tensor: Tensor) -> Tensor:
    """Return a tensor whose numbers of a place lie side by side."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _empty(shape: torch.Size) -> Tensor:
    """Return [L, N, H, T, D], the heads of a place side by side: to be joined without a copy."""
    _, examples, heads, places, width = shape
    place = heads * width
    return torch.empty_strided(
        shape, (examples * places * place, places * place, width, place, 1)
    )  # no view, or nothing could be written into the result
