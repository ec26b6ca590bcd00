"""Runs elementary operations on one piece of a tensor on the CPU.

There a call for lists is a loop over calls for tensors. For one tensor it saves nothing, and it
takes fresh memory for its result; the calls here write into memory that is at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from evolute.compiler.blocks import Block
from evolute.compiler.elementary import Operation, Register, Sort
from evolute.compiler.list_calls import COMMUTATIVE
from evolute.compiler.scratch import temporaries


@dataclass(frozen=True, slots=True)
class Placed:
    """An operation and where its result is written.

    Parameters
    ----------
    operation
        An elementary operation whose result is a tensor.
    over
        The operand over which the result is written; None for a temporary.
    temporary
        Number of the temporary.
    """

    operation: Operation
    over: Register | None
    temporary: int


_TAKES_SCALAR = {"add", "div", "mul", "sub"}

_Call = tuple[Callable[..., Any], int, int, int, int]
"""What is called, the registers of its arguments (-1 where there is no second one), the register
whose memory is written, and the register of the result."""


class SingleProgram:
    """The operations of a program made ready for one piece; it keeps nothing of a run.

    Parameters
    ----------
    placed
        The operations, in order.
    registers
        How many registers the program has. Numbers in the operations and temporaries follow them.
    """

    def __init__(self, placed: Sequence[Placed], registers: int) -> None:
        self._literals: list[Any] = []
        self._scalars: list[Any] = []
        self._count = 1 + max((each.temporary for each in placed), default=-1)
        self._first_literal = registers + self._count
        self._calls = [self._call(each, registers) for each in placed]

    def _call(self, placed: Placed, first_temporary: int) -> _Call:
        operation, over = placed.operation, placed.over
        arguments = list(operation.arguments)
        call: Any = operation.call
        if operation.name == "add_scaled":
            call = partial(call, factor=arguments.pop())
        if operation.name in COMMUTATIVE and not _is_tensor(arguments[0]):
            arguments.reverse()  # torch.mul(number, tensor) there is none
        place = first_temporary + placed.temporary if over is None else over.number
        first, *others = (self._at(each, operation.name) for each in arguments)
        second = others[0] if others else -1
        return call, first, second, place, operation.target.number

    def _at(self, argument: Any, name: str) -> int:
        if isinstance(argument, Register):
            return argument.number
        self._literals.append(argument)
        # Of a number torch makes a tensor at each call, which takes longer than the rest of it.
        made = argument
        if name in _TAKES_SCALAR:
            made = torch.tensor(argument, dtype=torch.float64, device="cpu")
        self._scalars.append(made)
        return self._first_literal + len(self._literals) - 1

    def run(self, registers: list[Any], weight: Tensor) -> None:
        """Fill the registers; those of inputs, states and numbers hold tensors and numbers."""
        registers += temporaries(self._count, like=weight)
        # Beside a weight without dimensions a tensor would count as much as that.
        registers += self._scalars if weight.dim() else self._literals
        for call, first, second, place, target in self._calls:
            if second < 0:
                registers[target] = call(registers[first], out=registers[place])
            else:
                registers[target] = call(registers[first], registers[second], out=registers[place])


def is_single(block: Block) -> bool:
    """Whether a block is one plain piece on the CPU."""
    first = block.weights[0]
    plain = type(first) in (Tensor, Parameter) and first.device.type == "cpu"
    return plain and len(block.weights) == 1


def _is_tensor(argument: Any) -> bool:
    return isinstance(argument, Register) and argument.sort is not Sort.NUMBER
