"""Element-wise functions by vector code alone, so that what a lane gets depends on no company.

On a CPU torch computes element-wise functions in vectors, and the last numbers, which fill none, by
other code, whose roundings differ for the functions named here. Which numbers are the last depends
on how many lanes there are; so these functions run on a row of numbers that fills whole vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

UNEVEN = frozenset({
    "atanh", "celu", "cosh", "elu", "exp2", "gelu", "logsigmoid", "mish", "pow", "selu", "sigmoid",
    "silu", "sinh", "softplus",
})  # fmt: skip
"""Names of functions that torch computes in two ways (found by comparing all it has, in 2.13)."""

WHOLE = 64
"""Numbers that fill whole vectors, two at a time, of any processor and width of float."""

FILLER = 0.5
"""What fills up the last vectors; every function has a value there."""

EXACT_POWERS = (-1, 0, 0.5, 1, 2, 3)
"""Exponents for which torch multiplies, divides or takes a root, which round alike in any code."""


def is_uneven(function: Any, args: Sequence[Any], named: Mapping[str, Any]) -> bool:
    """Say whether a function of these arguments is to be computed by :func:`evenly`.

    Those that write into their argument, or that have several tensors, are not.
    """
    name = function if isinstance(function, str) else getattr(function, "__name__", "")
    given = [*args, *named.values()]
    if name not in UNEVEN or any(each is True for each in given):
        return False
    if name == "pow" and given[-1] in EXACT_POWERS:
        return False
    tensors = [each for each in given if isinstance(each, Tensor)]
    return len(tensors) == 1 and tensors[0].device.type == "cpu" and tensors[0].is_floating_point()


def evenly(function: Callable[..., Any], args: Sequence[Any], named: Mapping[str, Any]) -> Tensor:
    """Return an element-wise function of one tensor, every number computed by vector code.

    Parameters
    ----------
    function
        The function.
    args, named
        Its arguments, of which one is a tensor; the result lies in memory as that does.
    """
    (x,) = (each for each in (*args, *named.values()) if isinstance(each, Tensor))
    strides = x.stride()
    order = sorted(range(x.ndim), key=lambda axis: -strides[axis])
    laid = x.permute(order)
    row = laid.flatten().contiguous()
    missing = -x.numel() % WHOLE
    if missing:
        row = torch.cat([row, row.new_full((missing,), FILLER)])

    def with_row(value: Any) -> Any:
        return row if value is x else value

    more = {name: with_row(value) for name, value in named.items()}
    result: Tensor = function(*map(with_row, args), **more)
    back = [order.index(axis) for axis in range(x.ndim)]
    return result[: x.numel()].view(laid.shape).permute(back)
