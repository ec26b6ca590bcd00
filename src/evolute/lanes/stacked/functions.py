"""Rows of element-wise functions, operators, products and random masks."""

from __future__ import annotations

import operator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from evolute.lanes import products, sequences
from evolute.lanes.base import CannotStackError
from evolute.lanes.native_layers import serves
from evolute.lanes.stacked.evenly import evenly, is_uneven
from evolute.lanes.stacked.table import Key, Row, Step, plain, row, rows
from evolute.lanes.stacked.value import Lanes, aligned, apart


def _elementwise(key: Key) -> Row:
    function = plain(key)

    def run(step: Step, *args: Any, **kwargs: Any) -> Any:
        tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, Lanes | Tensor)]
        wide = all(isinstance(each, Lanes) and each.wide for each in tensors)
        wide = wide and all(each.shape == tensors[0].shape for each in tensors)
        rank = max(len(each.shape) for each in tensors)

        def data(value: Any) -> Any:
            if not isinstance(value, Lanes):
                return value
            return value.data if wide else aligned(value, rank)

        named = {name: data(value) for name, value in kwargs.items()}
        given = [*map(data, args)]
        if is_uneven(key, given, named):
            return Lanes(evenly(function, given, named), step.count, wide)
        return Lanes(function(*given, **named), step.count, wide)

    return run


_UNARY = """abs acos acosh asin asinh atan atanh ceil cos cosh erf erfc exp exp2 expm1 floor
    log log10 log1p log2 logit neg reciprocal relu round rsqrt sigmoid sign sin sinh sqrt square
    tan tanh trunc clamp clip isnan isinf isfinite nan_to_num logical_not"""
_BINARY = """add sub mul div pow maximum minimum where eq ne lt le gt ge floor_divide remainder
    atan2 logaddexp lerp addcmul addcdiv logical_and logical_or"""
_ACTIVATIONS = """relu relu6 leaky_relu elu selu celu gelu silu mish hardswish hardsigmoid hardtanh
    softplus softsign logsigmoid tanh sigmoid tanhshrink hardshrink softshrink threshold"""
_METHODS = """add_ sub_ mul_ div_ relu_ clamp_ tanh_ sigmoid_ float double half bfloat16 bool int
    long to type_as detach contiguous clone masked_fill"""
_OPERATORS = """add sub mul truediv floordiv mod pow neg eq ne lt le gt ge and_ or_ invert abs
    iadd isub imul itruediv"""

rows((getattr(torch, name) for name in (_UNARY + " " + _BINARY).split()), _elementwise)
rows((getattr(functional, name) for name in _ACTIVATIONS.split()), _elementwise)
rows((getattr(operator, name) for name in _OPERATORS.split()), _elementwise)
rows((_UNARY + " " + _BINARY + " " + _METHODS).split(), _elementwise)
rows([torch.clone, torch.masked_fill, torch.subtract, torch.multiply, torch.divide], _elementwise)


_torch_gelu = _elementwise(functional.gelu)


@row(functional.gelu)
def _gelu(step: Step, x: Lanes, approximate: str = "none") -> Any:
    if approximate == "none" and not x.wide and serves(x.data):
        return Lanes(sequences.gelu(x.data), step.count)
    return _torch_gelu(step, x, approximate=approximate)


@row(torch.matmul, operator.matmul, "matmul", torch.bmm, "bmm", torch.mm, "mm")
def matmul(step: Step, left: Any, right: Any) -> Lanes:
    """Multiply matrices [L, …, M, K] by [L, …, K, N]."""
    if min(len(left.shape), len(right.shape)) < 2:
        raise CannotStackError("it multiplies a matrix by a vector")
    rank = max(len(left.shape), len(right.shape))
    sides = [aligned(_as_lanes(each, step.count), rank) for each in (left, right)]
    product = _natively if serves(*sides) else torch.matmul
    return Lanes(product(*sides), step.count)


def _natively(left: Tensor, right: Tensor) -> Tensor:
    """Return the products [L, …, M, K]·[L, …, K, N] by native code.

    Torch's batched product takes other code for a matrix that begins elsewhere in a line of memory,
    as those of other lanes do.
    """
    if all(each == 1 for each in right.shape[1:-2]):  # a matrix for all rows of a lane
        rows = left.flatten(1, -2)
        product = products.linear(rows, right.reshape(len(right), *right.shape[-2:]).mT)
        return product.reshape(*left.shape[:-1], -1)
    shape = torch.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    first, second = (each.expand(*shape, *each.shape[-2:]) for each in (left, right.mT))
    last = len(shape) - 1
    product = products.linear(first.flatten(0, last), second.flatten(0, last))
    return product.view(*shape, *product.shape[1:])


@row(torch.einsum)
def _einsum(step: Step, equation: str, *operands: Any) -> Lanes:
    terms, arrow, result = equation.replace(" ", "").partition("->")
    lane = next(letter for letter in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if letter not in equation)
    if not arrow or "." in equation:
        raise CannotStackError("it calls einsum without '->', or with '…'")
    marked = ",".join(
        lane + term if isinstance(each, Lanes) else term
        for term, each in zip(terms.split(","), operands, strict=True)
    )
    data = [each.apart() if isinstance(each, Lanes) else each for each in operands]
    return Lanes(torch.einsum(f"{marked}->{lane}{result}", *data), step.count)


DRAWING = {functional.dropout, functional.dropout1d, functional.dropout2d}
"""What draws, and so differs from lane to lane even where its arguments do not."""


@row(functional.dropout)
def dropout(
    step: Step, x: Any, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Any:
    """Multiply by masks that each lane's own stream draws as the plain module would."""
    del inplace  # the value is new either way
    return _masked(step, x, p, training, functional.dropout)


@row(functional.dropout2d)
def _dropout2d(
    step: Step, x: Any, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Any:
    del inplace
    return _masked(step, x, p, training, functional.dropout2d)


@row(functional.dropout1d)
def _dropout1d(
    step: Step, x: Any, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Any:
    del inplace
    return _masked(step, x, p, training, functional.dropout1d)


def _masked(step: Step, x: Any, p: float, training: bool, drop: Any) -> Any:
    if not training or p == 0.0:
        return x
    tensor = x.data if isinstance(x, Lanes) else x
    like = {
        "dtype": tensor.dtype, "device": tensor.device, "requires_grad": tensor.requires_grad,
    }  # fmt: skip
    data = apart(x, step.count)
    order = _drawn_order(x) if drop is functional.dropout else [*range(len(x.shape))]
    drawn, shared = step.draws.draw(
        partial(drawn_mask, drop, p, tuple(x.shape[axis] for axis in order), like)
    )
    mask = _in_axes(drawn, order, lanes=not shared)
    # In the layout of the data: the next layer's product would round otherwise for another one.
    laid = torch.empty_like(data, requires_grad=False).copy_(mask)
    return Lanes(data * laid, step.count)


def _drawn_order(x: Any) -> list[int]:
    """Return the axes of a lane's sequence as they lie in memory, in which torch draws its mask.

    Torch's attention layers hand on a transposed tensor where the batch comes first. Images lie
    otherwise here than in the plain module, which has them as their shape says.
    """
    axes = [*range(len(x.shape))]
    if len(axes) != 3 or (isinstance(x, Lanes) and x.wide):
        return axes
    strides = x.data.stride()[1:] if isinstance(x, Lanes) else x.stride()
    return sorted(axes, key=lambda axis: -strides[axis])


def _in_axes(drawn: Tensor, order: list[int], *, lanes: bool) -> Tensor:
    """Return a mask drawn in the order of memory, [*shape] or [L, *shape], in that of axes."""
    back = [order.index(axis) for axis in range(len(order))]
    return drawn.permute(0, *(axis + 1 for axis in back)) if lanes else drawn.permute(back)


def drawn_mask(drop: Any, p: float, shape: tuple[int, ...], like: dict[str, Any]) -> Tensor:
    """Draw a mask; it knows nothing of a pass, so that another one may be drawn like it."""
    # Torch draws otherwise where there is no graph, so this has one where the plain module has.
    with torch.enable_grad():
        dropped: Tensor = drop(torch.ones(shape, **like), p, True)
        return dropped.detach()


def _as_lanes(value: Any, count: int) -> Lanes:
    return value if isinstance(value, Lanes) else Lanes(apart(value, count), count)
