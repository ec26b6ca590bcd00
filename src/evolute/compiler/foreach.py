"""Runs a program on lists of tensors, in blocks that stay in the cache and in few temporaries.

Each elementary operation is one ``torch._foreach_*`` call on a block: on a GPU one kernel for many
tensors, on a CPU one call from Python instead of one for each tensor. Large tensors are cut into
pieces, small ones are put together (:mod:`evolute.compiler.blocks`); all operations of a block run
before the next block begins. Operations write over operands that nothing reads any more, and on the
single piece of a large tensor on a CPU nothing takes fresh memory (:mod:`evolute.compiler.single`).
No formula is changed: on a CPU the results are those of :mod:`evolute.compiler.execute` to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from evolute.compiler.blocks import Block
from evolute.compiler.elementary import Operation, Register, Sort, in_elementary_operations
from evolute.compiler.list_calls import (
    COMMUTATIVE,
    Call,
    Noise,
    Run,
    clone_call,
    elementary_call,
    is_elementary,
    is_of_lists,
    number_call,
    opaque_call,
    store_call,
)
from evolute.compiler.program import Program
from evolute.compiler.single import Placed, SingleProgram, is_single
from evolute.lang.registry import Kind

_APART = {"i1e"}
"""Written over its operand it is four times as slow on a CPU: torch has no vector code of its own
for it, and the compiler's is for memory apart only."""


class ListProgram:
    """A program made ready for lists; it keeps nothing of a run.

    Parameters
    ----------
    program
        The compiled rule.

    Attributes
    ----------
    whole, in_order
        What :func:`evolute.compiler.blocks.blocks` must keep to.
    """

    def __init__(self, program: Program) -> None:
        self._form = in_elementary_operations(program)
        self._constants = program.constants
        kinds = {each.function.kind for each in program.instructions}
        self.whole = Kind.PER_TENSOR in kinds
        self.in_order = Kind.RANDOM in kinds
        plan = _Plan(self._form.operations, self._form.states, self._form.new_states)
        plan.make(self._form.output)
        self._before, self._calls = plan.before, plan.calls
        self._clones, self._copies = plan.clones, plan.copies
        self._stores = [clone_call(each) for each in plan.clones]
        self._stores += [store_call(value, slot) for value, slot in plan.copies]
        # What the call of a row returns may be a part of an operand, or smaller than the weight.
        self._single = None if plan.is_opaque else SingleProgram(plan.placed, self._form.registers)

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
        if self._single is not None and is_single(block):
            return [self._update_single(self._single, block, registers.copy())]
        form, run = self._form, Run(registers.copy(), block, noise)
        run.registers[form.gradient.number] = block.gradients
        run.registers[form.weight.number] = block.weights
        for register, tensors in zip(form.states, block.slots, strict=False):
            run.registers[register.number] = tensors
        for call in self._calls:
            call(run)
        for store in self._stores:
            store(run)
        update = run.registers[form.output.number]
        return update if isinstance(update, list) else [update] * len(block.weights)

    def _update_single(self, single: SingleProgram, block: Block, registers: list[Any]) -> Tensor:
        form, weight = self._form, block.weights[0]
        registers[form.gradient.number], registers[form.weight.number] = block.gradients[0], weight
        for register, (tensor,) in zip(form.states, block.slots, strict=False):
            registers[register.number] = tensor
        single.run(registers, weight)
        for value in self._clones:
            registers[value.number] = registers[value.number].clone()
        for value, slot in self._copies:
            block.slots[slot][0].copy_(registers[value.number])
        update: Tensor = registers[form.output.number]
        return update


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
        self.calls: list[Call] = []
        self.placed: list[Placed] = []
        self.clones: list[Register] = []
        self.copies: list[tuple[Register, int]] = []
        self.is_opaque = False

    def make(self, output: Register) -> None:
        """Place the results of all operations, then find what is to be stored in the states."""
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
        # The number of the temporary in which a value lives, and the numbers that are free again.
        self._temporary: dict[Register, int] = {}
        self._free: list[int] = []
        self._count = 0
        for at, operation in enumerate(self.operations):
            if operation.target.sort is not Sort.TENSOR:
                self.before.append(number_call(operation))
            else:
                self.calls.append(self._call(at, operation))
        self._store(output)

    def _call(self, at: int, operation: Operation) -> Call:
        tensors = [
            each
            for each in dict.fromkeys(operation.arguments)
            if isinstance(each, Register) and each.sort is Sort.TENSOR
        ]
        dead = [each for each in tensors if self._last_use[each] == at]
        free = tuple(each.number for each in dead)
        if not is_elementary(operation):
            self.is_opaque = True
            return opaque_call(operation, free)  # its shape may be less than the weight's
        over = self._overwritten(at, operation, dead)
        temporary = self._take() if over is None else self._temporary.get(over)
        if temporary is not None:
            self._temporary[operation.target] = temporary
        if over is not None:
            self._home[operation.target] = self._home.get(over)
        self._free += [self._temporary[x] for x in dead if x != over and x in self._temporary]
        self.placed.append(Placed(operation, over, temporary or 0))
        return elementary_call(operation, over, free)

    def _take(self) -> int:
        """Return the number of a temporary that holds nothing which is yet to be read."""
        if self._free:
            return self._free.pop()
        self._count += 1
        return self._count - 1

    def _overwritten(
        self, at: int, operation: Operation, dead: Sequence[Register]
    ) -> Register | None:
        """Return the operand over which the result is written, None for a new temporary."""
        if operation.name in _APART:
            return None
        first = operation.arguments[0]
        in_place = [
            each
            for each in dead
            if each is first or operation.name in COMMUTATIVE or not is_of_lists(operation)
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
            and is_elementary(readers[0])
            and (readers[0].name in COMMUTATIVE or readers[0].arguments[0] == value)
            and value not in self.new_states
        )

    def _store(self, output: Register) -> None:
        """Copy the new states that are not yet in their place; the last slot reads from others."""
        pending = [slot for slot, new in enumerate(self.new_states) if self._home.get(new) != slot]
        for value in dict.fromkeys((output, *(self.new_states[slot] for slot in pending))):
            if self._home.get(value) in pending:
                self.clones.append(value)
        self.copies = [(self.new_states[slot], slot) for slot in pending]


@lru_cache(maxsize=4096)
def _constants(values: tuple[float, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return each constant as a tensor: on the CPU, which reads it without waiting."""
    return tuple(torch.tensor(value, dtype=torch.float64).to(dtype) for value in values)


@lru_cache(maxsize=512)
def list_program(program: Program) -> ListProgram:
    """Make a program ready for lists; the same program gives the same object."""
    return ListProgram(program)
