"""Runs a program on lists of tensors, in blocks that stay in the cache and in few temporaries.

Each elementary operation is one ``torch._foreach_*`` call on a block: on a GPU one kernel for many
tensors, on a CPU one call from Python instead of one for each tensor. Large tensors are cut into
pieces, small ones are put together, so that a block has about :data:`BLOCK` elements; all
operations of a block run before the next block begins. Operations write over operands that nothing
reads any more. Nothing is fused: on a CPU the results are those of
:mod:`evolute.compiler.execute` to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from evolute.compiler.elementary import (
    ELEMENTARY,
    Operation,
    Register,
    Sort,
    in_elementary_operations,
)
from evolute.compiler.program import Instruction, Program
from evolute.lang.registry import Kind

BLOCK = 1 << 16
"""Elements of a block on a CPU: 256 KiB of float32 for each of its tensors, within a level-2 cache
together with the temporaries."""

BLOCK_ELSEWHERE = 1 << 24
"""Elements of a block on other devices, where every call starts a kernel."""

Noise = Callable[[int, str, Tensor], Tensor]
"""noise(index of the tensor, node, piece): the next uniform numbers, of the shape of the piece."""

_COMMUTATIVE = {"add", "mul", "maximum", "minimum"}
_WITH_NUMBER = {"add", "mul", "sub", "div", "clamp_min", "clamp_max"}
_OF_LISTS = {
    name: (getattr(torch, f"_foreach_{name}"), getattr(torch, f"_foreach_{name}_"))
    for name in ELEMENTARY
    if hasattr(torch, f"_foreach_{name}_") and name != "pow"
}


@dataclass(slots=True)
class Block:
    """Pieces of weight tensors that are worked on together, list beside list.

    Parameters
    ----------
    weights, gradients
        The pieces.
    slots
        For each state slot, then for the momentum buffer, the pieces of it.
    indices
        Which weight tensor each piece is of.
    """

    weights: list[Tensor]
    gradients: list[Tensor]
    slots: list[list[Tensor]]
    indices: list[int]


def blocks(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    slots: Sequence[Sequence[Tensor]],
    *,
    whole: bool,
) -> Iterator[Block]:
    """Cut and join weight tensors into blocks.

    Parameters
    ----------
    weights, gradients
        Of the same device; not empty.
    slots
        For each slot the tensor of each weight.
    whole
        Whether no tensor may be cut.
    """
    limit = BLOCK if weights[0].device.type == "cpu" else BLOCK_ELSEWHERE
    first, size = 0, 0
    for index, weight in enumerate(weights):
        count = weight.numel()
        if size and size + count > limit:
            yield _joined(weights, gradients, slots, span=range(first, index))
            first, size = index, 0
        size += count
        if count > limit and not whole:
            tensors = (weight, gradients[index], *(slot[index] for slot in slots))
            flat = [_flat(each) for each in tensors]
            if all(each is not None for each in flat):
                pieces = zip(*(each.split(limit) for each in flat if each is not None), strict=True)
                for of_weight, of_gradient, *rest in pieces:
                    yield Block([of_weight], [of_gradient], [[each] for each in rest], [index])
                first, size = index + 1, 0
    if first < len(weights):
        yield _joined(weights, gradients, slots, span=range(first, len(weights)))


def _joined(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    slots: Sequence[Sequence[Tensor]],
    *,
    span: range,
) -> Block:
    at = slice(span.start, span.stop)
    return Block(
        list(weights[at]), list(gradients[at]), [list(slot[at]) for slot in slots], list(span)
    )


def _flat(tensor: Tensor) -> Tensor | None:
    """Return the elements in the order of the memory, None where they are not in one row."""
    return tensor.view(-1) if tensor.is_contiguous() else None


class ListProgram:
    """A program made ready for lists; it keeps nothing of a run.

    Parameters
    ----------
    program
        The compiled rule.
    """

    def __init__(self, program: Program) -> None:
        self._form = in_elementary_operations(program)
        self._constants = program.constants
        kinds = {each.function.kind for each in program.instructions}
        self.whole = Kind.PER_TENSOR in kinds
        plan = _Plan(self._form.operations, self._form.states, self._form.new_states)
        plan.make(self._form.output)
        self._before, self._calls, self._stores = plan.before, plan.calls, plan.stores
        self._output = plan.output

    def numbers(self, *, step: int, decays: Sequence[float], dtype: torch.dtype) -> list[Any]:
        """Return the registers with all that is the same for every weight at this step.

        Parameters
        ----------
        step
            t, counted from 0.
        decays
            Value of each decay of the program.
        dtype
            Of the weights.
        """
        form = self._form
        registers: list[Any] = [None] * form.registers
        registers[form.step.number] = step
        for register, decay in zip(form.decays, decays, strict=True):
            registers[register.number] = decay
        constants = _constants(self._constants, dtype)
        for register, constant in zip(form.constants, constants, strict=True):
            registers[register.number] = constant
        for run in self._before:
            run(registers)
        return registers

    def update(self, block: Block, registers: list[Any], noise: Noise) -> list[Tensor]:
        """Return the update of each piece of a block, with the states of the block moved on.

        Parameters
        ----------
        block
            The block; its gradients and weights are left as they are.
        registers
            What :meth:`numbers` returned.
        noise
            Numbers of random nodes.

        Returns
        -------
        list of Tensor
            u of each piece, or a scalar where it is the same for every weight. It may be a
            gradient, a weight or a state: do not change it in place.
        """
        form, run = self._form, _Run(registers.copy(), block, noise)
        run.registers[form.gradient.number] = block.gradients
        run.registers[form.weight.number] = block.weights
        for register, tensors in zip(form.states, block.slots, strict=False):
            run.registers[register.number] = tensors
        for call in self._calls:
            call(run)
        for store in self._stores:
            store(run)
        update = run.registers[self._output]
        return update if isinstance(update, list) else [update] * len(block.weights)


@dataclass(slots=True)
class _Run:
    """One block under way."""

    registers: list[Any]
    block: Block
    noise: Noise


_Call = Callable[[_Run], None]


class _Plan:
    """Turns operations into calls: decides what is written where."""

    def __init__(
        self,
        operations: Sequence[Operation],
        states: Sequence[Register],
        new_states: Sequence[Register],
    ) -> None:
        self.operations, self.states, self.new_states = operations, states, new_states
        self.before: list[Callable[[list[Any]], None]] = []
        self.calls: list[_Call] = []
        self.stores: list[_Call] = []

    def make(self, output: Register) -> None:
        """Fill in the calls of all operations, then those that store the states."""
        self._last_use = {
            argument: at
            for at, operation in enumerate(self.operations)
            for argument in operation.arguments
            if isinstance(argument, Register)
        }
        for kept in (output, *self.new_states):
            self._last_use[kept] = len(self.operations)
        # The buffer in which a value lives: "the state of slot i", a temporary, or none of ours.
        self._home: dict[Register, int | None] = {
            state: slot for slot, state in enumerate(self.states)
        }
        self._temporary: set[Register] = set()
        for at, operation in enumerate(self.operations):
            if operation.target.sort is not Sort.TENSOR:
                self.before.append(_number_call(operation))
            else:
                self.calls.append(self._call(at, operation))
        self._store(output)
        self.output = output.number

    def _call(self, at: int, operation: Operation) -> _Call:
        tensors = [
            each
            for each in dict.fromkeys(operation.arguments)
            if isinstance(each, Register) and each.sort is Sort.TENSOR
        ]
        dead = [each for each in tensors if self._last_use[each] == at]
        free = tuple(each.number for each in dead)
        if not _is_elementary(operation):
            return _opaque_call(operation, free)  # its shape may be less than the weight's
        over = self._overwritten(at, operation, dead)
        if over is None:
            self._temporary.add(operation.target)
        else:
            self._home[operation.target] = self._home.get(over)
            if over in self._temporary:
                self._temporary.add(operation.target)
        return _elementary_call(operation, over, free)

    def _overwritten(
        self, at: int, operation: Operation, dead: Sequence[Register]
    ) -> Register | None:
        """Return the operand over which the result is written, None for a new temporary."""
        first = operation.arguments[0]
        in_place = [
            each
            for each in dead
            if each is first or operation.name in _COMMUTATIVE or not _is_of_lists(operation)
        ]
        for each in in_place:
            slot = self._home.get(each)
            if slot is not None and self._leads_to_state(at, operation.target, slot):
                return each
        return next((each for each in in_place if each in self._temporary), None)

    def _leads_to_state(self, at: int, value: Register, slot: int) -> bool:
        """Whether a value is the new state of a slot, or serves that value alone."""
        new = self.new_states[slot]
        if value == new:
            return True
        readers = [each for each in self.operations[at + 1 :] if value in each.arguments]
        return (
            [each.target for each in readers] == [new]
            and _is_elementary(readers[0])
            and (readers[0].name in _COMMUTATIVE or readers[0].arguments[0] == value)
            and value not in self.new_states
        )

    def _store(self, output: Register) -> None:
        """Copy the new states that are not yet in their place; the last slot reads from others."""
        pending = [slot for slot, new in enumerate(self.new_states) if self._home.get(new) != slot]
        for value in dict.fromkeys((output, *(self.new_states[slot] for slot in pending))):
            if self._home.get(value) in pending:
                self.stores.append(_clone_call(value))
        for slot in pending:
            self.stores.append(_store_call(self.new_states[slot], slot))


def _is_elementary(operation: Operation) -> bool:
    return operation.instruction is None and operation.name in ELEMENTARY


def _is_of_lists(operation: Operation) -> bool:
    """Whether torch has the operation for lists, with these sorts of arguments."""
    if operation.name not in _OF_LISTS:
        return False
    sorts = [
        each.sort if isinstance(each, Register) else Sort.NUMBER for each in operation.arguments
    ]
    if all(sort is Sort.TENSOR for sort in sorts):
        return operation.name not in ("clamp_min", "clamp_max")
    if operation.name not in _WITH_NUMBER:
        return False
    return sorts[0] is Sort.TENSOR or operation.name in _COMMUTATIVE


def _number_call(operation: Operation) -> Callable[[list[Any]], None]:
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


def _elementary_call(operation: Operation, over: Register | None, free: tuple[int, ...]) -> _Call:
    arguments = list(operation.arguments)
    if _is_of_lists(operation):
        leading = arguments[0]
        if not (isinstance(leading, Register) and leading.sort is Sort.TENSOR) or (
            over is not None and leading != over
        ):
            arguments.reverse()
        return _list_call(operation, tuple(arguments), in_place=over is not None, free=free)
    return _loop_call(operation, over, free)


def _list_call(
    operation: Operation, arguments: tuple[Any, ...], *, in_place: bool, free: tuple[int, ...]
) -> _Call:
    call, target = _OF_LISTS[operation.name][in_place], operation.target.number
    first = arguments[0].number
    second = arguments[1] if len(arguments) > 1 else None
    scalar = isinstance(second, Register) and second.sort is Sort.SCALAR
    at = second.number if isinstance(second, Register) else None

    def run(run: _Run) -> None:
        registers = run.registers
        if second is None:
            result = call(registers[first])
        else:
            other = second if at is None else registers[at]
            result = call(registers[first], other.item() if scalar else other)
        result = registers[first] if in_place else list(result)
        for each in free:
            registers[each] = None
        registers[target] = result

    return run


def _loop_call(operation: Operation, over: Register | None, free: tuple[int, ...]) -> _Call:
    """Return what calls torch tensor by tensor: there is no such operation for lists."""
    call, target, arguments = operation.call, operation.target.number, operation.arguments
    lists = [isinstance(each, Register) and each.sort is Sort.TENSOR for each in arguments]
    read = _reader(arguments)
    over_at = None if over is None else over.number

    def run(run: _Run) -> None:
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


def _opaque_call(operation: Operation, free: tuple[int, ...]) -> _Call:
    """Return what calls a row tensor by tensor, or takes its value or its state from the result."""
    call, target, instruction = operation.call, operation.target.number, operation.instruction
    read = _reader(operation.arguments)

    def run(run: _Run) -> None:
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


def _row_result(instruction: Instruction, values: list[Any], run: _Run, position: int) -> Any:
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
    return result.clone() if any(result is each for each in own) else result


def _clone_call(value: Register) -> _Call:
    def run(run: _Run) -> None:
        run.registers[value.number] = [each.clone() for each in run.registers[value.number]]

    return run


def _store_call(value: Register, slot: int) -> _Call:
    def run(run: _Run) -> None:
        new, places = run.registers[value.number], run.block.slots[slot]
        if isinstance(new, list):
            torch._foreach_copy_(places, new)
        else:
            for place in places:
                place.copy_(new)

    return run


@lru_cache(maxsize=4096)
def _constants(values: tuple[float, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return each constant as a tensor: on the CPU, which reads it without waiting."""
    return tuple(torch.tensor(value, dtype=dtype) for value in values)


@lru_cache(maxsize=512)
def list_program(program: Program) -> ListProgram:
    """Make a program ready for lists; the same program gives the same object."""
    return ListProgram(program)
