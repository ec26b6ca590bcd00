"""Elementary operations as calls on the lists of tensors of a block.

A call reads and writes the registers of a run: a list of pieces, a number or a scalar in each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evolute.compiler.blocks import Block
from evolute.compiler.elementary import ELEMENTARY, Operation, Register, Sort
from evolute.compiler.program import Instruction
from evolute.lang.registry import Kind

Noise = Callable[[int, str, Tensor], Tensor]
"""noise(index of the tensor, node, piece): the next uniform numbers, of the shape of the piece."""


def multiply_(tensors: list[Tensor], factor: list[Tensor] | float) -> None:
    """Multiply tensors by others or by a number, in place.

    On a CPU torch's own call for lists of 16-bit numbers rounds the number to 16 bits first, which
    makes 1 of a β of 0.999: these go one by one.
    """
    first = tensors[0]
    if isinstance(factor, float) and first.itemsize == 2 and first.device.type == "cpu":
        for each in tensors:
            each.mul_(factor)
    else:
        torch._foreach_mul_(tensors, factor)


def _add_scaled(tensors: list[Tensor], others: list[Tensor], factor: float) -> Any:
    return torch._foreach_add(tensors, others, alpha=factor)


def _add_scaled_(tensors: list[Tensor], others: list[Tensor], factor: float) -> None:
    torch._foreach_add_(tensors, others, alpha=factor)


COMMUTATIVE = {"add", "mul", "maximum", "minimum"}
_WITH_NUMBER = {"add", "mul", "sub", "div", "clamp_min", "clamp_max"}
_OF_LISTS = {
    name: (getattr(torch, f"_foreach_{name}"), getattr(torch, f"_foreach_{name}_"))
    for name in ELEMENTARY
    if hasattr(torch, f"_foreach_{name}_") and name != "pow"
} | {
    "add_scaled": (_add_scaled, _add_scaled_),
    "mul": (torch._foreach_mul, multiply_),
}


@dataclass(slots=True)
class Run:
    """One block under way."""

    registers: list[Any]
    block: Block
    noise: Noise


Call = Callable[[Run], None]


def is_elementary(operation: Operation) -> bool:
    """Whether an operation is one of torch's, not a call of a row."""
    return operation.instruction is None and operation.name in ELEMENTARY


def is_of_lists(operation: Operation) -> bool:
    """Whether torch has the operation for lists, with these sorts of arguments."""
    if operation.name not in _OF_LISTS:
        return False
    sorts = [
        each.sort if isinstance(each, Register) else Sort.NUMBER for each in operation.arguments
    ]
    if operation.name == "add_scaled":
        return sorts == [Sort.TENSOR, Sort.TENSOR, Sort.NUMBER]
    if all(sort is Sort.TENSOR for sort in sorts):
        return operation.name not in ("clamp_min", "clamp_max")
    if operation.name not in _WITH_NUMBER:
        return False
    return sorts[0] is Sort.TENSOR or operation.name in COMMUTATIVE


def number_call(operation: Operation) -> Callable[[list[Any]], None]:
    """Return what computes a number or a scalar from others."""
    call, read, target = operation.call, _reader(operation.arguments), operation.target.number
    parameters = operation.instruction.parameters if operation.instruction else ()

    def run(registers: list[Any]) -> None:
        registers[target] = call(*read(registers), *parameters)

    return run


def _reader(arguments: tuple[Any, ...]) -> Callable[[list[Any]], list[Any]]:
    slots = [
        (each.number, None) if isinstance(each, Register) else (None, each) for each in arguments
    ]

    def read(registers: list[Any]) -> list[Any]:
        return [value if at is None else registers[at] for at, value in slots]

    return read


def elementary_call(operation: Operation, over: Register | None, free: tuple[int, ...]) -> Call:
    """Return what does an operation on all pieces.

    Parameters
    ----------
    operation
        The operation.
    over
        The operand over which the result is written; None for new memory.
    free
        Registers that nothing reads any more.
    """
    arguments = list(operation.arguments)
    if is_of_lists(operation):
        leading = arguments[0]
        if not (isinstance(leading, Register) and leading.sort is Sort.TENSOR) or (
            over is not None and leading != over
        ):
            arguments.reverse()
        return _list_call(operation, tuple(arguments), in_place=over is not None, free=free)
    return _loop_call(operation, over, free)


def _list_call(
    operation: Operation, arguments: tuple[Any, ...], *, in_place: bool, free: tuple[int, ...]
) -> Call:
    call, target = _OF_LISTS[operation.name][in_place], operation.target.number
    first, rest = arguments[0].number, arguments[2:]
    second = arguments[1] if len(arguments) > 1 else None
    scalar = isinstance(second, Register) and second.sort is Sort.SCALAR
    at = second.number if isinstance(second, Register) else None

    def run(run: Run) -> None:
        registers = run.registers
        if second is None:
            result = call(registers[first])
        else:
            other = second if at is None else registers[at]
            result = call(registers[first], other.item() if scalar else other, *rest)
        result = registers[first] if in_place else list(result)
        for each in free:
            registers[each] = None
        registers[target] = result

    return run


def _loop_call(operation: Operation, over: Register | None, free: tuple[int, ...]) -> Call:
    """Return what calls torch tensor by tensor: there is no such operation for lists."""
    call, target, arguments = operation.call, operation.target.number, operation.arguments
    lists = [isinstance(each, Register) and each.sort is Sort.TENSOR for each in arguments]
    read = _reader(arguments)
    over_at = None if over is None else over.number

    def run(run: Run) -> None:
        registers = run.registers
        count = len(run.block.weights)
        columns = [
            each if is_list else [each] * count
            for each, is_list in zip(read(registers), lists, strict=True)
        ]
        rows = zip(*columns, strict=True)
        if over_at is None:
            result = [call(*row) for row in rows]
        else:
            result = registers[over_at]
            for row, place in zip(rows, result, strict=True):
                call(*row, out=place)
        for each in free:
            registers[each] = None
        registers[target] = result

    return run


def opaque_call(operation: Operation, free: tuple[int, ...]) -> Call:
    """Return what calls a row tensor by tensor, or takes its value or its state from the result."""
    call, target, instruction = operation.call, operation.target.number, operation.instruction
    read = _reader(operation.arguments)

    def run(run: Run) -> None:
        registers = run.registers
        values = read(registers)
        if instruction is None:
            result = [call(pair) for pair in values[0]]
        else:
            result = [
                _row_result(instruction, values, run, position)
                for position in range(len(run.block.weights))
            ]
        for each in free:
            registers[each] = None
        registers[target] = result

    return run


def _row_result(instruction: Instruction, values: list[Any], run: Run, position: int) -> Any:
    """Call a row as :mod:`evolute.compiler.execute` does, on one piece."""
    row, weight = instruction.function, run.block.weights[position]
    own = [each[position] if isinstance(each, list) else each for each in values]
    options: dict[str, Any] = {}
    if row.kind is Kind.STATEFUL:
        *own, state, options["step"] = own
        options["state"] = state.clone()
    elif row.kind is Kind.PER_TENSOR:
        options["dims"] = tuple(range(weight.dim()))
    elif row.kind is Kind.RANDOM:
        assert instruction.noise is not None
        options["uniform"] = run.noise(run.block.indices[position], instruction.noise, weight)
    if instruction.expanded:
        own = [each.to(weight.device).expand_as(weight) for each in own]
    result: Any = row.compute(*own, *instruction.parameters, **options)
    # What is an operand itself may be a state, over which the new state is written.
    if isinstance(result, tuple):
        return tuple(_apart(each, own) for each in result)
    # A number for the whole tensor is spread over it, so that others may be written over.
    return _apart(result.expand_as(weight) if row.kind is Kind.PER_TENSOR else result, own)


def _apart(result: Tensor, operands: list[Any]) -> Tensor:
    return result.clone() if any(result is each for each in operands) else result


def clone_call(value: Register) -> Call:
    """Return what moves a value to memory of its own."""

    def run(run: Run) -> None:
        run.registers[value.number] = [each.clone() for each in run.registers[value.number]]

    return run


def store_call(value: Register, slot: int) -> Call:
    """Return what copies a value into the state slot of this number."""

    def run(run: Run) -> None:
        new, places = run.registers[value.number], run.block.slots[slot]
        if isinstance(new, list):
            torch._foreach_copy_(places, new)
        else:
            for place in places:
                place.copy_(new)

    return run
