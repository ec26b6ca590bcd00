"""One step of the parameters of a group on the native core, where they are what it works on.

The core moves a float32 tensor on the CPU in one pass over the memory. It is the default for such
tensors; those of another kind in the same group are stepped in lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from evolute.compiler.blocks import is_without_gaps
from evolute.compiler.execute import scheduled_rate, uniform_noise
from evolute.compiler.native import JobTable, NativeProgram, lower, why_not
from evolute.compiler.program import Program
from evolute.compiler.step import Group, Members, rate_of, values_at
from evolute.errors import InputError
from evolute.lang.registry import Kind


class NativeSteps:
    """Steps the parameters of one group; between steps it keeps their addresses only.

    Parameters
    ----------
    native
        The rule.
    """

    def __init__(self, native: NativeProgram) -> None:
        self._native = native
        kinds = {each.function.kind for each in native.program.instructions}
        self._any_order = kinds <= {Kind.ELEMENTWISE, Kind.STATEFUL}
        self._table = JobTable(0)
        self._addresses: list[int] = []

    def split(self, members: Members) -> tuple[Members | None, Members | None]:
        """Return the parameters that the core can move, and the others; None where there are none.

        A gradient that is laid out in another way than its weight is copied.
        """
        fitting: list[int] = []
        others: list[int] = []
        for at, weight in enumerate(members.weights):
            fits = all(self._fits(each, weight) for each in (weight, *members.slots_of(at)))
            (fitting if fits and _is_plain(members.gradients[at]) else others).append(at)
        rest = members.at(others) if others else None
        return (self._in_rows(members.at(fitting)) if fitting else None), rest

    def _fits(self, tensor: Tensor, weight: Tensor) -> bool:
        return (
            _is_plain(tensor)
            and not tensor.is_inference()  # those must not change here, and torch tells it
            and (
                (tensor.is_contiguous() and weight.is_contiguous())
                or (
                    self._any_order
                    and tensor.stride() == weight.stride()
                    and is_without_gaps(tensor)
                )
            )
        )

    def _in_rows(self, members: Members) -> Members:
        """Return tensors in the order of the memory."""
        gradients = [
            gradient if _alike(gradient, weight) else torch.empty_like(weight).copy_(gradient)
            for gradient, weight in zip(members.gradients, members.weights, strict=True)
        ]
        return replace(
            members,
            weights=[_row(each) for each in members.weights],
            gradients=[_row(each) for each in gradients],
            slots=[_row(each) for each in members.slots],
        )

    def step(self, members: Members, group: Group) -> None:
        """Move all weights, slots and counters in place; all are what :meth:`split` lets through.

        The result does not depend on the number of threads, which is torch's.
        """
        self._place(members)
        table, peak = self._table, rate_of(group)
        table.momenta[:] = group["momentum"]
        table.maximize[:] = group["maximize"]
        table.shrinks[:] = 1 - peak * group["weight_decay"]
        rows_of: dict[int, list[int]] = {}
        for row, each in enumerate(members.steps):
            rows_of.setdefault(int(each), []).append(row)
        for step, rows in rows_of.items():
            factor, decays = values_at(self._native.program, group, step)
            table.steps[rows] = step
            table.rates[rows] = self._native.sign * scheduled_rate(peak, factor, step=step)
            for row in rows:
                if decays:
                    table.set_decays(row, decays)
                if self._native.noise:
                    table.set_noise(row, self._noise(members, row, step, group["seed"]))
        table.run(threads=torch.get_num_threads())
        torch.autograd.graph.increment_version(list(members.weights))
        torch._foreach_add_(list(members.steps), 1)

    def _place(self, members: Members) -> None:
        """Fill the table, or where the memory is that of the last step give it the gradients."""
        weights, slots = members.weights, members.slots
        addresses = [each.data_ptr() for each in (*weights, *slots)]
        addresses += [each.numel() for each in weights]
        if addresses == self._addresses:
            for row, gradient in enumerate(members.gradients):
                self._table.set_gradient(row, gradient)
            return
        self._table, self._addresses = JobTable(len(weights)), addresses
        for row, weight in enumerate(weights):
            self._table.set(
                row,
                self._native,
                weight=weight.detach(),
                gradient=members.gradients[row],
                slots=members.slots_of(row),
            )

    def _noise(self, members: Members, row: int, step: int, seed: int) -> list[Tensor]:
        index, weight = members.indices[row], members.weights[row]
        return [
            uniform_noise(seed, index, step, node=node, like=weight) for node in self._native.noise
        ]


def native_steps(program: Program, group: Mapping[str, Any]) -> NativeSteps | None:
    """Return what steps a group on the native core; None where it is not asked for, or cannot."""
    asked: bool | None = group["fused"]
    if asked is None:  # a path that was asked for is taken
        asked = group["foreach"] is None
    if not asked or group["differentiable"]:
        return None
    native = lower(program)
    return None if native is None else NativeSteps(native)


def require_fused(program: Program, parameters: Sequence[Tensor]) -> None:
    """Raise InputError unless some of these parameters can be moved in one pass."""
    real = [torch.view_as_real(each) if each.is_complex() else each for each in parameters]
    if real and not any(_is_plain(each) and is_without_gaps(each) for each in real):
        raise InputError(
            f"fused=True works on float32 tensors on the CPU without gaps, and none of the "
            f"{len(real)} parameters is one: leave it out"
        )
    reason = why_not(program)
    if reason is not None:
        raise InputError(f"fused=True is not possible: {reason}; leave it out")


def _is_plain(tensor: Tensor) -> bool:
    return (
        tensor.dtype is torch.float32
        and type(tensor) in (Tensor, Parameter)
        and tensor.device.type == "cpu"
    )


def _alike(gradient: Tensor, weight: Tensor) -> bool:
    return gradient.stride() == weight.stride() or (
        gradient.is_contiguous() and weight.is_contiguous()
    )


def _row(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_contiguous() else tensor.as_strided((tensor.numel(),), (1,))
