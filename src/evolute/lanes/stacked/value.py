"""Lanes: a value that differs from lane to lane, in one of two layouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """A tensor of shape ``shape`` in each of ``count`` lanes.

    Parameters
    ----------
    data
        [L, *shape]; or, if wide, [N, L·C, *rest] for a plain shape [N, C, *rest]: the channels of
        all lanes side by side, which is what grouped convolution and batch normalisation run on.
    count
        L.
    wide
        Which of the two.
    """

    data: Tensor
    count: int
    wide: bool = False

    @property
    def shape(self) -> torch.Size:
        """The plain shape, as each lane sees it."""
        if not self.wide:
            return self.data.shape[1:]
        examples, channels, *rest = self.data.shape
        return torch.Size((examples, channels // self.count, *rest))

    def apart(self) -> Tensor:
        """Return [L, *shape]; a view."""
        if not self.wide:
            return self.data
        examples, channels, *rest = self.data.shape
        split = self.data.view(examples, self.count, channels // self.count, *rest)
        return split.transpose(0, 1)

    def in_rows(self) -> Tensor:
        """Return [L, *shape], lane after lane in memory.

        For sums: where channels of all lanes lie side by side, torch adds those that fill vectors
        in another order than the rest, so that what a lane gets would depend on their number.
        """
        return self.apart().contiguous() if self.wide else self.data

    def widened(self) -> Tensor:
        """Return [N, L·C, *rest], channels last in memory where it is an image."""
        if self.wide:
            return self.data
        wide = self.data.transpose(0, 1).flatten(1, 2)
        if wide.ndim == 4:
            wide = wide.contiguous(memory_format=torch.channels_last)
        return wide


def apart(value: Any, count: int) -> Tensor:
    """Return a value as [L, *shape]; what all lanes share is expanded, not copied."""
    if isinstance(value, Lanes):
        return value.apart()
    tensor: Tensor = value
    return tensor.expand(count, *tensor.shape)


def widened(value: Any, count: int) -> Tensor:
    """Return a value as [N, L·C, *rest]; what all lanes share is repeated."""
    if isinstance(value, Lanes):
        return value.widened()
    return Lanes(apart(value, count), count).widened()


def aligned(value: Lanes, rank: int) -> Tensor:
    """Return [L, 1 …, *shape] with as many plain dimensions as ``rank``, ready to broadcast."""
    data = value.in_rows()
    missing = rank - (data.ndim - 1)
    if missing <= 0:
        return data
    return data.reshape(value.count, *[1] * missing, *data.shape[1:])
