"""Rows of what moves, joins, splits, sums and reads dimensions: shifted right by the lane axis."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from evolute.lanes.base import CannotStackError
from evolute.lanes.stacked.table import Key, Row, Step, has_lanes, plain, row, rows
from evolute.lanes.stacked.value import Lanes, apart


def _shift(dimension: int) -> int:
    """Return where a plain dimension lies once the lane axis is in front."""
    return dimension + 1 if dimension >= 0 else dimension


def _numbers(sizes: Sequence[Any]) -> tuple[int, ...]:
    """Return sizes given one by one or as one sequence."""
    if len(sizes) == 1 and isinstance(sizes[0], Sequence):
        return tuple(sizes[0])
    return tuple(sizes)


@row("view", "reshape", torch.reshape)
def _reshape(step: Step, x: Lanes, *sizes: Any, shape: Any = None) -> Lanes:
    numbers = _numbers(sizes) if shape is None else tuple(shape)
    return Lanes(x.apart().reshape(step.count, *numbers), step.count)


@row("flatten", torch.flatten)
def _flatten(step: Step, x: Lanes, start_dim: int = 0, end_dim: int = -1) -> Lanes:
    return Lanes(x.apart().flatten(_shift(start_dim), _shift(end_dim)), step.count)


@row("unflatten", torch.unflatten)
def _unflatten(step: Step, x: Lanes, dim: int, sizes: Any) -> Lanes:
    return Lanes(x.apart().unflatten(_shift(dim), tuple(sizes)), step.count)


@row("permute", torch.permute)
def _permute(step: Step, x: Lanes, *dims: Any) -> Lanes:
    order = [0, *map(_shift, _numbers(dims))]
    return Lanes(x.apart().permute(order), step.count)


@row("transpose", torch.transpose, "swapaxes", torch.swapaxes)
def _transpose(step: Step, x: Lanes, dim0: int, dim1: int) -> Lanes:
    return Lanes(x.apart().transpose(_shift(dim0), _shift(dim1)), step.count)


@row("t", torch.t)
def _t(step: Step, x: Lanes) -> Lanes:
    return _transpose(step, x, 0, 1)  # type: ignore[no-any-return]


@row("expand")
def _expand(step: Step, x: Lanes, *sizes: Any) -> Lanes:
    numbers = _numbers(sizes)
    data = x.apart()
    missing = len(numbers) - (data.ndim - 1)
    data = data.reshape(step.count, *[1] * missing, *data.shape[1:])
    return Lanes(data.expand(step.count, *numbers), step.count)


@row("repeat")
def _repeat(step: Step, x: Lanes, *sizes: Any) -> Lanes:
    numbers = _numbers(sizes)
    data = x.apart()
    missing = len(numbers) - (data.ndim - 1)
    data = data.reshape(step.count, *[1] * missing, *data.shape[1:])
    return Lanes(data.repeat(1, *numbers), step.count)


def _with_dimension(position: int, name: str) -> Any:
    """Make rows for functions that have one dimension (or several), given by place or by name."""

    def make(key: Key) -> Row:
        function = plain(key)

        def run(step: Step, *args: Any, **kwargs: Any) -> Any:
            given = list(args)
            given[0] = given[0].in_rows()
            if name in kwargs:
                kwargs[name] = _shifted(kwargs[name])
            elif len(given) > position:
                given[position] = _shifted(given[position])
            else:
                raise CannotStackError(f"it calls {getattr(key, '__name__', key)} without {name}=")
            return _held(function(*given, **kwargs), step.count)

        return run

    return make


def _shifted(dimensions: Any) -> Any:
    if isinstance(dimensions, Sequence):
        return tuple(map(_shift, dimensions))
    return _shift(dimensions)


def _held(result: Any, count: int) -> Any:
    if isinstance(result, Tensor):
        return Lanes(result, count)
    return tuple(Lanes(each, count) for each in result)


_FIRST = """softmax log_softmax unsqueeze squeeze cumsum cumprod logsumexp unbind flip argsort sort
    amax amin all any"""
_SECOND = "chunk split narrow select topk kthvalue"
rows((getattr(torch, name) for name in _FIRST.split()), _with_dimension(1, "dim"))
rows(_FIRST.split(), _with_dimension(1, "dim"))
rows([functional.softmax, functional.log_softmax], _with_dimension(1, "dim"))
rows([torch.narrow, torch.select, "narrow", "select"], _with_dimension(1, "dim"))
rows([functional.normalize], _with_dimension(2, "dim"))


@row("chunk", torch.chunk)
def _chunk(step: Step, x: Lanes, chunks: int, dim: int = 0) -> Any:
    return _held(x.apart().chunk(chunks, _shift(dim)), step.count)


@row("split", torch.split)
def _split(step: Step, x: Lanes, split_size: Any, dim: int = 0) -> Any:
    return _held(x.apart().split(split_size, _shift(dim)), step.count)


def _reduction(key: Key) -> Row:
    function = plain(key)

    def run(step: Step, x: Lanes, dim: Any = None, *args: Any, **kwargs: Any) -> Any:
        data = x.in_rows()
        if dim is None:
            if args or kwargs:
                raise CannotStackError(f"it calls {getattr(key, '__name__', key)} without dim=")
            return _held(function(data.flatten(1), 1) if data.ndim > 1 else data, step.count)
        return _held(function(data, _shifted(dim), *args, **kwargs), step.count)

    return run


_REDUCTIONS = "mean sum argmax argmin var std prod norm"
rows((getattr(torch, name) for name in _REDUCTIONS.split() if name != "norm"), _reduction)
rows((name for name in _REDUCTIONS.split() if name != "norm"), _reduction)


@row(torch.cat, torch.concat)
def _cat(step: Step, tensors: Sequence[Any], dim: int = 0) -> Lanes:
    return Lanes(torch.cat([apart(each, step.count) for each in tensors], _shift(dim)), step.count)


@row(torch.stack)
def _stack(step: Step, tensors: Sequence[Any], dim: int = 0) -> Lanes:
    return Lanes(
        torch.stack([apart(each, step.count) for each in tensors], _shift(dim)), step.count
    )


@row(operator.getitem)
def _getitem(step: Step, x: Any, index: Any) -> Any:
    if not isinstance(x, Lanes):
        return x[index]
    if has_lanes(index):
        raise CannotStackError("it indexes by what differs from lane to lane")
    places = index if isinstance(index, tuple) else (index,)
    return Lanes(x.apart()[(slice(None), *places)], step.count)


@row(getattr)
def _getattr(step: Step, x: Lanes, name: str) -> Any:
    if name in ("T", "mT"):
        return Lanes(x.apart().transpose(-2, -1), step.count)
    raise CannotStackError(f"it reads .{name} of a tensor")


@row(functional.pad)
def _pad(step: Step, x: Lanes, pad: Any, mode: str = "constant", value: Any = None) -> Lanes:
    if mode == "constant":
        return Lanes(functional.pad(x.apart(), tuple(pad), mode, value), step.count)
    return Lanes(functional.pad(x.widened(), tuple(pad), mode, value), step.count, wide=True)
