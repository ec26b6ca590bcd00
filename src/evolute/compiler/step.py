"""One step of the parameters of a group, in two ways that agree.

:func:`update_each` takes one tensor after the other, :func:`update_lists` all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from evolute.compiler.blocks import Block, blocks
from evolute.compiler.execute import (
    execute,
    next_uniform,
    noise_generator,
    scheduled_rate,
    uniform_noise,
)
from evolute.compiler.foreach import list_program
from evolute.compiler.list_calls import multiply_
from evolute.compiler.program import Program
from evolute.lang.curve import curve
from evolute.lang.expression import Expression
from evolute.lang.rule import Momentum

Group = Mapping[str, Any]
"""The options of a group of parameters."""


@dataclass(frozen=True, slots=True)
class Members:
    """The parameters of a group that have a gradient.

    Parameters
    ----------
    weights, gradients, steps
        Weight, gradient and counter of the updates made, of each parameter.
    slots
        State slots and momentum buffer of the first parameter, then those of the second, ….
    indices
        Index of each parameter in the optimizer.
    """

    weights: Sequence[Tensor]
    gradients: Sequence[Tensor]
    slots: Sequence[Tensor]
    steps: Sequence[Tensor]
    indices: Sequence[int]

    def as_real(self) -> Members:
        """Return these parameters with complex numbers as pairs of real ones."""
        if not any(each.is_complex() for each in self.weights):
            return self
        return replace(
            self,
            weights=real_views(self.weights),
            gradients=real_views(self.gradients),
            slots=real_views(self.slots),
        )

    def at(self, positions: Sequence[int]) -> Members:
        """Return the parameters at these positions."""
        return Members(
            [self.weights[each] for each in positions],
            [self.gradients[each] for each in positions],
            [slot for each in positions for slot in self.slots_of(each)],
            [self.steps[each] for each in positions],
            [self.indices[each] for each in positions],
        )

    def slots_of(self, position: int) -> list[Tensor]:
        """Return the slots of one parameter."""
        count = len(self.slots) // len(self.weights)
        return list(self.slots[position * count : (position + 1) * count])


def real_views(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors with complex numbers as pairs of real ones, which share their memory."""
    return [torch.view_as_real(each) if each.is_complex() else each for each in tensors]


def update_each(members: Members, program: Program, group: Group) -> list[Tensor]:
    """Move each weight in place, one after the other; return the new slots, in the same order.

    Only weights and momentum buffers change in place, so autograd can follow.
    """
    slots: list[Tensor] = []
    peak = rate_of(group)
    for position, weight in enumerate(members.weights):
        gradient, step = members.gradients[position], int(members.steps[position])
        state = members.slots_of(position)
        buffer = None if program.momentum is Momentum.NONE else state.pop()
        factor, decays = values_at(program, group, step)
        rate = program.sign * scheduled_rate(peak, factor, step=step)
        shrink(weight, group, peak)
        update = execute(
            program,
            weight.clone() if group["differentiable"] else weight,
            gradient=-gradient if group["maximize"] else gradient,
            state=state,
            step=step,
            decays=decays,
            uniform=partial(_noise, group["seed"], members.indices[position], step, weight),
        )
        apply_update(program.momentum, weight, update, rate, group["momentum"], buffer)
        slots += state if buffer is None else [*state, buffer]
    for each in members.steps:
        each.add_(1)
    return slots


def update_lists(members: Members, program: Program, group: Group) -> None:
    """Move all weights, slots and counters in place, as many at once as have all in common."""
    lists, peak = list_program(program), rate_of(group)
    for at, step in _alike(members):
        weights = [members.weights[each] for each in at]
        slots = list(zip(*(members.slots_of(each) for each in at), strict=True))
        factor, decays = values_at(program, group, step)
        rate = program.sign * scheduled_rate(peak, factor, step=step)
        registers = lists.numbers(step=step, decays=decays, dtype=weights[0].dtype)
        noise = _NoiseInPieces([members.indices[each] for each in at], step, seed=group["seed"])
        gradients = [members.gradients[each] for each in at]
        for block in blocks(weights, gradients, slots, whole=lists.whole, in_order=lists.in_order):
            if group["weight_decay"]:
                multiply_(block.weights, 1 - peak * group["weight_decay"])
            if group["maximize"]:
                block.gradients = list(torch._foreach_neg(block.gradients))
            update = lists.update(block, registers, noise.draw)
            _apply_lists(program.momentum, block, update, rate, group["momentum"])
    torch._foreach_add_(list(members.steps), 1)


@lru_cache(maxsize=16)
def curve_tensor(program: Program, total_steps: int, device: torch.device) -> Tensor:
    """Return schedule factor and inner decays as float64 of shape [total_steps, 1 + decays].

    The same arguments give the same tensor.
    """
    rows = [(factor, *decays) for factor, decays in _values_at(program, total_steps)]
    return torch.tensor(rows, dtype=torch.float64, device=device)


def _alike(members: Members) -> Iterator[tuple[list[int], int]]:
    """Yield the positions of parameters of one device, dtype and step, with the step."""
    groups: dict[tuple[torch.device, torch.dtype, int], list[int]] = {}
    for at, weight in enumerate(members.weights):
        key = (weight.device, weight.dtype, int(members.steps[at]))
        groups.setdefault(key, []).append(at)
    for (_, _, step), positions in groups.items():
        yield positions, step


class _NoiseInPieces:
    """Uniform numbers for the pieces of tensors: together those of the whole tensor."""

    def __init__(self, indices: Sequence[int], step: int, *, seed: int) -> None:
        self._indices, self._step, self._seed = indices, step, seed
        self._generators: dict[tuple[int, str], torch.Generator] = {}

    def draw(self, at: int, node: str, piece: Tensor) -> Tensor:
        """Return the next numbers of a node for the tensor at this place, as many as in a piece."""
        generator = self._generators.get((at, node))
        if generator is None:
            generator = noise_generator(self._seed, self._indices[at], self._step, node=node)
            self._generators[at, node] = generator
        return next_uniform(generator, like=piece)


def _noise(seed: int, index: int, step: int, weight: Tensor, node: str) -> Tensor:
    return uniform_noise(seed, index, step, node=node, like=weight)


def rate_of(group: Group) -> Any:
    """Return the learning rate: a number, but a tensor where autograd may follow it."""
    rate = group["lr"]
    return rate if group["differentiable"] or not isinstance(rate, Tensor) else rate.item()


def shrink(weight: Tensor, group: Group, rate: Any) -> None:
    """Apply decoupled weight decay, in place."""
    if group["weight_decay"]:
        weight.mul_(1 - rate * group["weight_decay"])


def apply_update(
    momentum: Momentum,
    weight: Tensor,
    update: Tensor,
    rate: Any,
    coefficient: Any,
    buffer: Tensor | None,
) -> None:
    """Move a weight along its update, in place: the four equations of :class:`Momentum`."""
    if buffer is None:
        _subtract(weight, update, rate)
        return
    _subtract(buffer.mul_(coefficient), update, rate)
    if momentum is Momentum.MOMENTUM:
        weight.add_(buffer)
    elif momentum is Momentum.NESTEROV:
        _subtract(weight, buffer, -coefficient)
        _subtract(weight, update, rate)
    else:
        _subtract(weight.add_(buffer), update, rate)


def _subtract(target: Tensor, update: Tensor, rate: Any) -> None:
    """target ← target − rate·update."""
    if isinstance(rate, Tensor):
        target.sub_(rate * update)
    else:
        target.add_(update, alpha=-rate)


def _apply_lists(
    momentum: Momentum, block: Block, update: list[Tensor], rate: float, coefficient: float
) -> None:
    """Move the weights of a block along their updates: :func:`apply_update` on lists."""
    weights = block.weights
    if len(weights) == 1:
        buffer = None if momentum is Momentum.NONE else block.slots[-1][0]
        apply_update(momentum, weights[0], update[0], rate, coefficient, buffer)
        return
    if momentum is Momentum.NONE:
        torch._foreach_add_(weights, update, alpha=-rate)
        return
    buffers = block.slots[-1]
    multiply_(buffers, coefficient)
    torch._foreach_add_(buffers, update, alpha=-rate)
    if momentum is Momentum.NESTEROV:
        torch._foreach_add_(weights, buffers, alpha=coefficient)
    else:
        torch._foreach_add_(weights, buffers)
    if momentum is not Momentum.MOMENTUM:
        torch._foreach_add_(weights, update, alpha=-rate)


def values_at(program: Program, group: Group, step: int) -> tuple[float, tuple[float, ...]]:
    """Return the schedule factor and the inner decays at a step; past T those of the last."""
    if not program.needs_total_steps:
        return 1.0, ()
    total_steps = group["total_steps"]
    return _values_at(program, total_steps)[min(step, total_steps - 1)]


@lru_cache(maxsize=16)
def _values_at(program: Program, total_steps: int) -> tuple[tuple[float, tuple[float, ...]], ...]:
    """Return the schedule factor and the inner decays at each step."""
    factors = (
        [1.0] * total_steps if program.schedule is None else _curve(program.schedule, total_steps)
    )
    curves = [_curve(decay, total_steps) for decay in program.decays]
    decays = zip(*curves, strict=True) if curves else [()] * total_steps
    return tuple(zip(factors, decays, strict=True))


def _curve(schedule: Expression, total_steps: int) -> Sequence[float]:
    values: list[float] = curve(schedule, total_steps).tolist()
    return values
