"""Many programs at once, each on its own row: equal operations of different programs are one call.

On tensors as small as a test function's the cost of torch is the number of calls, so the
instructions of all programs are scheduled together: whichever function has the most instructions
ready is called once for all of them. Every value is a row of one table; a row is as wide as a whole
number of vector registers, so that each element goes through the same machine code whatever rows
are beside it. So a program's values are the same to the bit in any company.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evolute.compiler.program import GRADIENT, WEIGHT, Instruction, Program
from evolute.lang.expression import Expression
from evolute.lang.registry import Kind

ROW_MULTIPLE = 32
"""Width of a row is a multiple of this: four AVX-512 registers of float64 elements."""

LARGEST_GROUP = 500
"""Most rows in one call: torch splits work among threads from 32,768 elements on."""

Noise = Callable[[str, int], Tensor]
"""noise(node, step) -> uniform numbers in [0, 1), of the shape of one lane."""


def row_width(lanes: int, size: int) -> int:
    """Return ``lanes·size`` rounded up to a multiple of :data:`ROW_MULTIPLE`."""
    return -(-lanes * size // ROW_MULTIPLE) * ROW_MULTIPLE


@dataclass(slots=True)
class _Group:
    """Instructions of one function with the same parameters, called together."""

    kind: Kind
    compute: Callable[..., Any]
    parameters: tuple[float, ...]
    arguments: tuple[Tensor, ...]
    """Rows of the table that each argument is read from."""
    views: tuple[Tensor | None, ...]
    """The same as a part of the table, where they follow each other and may be read in place."""
    target: Tensor
    state: Tensor
    nodes: tuple[str, ...]


class StackedPrograms:
    """Programs laid side by side, with the state of each.

    Its results depend on nothing but the arguments; one thread may use it at a time. Gradient
    tracking is the caller's to switch off.

    Parameters
    ----------
    programs
        K programs.
    lanes, size
        Each program works on ``lanes`` weight tensors of ``size`` elements: its row of the table
        holds them one after the other, then padding.
    decays
        Values of distinct schedules at each step, float64 of shape [steps], for every decay of
        every program.
    noise
        The noise of random nodes, shared by all lanes.

    Attributes
    ----------
    weights, gradients
        Views of shape [K, :func:`row_width`], float64, to be written before each :meth:`updates`.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        lanes: int,
        size: int,
        decays: dict[Expression, Tensor],
        noise: Noise,
    ) -> None:
        self._shape = (lanes, size)
        self._noise = noise
        layout = _Layout(programs, list(decays))
        self._table = torch.zeros(layout.rows, row_width(lanes, size), dtype=torch.float64)
        count = len(programs)
        self.gradients = self._table[:count]
        self.weights = self._table[count : 2 * count]
        constants = torch.tensor(list(layout.constants), dtype=torch.float64)
        self._table[layout.first_constant : layout.first_decay] = constants[:, None]
        self._decays = self._table[layout.first_decay : layout.first_result]
        self._curves = torch.stack(list(decays.values()), dim=1)[:, :, None] if decays else None
        self._outputs = torch.tensor(layout.outputs)
        self._groups = [self._group(members) for members in layout.groups]
        self._step = 0

    def updates(self) -> Tensor:
        """Return the update of every program, [K, width]; the next call is the next step."""
        if self._curves is not None:
            self._decays.copy_(self._curves[self._step].expand_as(self._decays))
        for group in self._groups:
            arguments = [
                self._table.index_select(0, rows) if view is None else view
                for rows, view in zip(group.arguments, group.views, strict=True)
            ]
            _CALLS[group.kind](self, group, arguments)
        self._step += 1
        return self._table.index_select(0, self._outputs)

    def _group(self, members: _Members) -> _Group:
        first, row = members.instructions[0], members.instructions[0].function
        target = self._table[members.first : members.first + len(members.instructions)]
        arguments = tuple(zip(*members.arguments, strict=True))
        # A new state may be an argument itself, which must not be changed by later steps.
        in_place = row.kind is not Kind.STATEFUL
        return _Group(
            kind=row.kind,
            compute=row.compute,
            parameters=first.parameters,
            arguments=tuple(map(torch.tensor, arguments)),
            views=tuple(self._view(rows) if in_place else None for rows in arguments),
            target=target,
            state=torch.zeros_like(target) if row.kind is Kind.STATEFUL else torch.empty(0),
            nodes=tuple(each.noise or "" for each in members.instructions),
        )

    def _view(self, rows: tuple[int, ...]) -> Tensor | None:
        """Return these rows as a part of the table; None unless they follow each other."""
        first, last = rows[0], rows[-1]
        return self._table[first : last + 1] if rows == tuple(range(first, last + 1)) else None

    def _elementwise(self, group: _Group, arguments: list[Tensor]) -> None:
        group.target.copy_(group.compute(*arguments, *group.parameters))

    def _stateful(self, group: _Group, arguments: list[Tensor]) -> None:
        value, group.state = group.compute(
            *arguments, *group.parameters, state=group.state, step=self._step
        )
        group.target.copy_(value)

    def _per_tensor(self, group: _Group, arguments: list[Tensor]) -> None:
        lanes = [self._lanes(argument) for argument in arguments]
        self._lanes(group.target).copy_(group.compute(*lanes, *group.parameters, dims=(2,)))

    def _random(self, group: _Group, arguments: list[Tensor]) -> None:
        lanes = [self._lanes(argument) for argument in arguments]
        uniform = torch.stack([self._noise(node, self._step) for node in group.nodes])[:, None]
        self._lanes(group.target).copy_(
            group.compute(*lanes, *group.parameters, uniform=uniform.expand_as(lanes[0]))
        )

    def _lanes(self, rows: Tensor) -> Tensor:
        """Return rows as [rows, lanes, size], without their padding."""
        lanes, size = self._shape
        return rows[:, : lanes * size].view(-1, lanes, size)


_CALLS: dict[Kind, Callable[[StackedPrograms, _Group, list[Tensor]], None]] = {
    Kind.ELEMENTWISE: StackedPrograms._elementwise,
    Kind.STATEFUL: StackedPrograms._stateful,
    Kind.PER_TENSOR: StackedPrograms._per_tensor,
    Kind.RANDOM: StackedPrograms._random,
}


@dataclass(slots=True)
class _Members:
    """Instructions of one group, the rows each reads, and the first row that they write."""

    first: int
    instructions: list[Instruction]
    arguments: list[tuple[int, ...]]


class _Layout:
    """Gives every value of every program a row of the table, and every instruction a group.

    Rows: the gradients, the weights, the distinct constants, the distinct decays, then the results
    group by group.
    """

    def __init__(self, programs: Sequence[Program], decays: Sequence[Expression]) -> None:
        self._programs = programs
        count = len(programs)
        self.constants = dict.fromkeys(value for each in programs for value in each.constants)
        self.first_constant = 2 * count
        self.first_decay = self.first_constant + len(self.constants)
        self.first_result = self.first_decay + len(decays)
        self.rows = self.first_result
        constant_rows = {value: self.first_constant + at for at, value in enumerate(self.constants)}
        decay_rows = {decay: self.first_decay + at for at, decay in enumerate(decays)}
        # The row of each register of each program, appended in the order of its instructions.
        self._row_of: list[dict[int, int]] = []
        for at, program in enumerate(programs):
            shared = [constant_rows[value] for value in program.constants]
            shared += [decay_rows[decay] for decay in program.decays]
            self._row_of.append(
                {GRADIENT: at, WEIGHT: count + at, **dict(enumerate(shared, start=2))}
            )
        self.groups = list(self._schedule())
        self.outputs = [
            rows[program.output] for rows, program in zip(self._row_of, programs, strict=True)
        ]

    def _schedule(self) -> Iterator[_Members]:
        """Yield groups until every instruction is in one; the call most in demand goes first."""
        ready: dict[_Call, list[tuple[int, Instruction]]] = {}
        readers: dict[tuple[int, int], list[_Waiting]] = {}
        for at, program in enumerate(self._programs):
            for instruction in program.instructions:
                missing = set(instruction.arguments) - self._row_of[at].keys()
                waiting = _Waiting(at, instruction, len(missing))
                for register in missing:
                    readers.setdefault((at, register), []).append(waiting)
                if not missing:
                    ready.setdefault(_call(instruction), []).append((at, instruction))
        while ready:
            call = max(ready, key=lambda each: len(ready[each]))
            members = ready.pop(call)
            if len(members) > LARGEST_GROUP:
                ready[call] = members[LARGEST_GROUP:]
            yield self._place(members[:LARGEST_GROUP])
            for at, instruction in members[:LARGEST_GROUP]:
                for waiting in readers.pop((at, instruction.target), []):
                    waiting.missing -= 1
                    if not waiting.missing:
                        pair = (waiting.program, waiting.instruction)
                        ready.setdefault(_call(waiting.instruction), []).append(pair)

    def _place(self, members: list[tuple[int, Instruction]]) -> _Members:
        """Give the results of a group the next rows."""
        arguments = [
            tuple(self._row_of[at][register] for register in instruction.arguments)
            for at, instruction in members
        ]
        for row, (at, instruction) in enumerate(members, start=self.rows):
            self._row_of[at][instruction.target] = row
        self.rows += len(members)
        instructions = [instruction for _, instruction in members]
        return _Members(self.rows - len(members), instructions, arguments)


_Call = tuple[str, tuple[float, ...]]


def _call(instruction: Instruction) -> _Call:
    """Return what instructions of one group have in common."""
    return instruction.function.name, instruction.parameters


@dataclass(slots=True)
class _Waiting:
    """An instruction with the number of its arguments that have no row yet."""

    program: int
    instruction: Instruction
    missing: int
