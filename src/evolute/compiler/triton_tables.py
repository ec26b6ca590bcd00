"""What the kernels read: tables of programs, tensors and numbers, at fixed places on a device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evolute.compiler.triton_program import (
    ACTIVE,
    COEFFICIENT,
    COLUMNS,
    FACTOR,
    HEAD,
    MOMENTA,
    NORM_AT,
    RATE,
    SHRINK,
    KernelProgram,
)

STAGES = 4
"""Rows of numbers on their way to a GPU; the host waits only where it is so many steps ahead."""


@dataclass(frozen=True, slots=True)
class LaneNumbers:
    """What a lane's step depends on beside its tensors.

    Parameters
    ----------
    slot
        The lane.
    rate
        Signed: sign · learning rate · schedule factor.
    momentum
        μ.
    step
        t, counted from 0.
    decays
        Value of each decay at this step.
    shrink
        Factor on the weight before its update, 1 − lr·λ of decoupled weight decay.
    maximize
        Whether the rule reads −g.
    """

    slot: int
    rate: float
    momentum: float
    step: int
    decays: Sequence[float] = ()
    shrink: float = 1.0
    maximize: bool = False


class Layout:
    """How stacked tensors are cut into blocks, and where their elements lie in a lane's memory.

    Parameters
    ----------
    weights, gradients
        One tensor [L, *shape] for each parameter.
    block
        Elements of a block.

    Attributes
    ----------
    tensors
        int64, a row for each parameter: addresses of weight and gradient, elements of a lane, where
        they begin in a lane's memory, first block, blocks.
    blocks
        int64, a row for each block of a lane: its parameter, and where it begins there.
    pitch
        Elements of a lane.
    """

    def __init__(
        self, weights: Sequence[Tensor], gradients: Sequence[Tensor], *, block: int
    ) -> None:
        self.shapes = [each.shape[1:] for each in weights]
        sizes = [shape.numel() for shape in self.shapes]
        self.offsets = [sum(sizes[:at]) for at in range(len(sizes))]
        self.pitch = sum(sizes)
        rows: list[tuple[int, ...]] = []
        blocks: list[tuple[int, int]] = []
        for at, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            begins = range(0, sizes[at], block)
            rows.append(
                (weight.data_ptr(), gradient.data_ptr(), sizes[at], self.offsets[at], len(blocks),
                 len(begins))
            )  # fmt: skip
            blocks += [(at, begin) for begin in begins]
        device = weights[0].device
        self.tensors = torch.tensor(rows, dtype=torch.int64).to(device)
        self.blocks = torch.tensor(blocks, dtype=torch.int64).reshape(-1, 2).to(device)

    def pieces(self, row: Tensor) -> list[Tensor]:
        """Return the part of each parameter of a row of a lane's memory, in its shape."""
        return [
            row[offset : offset + shape.numel()].view(shape)
            for offset, shape in zip(self.offsets, self.shapes, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Room:
    """Largest program that tables hold.

    Parameters
    ----------
    width
        Numbers of a lane.
    longest
        Instructions.
    norms
        Instructions that clip by a norm.
    tiles
        Scratch tiles.
    """

    width: int = 16
    longest: int = 16
    norms: int = 0
    tiles: int = 1

    def holding(self, programs: Iterable[KernelProgram]) -> Room:
        """Return room for these programs as well; it grows to powers of two."""
        width, longest, norms, tiles = self.width, self.longest, self.norms, self.tiles
        for each in programs:
            width, longest = max(width, each.width), max(longest, len(each.instructions))
            norms, tiles = max(norms, len(each.norms)), max(tiles, each.tiles)
        return Room(_power_of_two(width), _power_of_two(longest), norms, _power_of_two(tiles))


class Tables:
    """Programs and numbers of all lanes on a device; they stay where they are.

    Parameters
    ----------
    size
        Number of lanes.
    layout
        Of their tensors.
    room
        For programs.
    instances
        Kernel instances, each with scratch tiles of its own.
    block
        Elements of a tile.
    """

    def __init__(
        self, size: int, layout: Layout, room: Room, *, instances: int, block: int
    ) -> None:
        device = layout.blocks.device
        self.room = room
        self._host_programs = (
            np.zeros((size, room.longest, COLUMNS), dtype=np.int32),
            np.zeros((size, room.longest), dtype=np.float64),
            np.zeros((size, NORM_AT + max(1, room.norms)), dtype=np.int32),
            np.zeros((size, 2), dtype=np.int64),
        )
        self._programs = tuple(
            torch.from_numpy(each).to(device, copy=True) for each in self._host_programs
        )
        self.instructions, self.parameters, self.heads, self.memories = self._programs
        self._host_numbers = np.zeros((size, room.width), dtype=np.float32)
        self.numbers = torch.zeros(size, room.width, device=device)
        self._stages = _Stages(self.numbers)
        self.scratch = torch.zeros(instances * room.tiles * block, device=device)
        count = size * max(1, room.norms) * len(layout.shapes)
        self.norms = torch.zeros(count, dtype=torch.float64, device=device)
        self.partials = self.norms.new_zeros(size * max(1, len(layout.blocks)))

    def write(self, slot: int, program: KernelProgram, state: Tensor, noise: Tensor) -> None:
        """Write down the program of a slot, and where its memory lies."""
        instructions, parameters, heads, memories = self._host_programs
        count = len(program.instructions)
        instructions[slot, :count], parameters[slot, :count] = (
            program.instructions,
            program.parameters,
        )
        momentum = MOMENTA.index(program.program.momentum)
        buffer = len(program.program.state_slots)
        heads[slot, :NORM_AT] = (count, program.output, momentum, buffer, len(program.norms))
        heads[slot, NORM_AT : NORM_AT + len(program.norms)] = program.norms
        memories[slot] = state.data_ptr(), noise.data_ptr()
        self._host_numbers[slot, HEAD : program.first_decay] = program.constants

    def send_programs(self) -> None:
        """Bring what was written down to the device."""
        for there, here in zip(self._programs, self._host_programs, strict=True):
            there.copy_(torch.from_numpy(here))

    def send_numbers(self, lanes: Sequence[tuple[LaneNumbers, KernelProgram]]) -> None:
        """Bring the numbers of a step to the device; lanes that are not named take no part."""
        numbers = self._host_numbers
        numbers[:, ACTIVE] = 0.0
        with np.errstate(over="ignore"):  # what is too large for a float is infinite
            for lane, program in lanes:
                _fill(numbers[lane.slot], lane, program)
        self._stages.send(numbers)


def _fill(row: npt.NDArray[np.float32], lane: LaneNumbers, program: KernelProgram) -> None:
    row[ACTIVE], row[FACTOR] = 1.0, -1.0 if lane.maximize else 1.0
    row[RATE], row[COEFFICIENT], row[SHRINK] = -lane.rate, lane.momentum, lane.shrink
    if len(lane.decays) or program.betas:
        corrections = [1.0 / (1.0 - beta ** (lane.step + 1)) for beta in program.betas]
        row[program.first_decay : program.width] = [*lane.decays, *corrections]


class _Stages:
    """Brings rows of numbers to a device without waiting for it."""

    def __init__(self, there: Tensor) -> None:
        self._there = there
        self._is_cuda = there.device.type == "cuda"
        self._next = 0
        if self._is_cuda:
            self._pinned = [
                torch.empty(there.shape, pin_memory=True, device="cpu") for _ in range(STAGES)
            ]
            self._sent = [torch.cuda.Event() for _ in range(STAGES)]

    def send(self, numbers: npt.NDArray[np.float32]) -> None:
        given = torch.from_numpy(numbers)
        if not self._is_cuda:
            self._there.copy_(given)
            return
        at = self._next = (self._next + 1) % STAGES
        # The copy of STAGES steps ago reads this memory: it is over long before, as a rule.
        self._sent[at].synchronize()
        self._pinned[at].copy_(given)
        self._there.copy_(self._pinned[at], non_blocking=True)
        self._sent[at].record()


def _power_of_two(count: int) -> int:
    """Return the least power of two that is no less."""
    return 1 << max(count - 1, 0).bit_length()
