"""Tensors of which each process holds a part: torch's ``DTensor``, as ``fully_shard`` makes them.

An element-wise rule moves each weight by its own gradient, so every process applies it to its part
and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeGuard

from torch import Tensor
from torch.nn import Parameter

from evolute.compiler.program import Program
from evolute.errors import InputError, shorten
from evolute.lang.registry import Kind

_REFUSED = {
    Kind.PER_TENSOR: "needs whole tensors",
    Kind.RANDOM: "draws its noise for whole tensors",
}


def require_shardable(program: Program, parameters: Iterable[Tensor], text: str) -> None:
    """Raise InputError if a parameter is split and the rule with this text needs it whole."""
    culprit = next((i.function for i in program.instructions if i.function.kind in _REFUSED), None)
    if culprit is not None and any(_is_split(each) for each in parameters):
        raise InputError(
            f"the parameters are shards of tensors, and {culprit.name} in the rule "
            f"{shorten(text)!r} {_REFUSED[culprit.kind]}: take an element-wise rule without "
            "noise, or keep each parameter whole on every process (DistributedDataParallel)"
        )


def local(tensor: Tensor, *, of: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds, where it is laid out as ``of``.

    It shares its memory with a tensor that is laid out so already.
    """
    if not _is_distributed(tensor):
        return tensor
    spread: Any = tensor
    if _placements(tensor) != _placements(of):  # such as a gradient that is yet to be summed up
        spread = spread.redistribute(placements=_placements(of))
    part: Tensor = spread.to_local()
    return part


def _is_distributed(tensor: Tensor) -> TypeGuard[Any]:
    # By its attribute: the class is part of a package that most programs never import.
    return type(tensor) not in (Tensor, Parameter) and hasattr(tensor, "placements")


def _is_split(tensor: Tensor) -> bool:
    return not all(each.is_replicate() for each in _placements(tensor))


def _placements(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.placements) if _is_distributed(tensor) else ()
