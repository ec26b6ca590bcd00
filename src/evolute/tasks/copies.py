"""What a deep copy of a model would lose without a word."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType
from typing import Any

from torch import Tensor, nn


def lost_in_copies(model: nn.Module) -> str | None:
    """Return in words what :func:`copy.deepcopy` of a model would lose; None if nothing.

    A copied weight has no hooks, and a copied module has the same functions, which go on using the
    modules and tensors of the original that they close over.

    Parameters
    ----------
    model
        The model; not changed.

    Examples
    --------
    >>> model = nn.Linear(3, 2)
    >>> lost_in_copies(model) is None
    True
    >>> handle = model.weight.register_hook(lambda gradient: gradient.clamp(-1, 1))
    >>> lost_in_copies(model)
    "the hook on its weight 'weight'"
    """
    for name, weight in model.named_parameters():
        if weight._backward_hooks or getattr(weight, "_post_accumulate_grad_hooks", None):
            return f"the hook on its weight {name!r}"
    for name, part in model.named_modules():
        for key, value in vars(part).items():
            if any(_closes_over_tensors(function) for function in _functions(value)):
                place = f"{name}.{key}".lstrip(".")
                return f"what its function {place!r} closes over"
    return None


def share_tensors(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have a module, a weight or a buffer in common.

    >>> share_tensors(nn.Linear(3, 2), nn.Linear(3, 2))
    False
    """
    return not _parts(one).isdisjoint(_parts(other))


def _parts(model: nn.Module) -> set[tuple[str, int]]:
    tensors = (*model.parameters(), *model.buffers())
    return {("module", id(part)) for part in model.modules()} | {
        ("tensor", id(tensor) if tensor.numel() == 0 else tensor.untyped_storage().data_ptr())
        for tensor in tensors
    }


def _functions(value: Any) -> Iterator[FunctionType]:
    """Yield the functions that an attribute holds, by itself or in a dict, list or tuple."""
    if isinstance(value, FunctionType):
        yield value
    elif isinstance(value, dict):
        yield from (each for each in value.values() if isinstance(each, FunctionType))
    elif isinstance(value, list | tuple):
        yield from (each for each in value if isinstance(each, FunctionType))


def _closes_over_tensors(function: FunctionType) -> bool:
    for cell in function.__closure__ or ():
        try:
            content = cell.cell_contents
        except ValueError:  # it was never filled
            continue
        if isinstance(content, nn.Module | Tensor):
            return True
    return False
