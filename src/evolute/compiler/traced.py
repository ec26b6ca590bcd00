"""One step of the parameters of a group as ``torch.compile`` follows it.

Step counter, decays and learning rate stay tensors, so that nothing is compiled anew when they
change. What is the same for every element of a tensor (the correction of an average's bias, a
decay, the rate) is computed for all parameters first and put into one table: left in place, the
compiler would raise β to the power t+1 in double precision for every few elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from evolute.compiler.elementary import Operation, Register, Sort, in_elementary_operations
from evolute.compiler.execute import RATE_WHERE_INFINITE, make_constants
from evolute.compiler.program import Instruction, Program
from evolute.compiler.step import Group, Members, apply_update, shrink
from evolute.compiler.traced_functions import TRACED
from evolute.lang.registry import Kind
from evolute.lang.rule import Momentum

_Argument = tuple[int, Any]
"""The number of a register, or -1 and a number as it is."""

_Call = tuple[Callable[..., Any], tuple[_Argument, ...], int, bool]
"""What is called, its arguments, the register written, whether it takes the weight as well."""


class TracedProgram:
    """A program with its work on numbers apart; plain tuples, which the compiler follows best.

    Parameters
    ----------
    program
        The compiled rule; it draws no noise.
    """

    def __init__(self, program: Program) -> None:
        form = in_elementary_operations(program)
        self.program = program
        self.registers = form.registers
        self.inputs = (form.gradient.number, form.weight.number, form.step.number)
        self.constants = tuple(each.number for each in form.constants)
        self.decays = tuple(each.number for each in form.decays)
        self.states = tuple(each.number for each in form.states)
        self.new_states = tuple(each.number for each in form.new_states)
        self.output = form.output.number
        on_numbers = [each for each in form.operations if each.target.sort is Sort.NUMBER]
        others = [each for each in form.operations if each.target.sort is not Sort.NUMBER]
        self.on_numbers = tuple(_call(each) for each in on_numbers)
        self.on_tensors = tuple(_call(each) for each in others)
        read = [argument for each in others for argument in each.arguments]
        numbers = [
            each.number for each in read if isinstance(each, Register) and each.sort is Sort.NUMBER
        ]
        self.numbers = tuple(dict.fromkeys(numbers))

    def table(self, steps: Tensor, decays: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
        """Return the numbers that tensors meet, and after them those given.

        It is float64 of shape [parameters, numbers + others].
        """
        registers: list[Any] = [None] * self.registers
        registers[self.inputs[2]] = steps
        for at, decay in zip(self.decays, decays, strict=True):
            registers[at] = decay
        for call, arguments, target, _ in self.on_numbers:
            values = [value if at < 0 else registers[at] for at, value in arguments]
            registers[target] = call(*values)
        columns = [registers[at].expand_as(steps) for at in self.numbers]
        # The compiler writes the result of a stack to memory, and reads it where it is needed.
        columns += [each.expand_as(steps) for each in others]
        return torch.stack(columns, dim=1)

    def update(
        self, weight: Tensor, gradient: Tensor, state: Sequence[Tensor], numbers: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the update of one parameter and its new states."""
        registers: list[Any] = [None] * self.registers
        registers[self.inputs[0]], registers[self.inputs[1]] = gradient, weight
        constants = make_constants(self.program, weight.dtype, weight.device)
        for places, values in (
            (self.constants, constants),
            (self.states, state),
            (self.numbers, numbers),
        ):
            for at, value in zip(places, values, strict=True):
                registers[at] = value
        for call, arguments, target, with_weight in self.on_tensors:
            read = [value if at < 0 else registers[at] for at, value in arguments]
            registers[target] = call(weight, *read) if with_weight else call(*read)
        return registers[self.output], [registers[at] for at in self.new_states]


@lru_cache(maxsize=512)
def traced_program(program: Program) -> TracedProgram:
    """Make a program ready to be followed; the same program gives the same object."""
    return TracedProgram(program)


def update_traced(
    members: Members, traced: TracedProgram, group: Group, *, curves: Sequence[Tensor]
) -> None:
    """Move all weights, slots and counters in place, with tensors only; the rule draws no noise.

    Parameters
    ----------
    members, group
        As :func:`evolute.compiler.step.update_each`.
    traced
        The rule.
    curves
        What :func:`evolute.compiler.step.curve_tensor` returned, where the program needs it.
    """
    program = traced.program
    steps = torch.stack([each.double() for each in members.steps])
    peak, momentum = (_on_device(group[name], steps.device) for name in ("lr", "momentum"))
    rates = peak
    decays: tuple[Tensor, ...] = ()
    if curves:
        last = len(curves[0]) - 1
        factors, *of_decays = curves[0].index_select(0, steps.clamp(max=last).long()).unbind(1)
        decays = tuple(of_decays)
        rates = torch.where((steps == 0) & factors.isinf(), RATE_WHERE_INFINITE, rates * factors)
    # One copy to the device of the weights: the counters are on the host.
    table = traced.table(steps, decays, (rates, peak, momentum)).to(members.weights[0].device)
    for position, weight in enumerate(members.weights):
        gradient, slots = members.gradients[position], members.slots_of(position)
        *numbers, rate, at_peak, coefficient = table[position].unbind()
        shrink(weight, group, at_peak)
        update, new = traced.update(
            weight,
            -gradient if group["maximize"] else gradient,
            slots[: len(program.state_slots)],
            numbers,
        )
        new = [each.clone() for each in new]  # one may be the old state of another
        buffer = None if program.momentum is Momentum.NONE else slots[-1]
        apply_update(program.momentum, weight, update, program.sign * rate, coefficient, buffer)
        for place, each in zip(slots, new, strict=False):
            place.copy_(each)
        members.steps[position].add_(1)


def _on_device(number: float | Tensor, device: torch.device) -> Tensor:
    """Return a number as a tensor; the compiler takes what it is now for no constant.

    It would if ``torch.as_tensor`` made a tensor of a number, and compile anew for the next.
    """
    if isinstance(number, Tensor):
        return number.to(device, torch.float64)
    return torch.ones((), dtype=torch.float64, device=device) * number


def _call(operation: Operation) -> _Call:
    arguments = tuple(
        (each.number, None) if isinstance(each, Register) else (-1, each)
        for each in operation.arguments
    )
    instruction = operation.instruction
    if instruction is None:
        call = TRACED.get(operation.name, operation.call)
        return call, arguments, operation.target.number, False
    return _row_call(instruction), arguments, operation.target.number, True


def _row_call(instruction: Instruction) -> Callable[..., Any]:
    """Return what calls a row as :mod:`evolute.compiler.execute` does."""
    row, parameters, expanded = instruction.function, instruction.parameters, instruction.expanded
    compute: Callable[..., Any] = row.compute

    def call(weight: Tensor, *values: Any) -> Any:
        own, options = values, {}
        if row.kind is Kind.STATEFUL:
            *own_list, options["state"], options["step"] = values
            own = tuple(own_list)
        elif row.kind is Kind.PER_TENSOR:
            options["dims"] = tuple(range(weight.dim()))
        if expanded:
            own = tuple(each.expand_as(weight) for each in own)
        return compute(*own, *parameters, **options)

    return call
