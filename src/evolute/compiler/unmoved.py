"""Whether the tensors of a group are those of its last step, and where they were.

A step of small tensors is mostly bookkeeping. What of it does not change from step to step is done
once: after that it is enough to look whether every weight, state and counter is the object that it
was, in the memory where it was. Only gradients may be others.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evolute.compiler.step import Members

States = Mapping[Tensor, Mapping[str, Any]]
"""The state of an optimizer: slots and counter by their names, of each parameter."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A parameter with a gradient; ``kept`` are its slots and its counter, with their addresses."""

    weight: Tensor
    address: int
    count: int
    state: Mapping[str, Any]
    kept: tuple[tuple[str, Tensor, int], ...]
    counter: memoryview


class Unmoved:
    """The tensors of a group as they lay in its last step; made by :func:`unmoved`.

    Attributes
    ----------
    weights, indices
        Those that have a gradient, and their indices in the optimizer.
    """

    def __init__(self, rows: Sequence[_Row | None], indices: Sequence[int]) -> None:
        self._rows, self.indices = rows, indices
        there = [row for row in rows if row is not None]
        self.weights = [row.weight for row in there]
        self._counters = [row.counter for row in there]
        self._changed = [*self.weights, *(row.state["step"] for row in there)]

    def gradients(self, parameters: Sequence[Tensor], states: States) -> list[Tensor] | None:
        """Return the gradients of these parameters; None where anything else is another."""
        if len(parameters) != len(self._rows):
            return None
        found = []
        for weight, row in zip(parameters, self._rows, strict=True):
            gradient = weight.grad
            if row is None and gradient is None:
                continue
            if row is None or gradient is None or not _is_same(row, weight, states):
                return None
            found.append(gradient)
        return found

    def steps(self) -> list[int]:
        """Return the number of updates made of each weight."""
        return [each[()] for each in self._counters]

    def count_up(self) -> None:
        """Count one more update of each weight, and tell autograd what has changed."""
        for each in self._counters:  # a tenth of what adding to the tensor takes
            each[()] += 1
        torch.autograd.graph.increment_version(self._changed)


def _is_same(row: _Row, weight: Tensor, states: States) -> bool:
    state = row.state
    if (
        weight is not row.weight
        or weight.data_ptr() != row.address
        or weight.numel() != row.count
        or not weight.is_contiguous()
        or states.get(weight) is not state
    ):
        return False
    for name, tensor, address in row.kept:
        if state.get(name) is not tensor or tensor.data_ptr() != address:
            return False
    return True


def unmoved(parameters: Sequence[Tensor], states: States, members: Members) -> Unmoved | None:
    """Return what there is to compare with at the next step; None where that would not do.

    It would not where a member is not the parameter itself but a part or a view of it, or a counter
    is not as this package makes them.

    Parameters
    ----------
    parameters
        All of a group.
    states
        Of the optimizer.
    members
        Those that have a gradient, as they were just stepped.
    """
    rows: list[_Row | None] = []
    places = itertools.count()
    for weight in parameters:
        if weight.grad is None:
            rows.append(None)
            continue
        at, state = next(places), states[weight]
        slots, counter = members.slots_of(at), state["step"]
        names = [name for name in state if any(state[name] is each for each in slots)]
        whole = members.weights[at] is weight and len(names) == len(slots)
        if not whole or not _is_counter(counter):
            return None
        kept = [(name, state[name], state[name].data_ptr()) for name in (*names, "step")]
        row = _Row(
            weight,
            weight.data_ptr(),
            weight.numel(),
            state,
            tuple(kept),
            memoryview(counter.numpy()),
        )
        rows.append(row)
    return Unmoved(rows, members.indices)


def _is_counter(tensor: Tensor) -> bool:
    return (
        type(tensor) is Tensor
        and tensor.dtype is torch.int64
        and tensor.is_cpu
        and tensor.dim() == 0
        and not tensor.is_inference()
    )
