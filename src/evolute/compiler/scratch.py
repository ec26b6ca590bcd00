"""Memory for the temporaries of a step on the CPU, kept between steps.

Fresh memory costs as much as the arithmetic in it: the system clears every page that is touched
for the first time, and the C library gives what it freed back to the system.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

MOST_SHAPES = 256
"""Views of the memory that are kept: those of most networks."""


class _Kept(threading.local):
    """The memory of a thread, so that two steps at once never share it."""

    def __init__(self) -> None:
        self.buffers: dict[torch.dtype, list[Tensor]] = {}
        self.views: dict[tuple[int, torch.dtype, torch.Size], list[Tensor]] = {}


_kept = _Kept()


def temporaries(count: int, *, like: Tensor) -> list[Tensor]:
    """Return so many tensors of the shape and dtype of another, contiguous, on the CPU.

    They are the same memory whenever a thread asks. It grows with the largest tensor asked for,
    which is a block's (:data:`evolute.compiler.blocks.BLOCK`): some MiB for each thread that steps.
    """
    key = (count, like.dtype, like.shape)
    views = _kept.views.get(key)
    if views is None:
        if len(_kept.views) >= MOST_SHAPES:
            _kept.views.clear()
        buffers = _buffers(count, like.numel(), like.dtype)
        _kept.views[key] = views = [each[: like.numel()].view(like.shape) for each in buffers]
    return views


def _buffers(count: int, size: int, dtype: torch.dtype) -> list[Tensor]:
    buffers = _kept.buffers.setdefault(dtype, [])
    if buffers and len(buffers[0]) < size:
        _kept.views.clear()  # they hold the memory that is given up
        buffers.clear()
    size = max([size, *(len(each) for each in buffers)])
    buffers += [torch.empty(size, dtype=dtype) for _ in range(count - len(buffers))]
    return buffers[:count]


def forget_temporaries() -> None:
    """Give the memory of this thread back."""
    _kept.buffers.clear()
    _kept.views.clear()
