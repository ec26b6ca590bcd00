"""Memory for the temporaries of a step on the CPU, kept between steps.

Fresh memory costs as much as the arithmetic in it: the system clears every page that is touched
for the first time, and the C library gives what it freed back to the system.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Parameter

from evolute.compiler.blocks import Block

Scratch = Callable[[int, Tensor], Tensor]
"""scratch(number, like): the temporary of this number, of the shape and dtype of ``like``."""


class _Kept(threading.local):
    """The buffers of a thread, so that two steps at once never share one."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[int, torch.dtype], Tensor] = {}


_kept = _Kept()


def scratch_for(block: Block) -> Scratch | None:
    """Return what gives temporaries to a block of one plain piece on the CPU; else None.

    A temporary is the same memory whenever a thread asks for its number. It grows with the largest
    block asked for, so it stays below a few MiB for each.
    """
    first = block.weights[0]
    is_plain = type(first) in (Tensor, Parameter) and first.device.type == "cpu"
    return _scratch if is_plain and len(block.weights) == 1 else None


def _scratch(number: int, like: Tensor) -> Tensor:
    size, key = like.numel(), (number, like.dtype)
    buffer = _kept.buffers.get(key)
    if buffer is None or buffer.numel() < size:
        _kept.buffers[key] = buffer = torch.empty(size, dtype=like.dtype)
    return buffer[:size].view(like.shape)


def forget_scratch() -> None:
    """Give the memory of this thread back."""
    _kept.buffers.clear()
