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

from evolute.compiler.blocks import is_without_gaps
from evolute.compiler.execute import scheduled_rate, uniform_noise
from evolute.compiler.native import JobTable, NativeProgram, lower, why_not
from evolute.compiler.plain import is_plain
from evolute.compiler.program import Program
from evolute.compiler.step import Group, Members, rate_of, values_at
from evolute.compiler.unmoved import States, Unmoved, unmoved
from evolute.errors import InputError
from evolute.lang.registry import Kind


class NativeSteps:
    """Steps the parameters of one group; between steps it keeps where their memory is, and it.

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
        self._places: list[int] = []
        self._same: tuple[object, ...] | None = None
        self._unmoved: Unmoved | None = None

    def step(self, members: Members, group: Group, states: States) -> Members | None:
        """Move all weights, slots and counters that the core can, in place; return the others.

        The result does not depend on the number of threads, which is torch's. ``states`` are those
        of the optimizer.
        """
        rest: Members | None = None
        back: Sequence[tuple[Tensor, Tensor]] = ()
        if not self._is_as_before(members):
            self._unmoved = None
            fitting, rest = _split(members)
            if fitting is None:
                return rest
            members, back = self._in_rows(fitting)
            self._fill(members)
            self._places = [] if rest or back else _places(members)
        self._run(members.weights, members.indices, group, [int(each) for each in members.steps])
        for place, moved in back:
            place.copy_(moved)
        torch.autograd.graph.increment_version(list(members.weights))
        for each in members.steps:
            each.add_(1)
        if self._places:
            self._unmoved = unmoved(group["params"], states, members)
        return rest

    def step_again(self, group: Group, states: States) -> bool:
        """Do the same where all tensors but gradients are as they were; say whether it was done."""
        if self._unmoved is None:
            return False
        gradients = self._unmoved.gradients(group["params"], states)
        if not gradients or not self._table.take_gradients(gradients):
            return False
        self._run(self._unmoved.weights, self._unmoved.indices, group, self._unmoved.steps())
        self._unmoved.count_up()
        return True

    def _is_as_before(self, members: Members) -> bool:
        """Whether weights and slots lie where they lay, and the table could take the gradients."""
        return (
            bool(self._places)
            and all(each.is_contiguous() for each in members.weights)
            and _places(members) == self._places
            and self._table.take_gradients(members.gradients)
        )

    def _in_rows(self, members: Members) -> tuple[Members, Sequence[tuple[Tensor, Tensor]]]:
        """Return contiguous tensors for these, and what is to be copied back: place and source.

        Where the order of the elements is nothing to the rule, a tensor without gaps is taken in
        the order of its memory.
        """
        back: list[tuple[Tensor, Tensor]] = []
        weights, gradients, slots = [], [], []
        for at, weight in enumerate(members.weights):
            tensors = [weight, members.gradients[at], *members.slots_of(at)]
            if not all(each.is_contiguous() for each in tensors):
                if self._any_order and is_without_gaps(weight):
                    rows = [_in_memory_order(each, weight) for each in tensors]
                else:
                    rows = [each.contiguous() for each in tensors]
                pairs = list(zip(tensors, rows, strict=True))
                back += [pair for pair in (pairs[0], *pairs[2:]) if not _share(*pair)]
                tensors = rows
            weights.append(tensors[0])
            gradients.append(tensors[1])
            slots += tensors[2:]
        return replace(members, weights=weights, gradients=gradients, slots=slots), back

    def _fill(self, members: Members) -> None:
        self._table, self._same = JobTable(len(members.weights)), None
        for row, weight in enumerate(members.weights):
            self._table.set(
                row,
                self._native,
                weight=weight.detach(),
                gradient=members.gradients[row],
                slots=members.slots_of(row),
            )

    def _run(
        self, weights: Sequence[Tensor], indices: Sequence[int], group: Group, steps: list[int]
    ) -> None:
        table, native, peak = self._table, self._native, rate_of(group)
        same = group["momentum"], group["maximize"], 1 - peak * group["weight_decay"]
        if same != self._same:  # a write to a column costs as much as a few thousand elements
            table.momenta[:], table.maximize[:], table.shrinks[:] = same
            self._same = same
        for step in dict.fromkeys(steps):
            factor, decays = values_at(native.program, group, step)
            rate = native.sign * scheduled_rate(peak, factor, step=step)
            alike = steps.count(step) == len(steps)
            rows = range(len(steps)) if alike else [i for i, s in enumerate(steps) if s == step]
            at = slice(None) if alike else rows
            table.steps[at], table.rates[at] = step, rate
            for row in rows if decays or native.noise else ():
                table.set_decays(row, decays)
                if native.noise:
                    noise = self._noise(weights[row], indices[row], step, group["seed"])
                    table.set_noise(row, noise)
        table.run(threads=torch.get_num_threads())

    def _noise(self, weight: Tensor, index: int, step: int, seed: int) -> list[Tensor]:
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
    if parameters and all(each.device.type not in ("cpu", "meta") for each in parameters):
        if program.is_random:
            raise InputError(
                "fused=True is not possible: the rule draws noise, which no kernel is generated "
                "for; leave it out"
            )
        return
    real = [torch.view_as_real(each) if each.is_complex() else each for each in parameters]
    if real and not any(map(is_plain, real)):
        raise InputError(
            f"fused=True works on float32 tensors on the CPU, and none of the {len(real)} "
            "parameters is one: leave it out"
        )
    reason = why_not(program)
    if reason is not None:
        raise InputError(f"fused=True is not possible: {reason}; leave it out")


def _places(members: Members) -> list[int]:
    """Return what tells whether tensors lie where they lay."""
    return [
        *(each.data_ptr() for each in members.weights),
        *(each.data_ptr() for each in members.slots),
        *(each.numel() for each in members.weights),
    ]


def _split(members: Members) -> tuple[Members | None, Members | None]:
    """Return the parameters that the core can move, and the others; None where there are none."""
    fitting: list[int] = []
    others: list[int] = []
    for at, weight in enumerate(members.weights):
        tensors = (weight, members.gradients[at], *members.slots_of(at))
        fits = weight.numel() > 0 and all(map(is_plain, tensors))
        # A tensor of inference mode must not change here: torch tells it.
        (fitting if fits and not weight.is_inference() else others).append(at)
    return (members.at(fitting) if fitting else None), (members.at(others) if others else None)


def _in_memory_order(tensor: Tensor, weight: Tensor) -> Tensor:
    """Return the elements of a tensor in one row, in the order in which the weight's lie."""
    if tensor.stride() != weight.stride():
        tensor = torch.empty_like(weight).copy_(tensor)
    return tensor.as_strided((tensor.numel(),), (1,))


def _share(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr()
