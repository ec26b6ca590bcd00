"""Runs a program on one weight tensor, or on one with a leading axis of lanes.

Everything a program needs comes in as an argument, so a result depends on nothing else. Gradient
tracking is the caller's to switch off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from evolute import seeds
from evolute.compiler.program import Instruction, Program
from evolute.lang.registry import Kind

RATE_WHERE_INFINITE = 1e-7
"""Learning rate at t = 0 where a rule's schedule is infinite (published method, section 9)."""

Uniform = Callable[[str], Tensor]
"""Gives the uniform numbers in [0, 1) of the random node with this text, at the present step."""


@dataclass(slots=True)
class _Frame:
    """What instructions need beside the registers."""

    weight: Tensor
    state: list[Tensor]
    step: int | Tensor
    uniform: Uniform | None
    dims: tuple[int, ...]


_Bound = Callable[[list[Any], _Frame], Any]


def execute(
    program: Program,
    weight: Tensor,
    *,
    gradient: Tensor,
    state: list[Tensor],
    step: int | Tensor,
    decays: Sequence[float | Tensor] = (),
    uniform: Uniform | None = None,
    dims: tuple[int, ...] | None = None,
) -> Tensor:
    """Return the update u of one weight tensor at one step.

    Parameters
    ----------
    program
        The compiled rule.
    weight, gradient
        Of equal shape and dtype; neither is changed.
    state
        One tensor of the weight's shape per state slot, zero before the first step; its entries
        are replaced by the new states.
    step
        t, counted from 0: the number of updates made with this state.
    decays
        Value of each of ``program.decays`` at this step. It and the step may be tensors without
        dimensions, of float64 lest bias corrections lose their digits.
    uniform
        The noise of random nodes; required if ``program.is_random``. A noise without the lane axis
        is shared by all lanes.
    dims
        Dimensions that belong to one weight tensor: all of them by default, all but the first where
        that is an axis of lanes.

    Returns
    -------
    Tensor
        u, of the weight's shape, or a scalar where it is the same for every weight. It may be one
        of the inputs or states: do not change it in place.
    """
    own_dims = tuple(range(weight.dim())) if dims is None else dims
    frame = _Frame(weight, state, step, uniform, own_dims)
    traced = torch.compiler.is_compiling()  # torch.compile follows what is behind no cache
    constants = (make_constants if traced else _constants)(program, weight.dtype, weight.device)
    registers: list[Any] = [gradient, weight, *constants, *decays]
    for run in (_make_bound if traced else _bind)(program):
        registers.append(run(registers, frame))
    update: Tensor = registers[program.output]
    return update


def noise_generator(seed: int, parameter: int, step: int, *, node: str) -> torch.Generator:
    """Return the generator of the noise of one random node, a function of the arguments only.

    Parameters
    ----------
    seed
        Seed of the run.
    parameter
        Index of the weight tensor among those of the optimizer.
    step
        t, counted from 0.
    node
        Text of the random node.
    """
    return seeds.torch_generator(seed, f"dropout {node}", parameter, step)


def next_uniform(generator: torch.Generator, *, like: Tensor) -> Tensor:
    """Return the next uniform numbers in [0, 1) of a generator, of the shape of ``like``.

    They are float64, drawn on the CPU one after the other: the pieces of a tensor get what the
    whole would.
    """
    return torch.rand(like.shape, dtype=torch.float64, generator=generator, device="cpu").to(
        like.device
    )


def uniform_noise(seed: int, parameter: int, step: int, *, node: str, like: Tensor) -> Tensor:
    """Return the noise of one random node, of the shape of ``like``, on its device.

    The arguments are those of :func:`noise_generator`; it depends on nothing else.
    """
    return next_uniform(noise_generator(seed, parameter, step, node=node), like=like)


def scheduled_rate(learning_rate: float, factor: float, *, step: int) -> float:
    """Return learning rate times schedule factor; 1e-7 where the factor is infinite at t = 0."""
    if step == 0 and math.isinf(factor):
        return RATE_WHERE_INFINITE
    return learning_rate * factor


def make_constants(
    program: Program, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, ...]:
    """Return the constants of a program as tensors without dimensions."""
    # By way of float64: what is too large for the dtype is infinite.
    return tuple(
        torch.full((), value, dtype=torch.float64, device=device).to(dtype)
        for value in program.constants
    )


def _make_bound(program: Program) -> tuple[_Bound, ...]:
    return tuple(_BINDERS[each.function.kind](each) for each in program.instructions)


_constants = lru_cache(maxsize=4096)(make_constants)
_bind = lru_cache(maxsize=4096)(_make_bound)


def _elementwise(instruction: Instruction) -> _Bound:
    compute, arguments = instruction.function.compute, instruction.arguments
    parameters = instruction.parameters
    if parameters:
        return lambda registers, _: compute(*(registers[at] for at in arguments), *parameters)
    if len(arguments) == 1:
        (only,) = arguments
        return lambda registers, _: compute(registers[only])
    left, right = arguments
    return lambda registers, _: compute(registers[left], registers[right])


def _per_tensor(instruction: Instruction) -> _Bound:
    compute, read = instruction.function.compute, _reader(instruction)
    return lambda registers, frame: compute(*read(registers, frame), dims=frame.dims)


def _random(instruction: Instruction) -> _Bound:
    compute, read = instruction.function.compute, _reader(instruction)
    node = instruction.noise

    def run(registers: list[Any], frame: _Frame) -> Any:
        assert node is not None
        assert frame.uniform is not None
        return compute(*read(registers, frame), uniform=frame.uniform(node))

    return run


def _stateful(instruction: Instruction) -> _Bound:
    compute: Callable[..., Any] = instruction.function.compute
    read, slot = _reader(instruction), instruction.slot

    def run(registers: list[Any], frame: _Frame) -> Any:
        assert slot is not None
        arguments = read(registers, frame)
        value, new = compute(*arguments, state=frame.state[slot], step=frame.step)
        # A state that is an argument may be the gradient or the weight, which change in place.
        frame.state[slot] = new.clone() if any(new is each for each in arguments) else new
        return value

    return run


def _reader(instruction: Instruction) -> Callable[[list[Any], _Frame], tuple[Any, ...]]:
    """Return what gathers arguments and parameters, in the weight's shape where that is needed."""
    arguments, parameters = instruction.arguments, instruction.parameters
    if instruction.expanded:
        return lambda registers, frame: (
            *(registers[at].expand_as(frame.weight) for at in arguments),
            *parameters,
        )
    if len(arguments) == 1:
        (only,) = arguments
        return lambda registers, _: (registers[only], *parameters)
    return lambda registers, _: (*(registers[at] for at in arguments), *parameters)


_BINDERS: dict[Kind, Callable[[Instruction], _Bound]] = {
    Kind.ELEMENTWISE: _elementwise,
    Kind.PER_TENSOR: _per_tensor,
    Kind.STATEFUL: _stateful,
    Kind.RANDOM: _random,
}
