"""Rows of layers on images under autocast to bfloat16, where native layers are the faster way.

Each stands before the row that the table has for everything else, and leaves to it what it cannot
do.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from evolute.lanes import paired
from evolute.lanes.norms import ACTIVATIONS, move_running
from evolute.lanes.paired import PairedLanes
from evolute.lanes.stacked import functions as functions  # fills the table
from evolute.lanes.stacked import layers as layers
from evolute.lanes.stacked.table import Key, Row, Step, find, row
from evolute.lanes.stacked.value import Lanes, apart

_ONES = (1, (1, 1))
_KNOWN = (torch.float32, torch.bfloat16)


def _before(*keys: Key) -> Callable[[Row], Row]:
    """Enter a row that may return None before the rows of these keys."""

    def enter(own: Row) -> Row:
        for key in keys:
            _put_before(key, own)
        return own

    return enter


def _put_before(key: Key, own: Row) -> None:
    other = find(key)
    assert other is not None

    def run(step: Step, *args: Any, **kwargs: Any) -> Any:
        found = own(step, *args, **kwargs)
        return other(step, *args, **kwargs) if found is None else found

    row(key)(run)


@_before(functional.conv2d)
def _convolve(
    step: Step,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Lanes | None:
    usual = dilation in _ONES and groups == 1 and not isinstance(padding, str)
    if not usual or len(x.shape) != 4 or 0 in x.shape or not paired.wanted():
        return None
    own = apart(weight, step.count)
    if own.device.type != "cpu" or own.dtype != torch.float32:
        return None
    if isinstance(x, PairedLanes):
        words = x.words
    else:
        images = apart(x, step.count)
        if images.dtype not in _KNOWN:
            return None
        words = paired.packed(images)
    down, right = (each if isinstance(each, tuple) else (each, each) for each in (stride, padding))
    offset = None if bias is None else apart(bias, step.count)
    result = paired.convolve(words, own, offset, examples=x.shape[0], stride=down, padding=right)
    return PairedLanes(result, x.shape[0], own.shape[1])


@_before(functional.batch_norm)
def _batch_norm(
    step: Step,
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    activation: str | None = None,
) -> Lanes | None:
    if not isinstance(x, PairedLanes):
        return None
    values = [running_mean, running_var, weight, bias]
    mean, variance, scale, offset = (
        None if each is None else apart(each, step.count) for each in values
    )
    scale = torch.ones(step.count, x.channels) if scale is None else scale
    offset = torch.zeros(step.count, x.channels) if offset is None else offset
    running = None if mean is None or variance is None else (mean, variance)
    if not training and running is not None:
        if torch.is_grad_enabled():
            return None
        words = paired.normalised_by(
            x.words, scale, offset, running,
            examples=x.examples, epsilon=eps, activation=ACTIVATIONS[activation],
        )  # fmt: skip
        return PairedLanes(words, x.examples, x.channels)
    apply: Any = paired.PairedNorm2d.apply
    words, *found = apply(x.words, scale, offset, eps, ACTIVATIONS[activation], x.examples, False)
    if running is not None:
        count = x.examples * x.words.shape[2] * x.words.shape[3]
        move_running(running, (found[0], found[1]), momentum=momentum, count=count)
    return PairedLanes(words, x.examples, x.channels)


@_before(functional.adaptive_avg_pool2d)
def _average(step: Step, x: Any, size: Any) -> Lanes | None:
    if not isinstance(x, PairedLanes) or size not in _ONES:
        return None
    return Lanes(paired.average(x.words, x.examples, x.channels), step.count)


def _on_words(function: Callable[..., Tensor]) -> Row:
    """Return the row of a function of which 0 comes of 0, so that what fills up stays 0."""

    def run(step: Step, *args: Any, **kwargs: Any) -> Lanes | None:
        del step
        first = args[0]
        if kwargs or not all(
            isinstance(each, PairedLanes) and each.shape == first.shape for each in args
        ):
            return None
        words = function(*(each.words for each in args))
        return PairedLanes(words, first.examples, first.channels)

    return run


_before(operator.add, operator.iadd, torch.add, "add", "add_")(_on_words(torch.add))
_before(functional.relu, torch.relu, "relu", "relu_")(_on_words(torch.relu))
_before(functional.silu)(_on_words(functional.silu))
