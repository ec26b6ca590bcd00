"""Rows of what scales by norms or slopes, and of what enlarges or shrinks images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from evolute.lanes.base import CannotStackError
from evolute.lanes.stacked.layers import group_norm
from evolute.lanes.stacked.table import Key, Row, Step, plain, row, rows
from evolute.lanes.stacked.value import Lanes, aligned, apart, widened


@row(functional.rms_norm, torch.rms_norm)
def _rms_norm(
    step: Step, x: Any, normalized_shape: Sequence[int], weight: Any = None,
    eps: float | None = None,
) -> Lanes:  # fmt: skip
    """x·w/√(mean(x²) + ε), the mean over the last dimensions (Zhang and Sennrich, 2019)."""
    data = apart(x, step.count).contiguous()
    axes = tuple(range(-len(normalized_shape), 0))
    small = torch.finfo(data.dtype).eps if eps is None else eps
    result = data * torch.rsqrt(data.square().mean(axes, keepdim=True) + small)
    if weight is not None:
        result = result * aligned(Lanes(apart(weight, step.count), step.count), data.ndim - 1)
    return Lanes(result, step.count)


@row(functional.instance_norm)
def _instance_norm(
    step: Step, x: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None,
    bias: Any = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    """Group normalisation with a group for each channel."""
    del momentum
    if running_mean is not None or running_var is not None or not use_input_stats:
        raise CannotStackError("its instance normalisation keeps running averages")
    return group_norm(step, x, x.shape[1], weight, bias, eps)


@row(torch._weight_norm)
def _weight_norm(step: Step, v: Any, g: Any, dim: int = 0) -> Lanes:
    """g·v/‖v‖, the norm over all dimensions but one (Salimans and Kingma, 2016)."""
    direction, length = apart(v, step.count), apart(g, step.count)
    kept = (0,) if dim == -1 else (0, dim + 1)
    axes = tuple(axis for axis in range(direction.ndim) if axis not in kept)
    norm = direction.square().sum(axes, keepdim=True).sqrt()
    return Lanes(direction * (length.reshape(norm.shape) / norm), step.count)


@row(functional.prelu, torch.prelu)
def _prelu(step: Step, x: Any, weight: Any) -> Lanes:
    """x where it is above 0, else w·x, w of each channel or of all (He and others, 2015)."""
    data, slopes = apart(x, step.count), apart(weight, step.count)
    after = [1] * max(data.ndim - 3, 0)
    own = slopes.view(step.count, *[1] * min(data.ndim - 2, 1), -1, *after)
    return Lanes(torch.where(data > 0, data, own * data), step.count)


def _by_example(key: Key) -> Row:
    """Make a row of what treats every example alike: lanes are examples."""
    function = plain(key)

    def run(step: Step, x: Any, *args: Any, **kwargs: Any) -> Lanes:
        data = apart(x, step.count)
        result = function(data.flatten(0, 1), *args, **kwargs)
        return Lanes(result.unflatten(0, data.shape[:2]), step.count)

    return run


rows(
    [
        functional.interpolate, functional.pixel_shuffle, functional.pixel_unshuffle,
        functional.adaptive_max_pool1d, functional.adaptive_max_pool2d, functional.upsample,
        functional.local_response_norm, functional.channel_shuffle,
    ],
    _by_example,
)  # fmt: skip


def _transposed(function: Any, dimensions: int) -> None:
    @row(function)
    def convolve(
        step: Step, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
    ) -> Lanes:  # fmt: skip
        if len(x.shape) != dimensions + 2:
            raise CannotStackError("it convolves without a batch dimension")
        result = function(
            widened(x, step.count),
            apart(weight, step.count).flatten(0, 1),
            None if bias is None else apart(bias, step.count).flatten(),
            stride=stride, padding=padding, output_padding=output_padding,
            groups=groups * step.count, dilation=dilation,
        )  # fmt: skip
        return Lanes(result, step.count, wide=True)


_transposed(functional.conv_transpose1d, 1)
_transposed(functional.conv_transpose2d, 2)
