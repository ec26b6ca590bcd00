"""Lanes of many rules moved by one launch of a kernel: float32 tensors on a GPU.

What a step needs of the host is one row of numbers per lane (rates, momentum coefficients, decays,
bias corrections), written to the device by one asynchronous copy. All addresses stay, so that the
launches of a step are captured once in a CUDA graph and replayed; nothing is read back. Where
Triton interprets kernels (its environment variable ``TRITON_INTERPRET``), tensors on the CPU are
served in place of those on a GPU.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from evolute.compiler.program import Program, compile_rule
from evolute.compiler.triton_graph import Capture, GraphedLaunch, capture_graph, on_device
from evolute.compiler.triton_program import INSTALLED, KernelProgram, lower
from evolute.compiler.triton_tables import LaneNumbers, Layout, Room, Tables
from evolute.errors import shorten
from evolute.lang.rule import Rule

BLOCK = 1024
"""Elements of a block."""

CHUNK = 256
"""Sums of squares that are added at a time."""

INSTANCES_PER_PROCESSOR = 8
"""Kernel instances for each multiprocessor of a GPU, each with scratch memory of its own."""

INTERPRETED_INSTANCES = 3
"""Kernel instances where Triton interprets: some, so that each takes several blocks."""

OPTIONS = {"enable_fp_fusion": False, "num_warps": 4}
"""How kernels are compiled: no multiplication is fused with an addition, so that each operation is
rounded as IEEE 754 says."""

_log = logging.getLogger("evolute")


@dataclass(frozen=True, eq=False, slots=True)
class KernelLane:
    """A rule at work in a slot, with memory of its own: P elements are in a lane.

    Parameters
    ----------
    program
        The rule.
    state
        Float32 [slots, P], 0 at first.
    noise
        Float64 [random nodes, P]: that of the step to come.
    states
        Views of ``state``: for each parameter its state slots and its momentum buffer.
    """

    program: KernelProgram
    state: Tensor
    noise: Tensor
    states: list[list[Tensor]]


@dataclass(frozen=True)
class TritonStatus:
    """Whether rules of lanes on a GPU are moved by the kernels.

    Parameters
    ----------
    active
        Whether they are.
    reason
        Why, or why not, in one sentence.
    """

    active: bool
    reason: str


def status() -> TritonStatus:
    """Say whether rules of lanes on a GPU are moved by the kernels, and why."""
    if not INSTALLED:
        return TritonStatus(
            False,
            "triton is not installed, as it is with torch for CUDA: rules of lanes on a GPU would "
            "be applied in lists of tensors",
        )
    if is_interpreted():
        return TritonStatus(True, "TRITON_INTERPRET is set: kernels are interpreted, very slowly")
    if not torch.cuda.is_available():
        return TritonStatus(False, "no CUDA device: there is nothing for the kernels to run on")
    fault = _fault(torch.device("cuda"))
    if fault is not None:
        return TritonStatus(False, fault)
    return TritonStatus(True, "all rules of a population in one Triton kernel")


def is_interpreted() -> bool:
    """Whether Triton interprets kernels, for tensors on the CPU, in place of compiling them."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "y", "yes")


def kernel_lanes(weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> TritonLanes | None:
    """Return what moves the lanes of these tensors by kernels; None where none can."""
    if not weights or not INSTALLED:
        return None
    first = weights[0]
    if first.device.type != ("cpu" if is_interpreted() else "cuda"):
        return None
    for each in (*weights, *gradients):
        if each.dtype is not torch.float32 or each.device != first.device:
            return None
        if not each.is_contiguous():
            return None
    fault = _fault(first.device)
    if fault is not None:
        _warn(fault)
        return None
    return TritonLanes(weights, gradients)


@lru_cache
def _fault(device: torch.device) -> str | None:
    """Return why kernels do not work on a device; None where one lane was moved rightly."""
    weights, gradients = [torch.ones(1, 1, device=device)], [torch.full((1, 1), 2.0, device=device)]
    try:
        lanes = TritonLanes(weights, gradients)
        lane = lanes.lane(compile_rule(Rule.parse("none: clip_norm(g)")))
        assert lane is not None
        lanes.put(0, lane)
        for step in range(3):  # compiled, captured, replayed
            lanes.step([LaneNumbers(0, 0.25, 0.0, step)])
        moved = float(weights[0])
    except Exception as error:  # noqa: BLE001 - a compiler is at work: whatever it says is a reason
        return f"the kernels for rules cannot be made here: {shorten(str(error))}"
    return None if moved == 0.25 else f"the kernels for rules moved a weight to {moved}, not 0.25"


@lru_cache
def _warn(fault: str) -> None:
    """Say once why rules are applied in lists of tensors."""
    _log.warning("rules are applied in lists of tensors: %s", fault)


class TritonLanes:
    """The lanes of stacked tensors, each moved by the program put into its slot.

    Parameters
    ----------
    weights, gradients
        One tensor [L, *shape] for each parameter: float32, contiguous, on one device.
    capture
        What makes a graph of launches; by default a CUDA graph on a GPU, else none.
    block
        Elements of a block, a power of two. No result depends on it but norms, to rounding.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
        *,
        capture: Capture | None = None,
        block: int = BLOCK,
    ) -> None:
        self._block = block
        self._device, self._size = weights[0].device, len(weights[0])
        self._kept = [*weights, *gradients]  # the kernels know their addresses alone
        self._layout = Layout(weights, gradients, block=block)
        on_gpu = self._device.type == "cuda"
        self._graph = GraphedLaunch(capture or (capture_graph if on_gpu else None))
        self._instances = min(
            _instances(self._device), max(1, self._size * len(self._layout.blocks))
        )
        self._lanes: dict[int, KernelLane] = {}
        self._tables = self._tables_with(Room())
        self._fresh = False

    def _tables_with(self, room: Room) -> Tables:
        return Tables(self._size, self._layout, room, instances=self._instances, block=self._block)

    def lane(self, program: Program) -> KernelLane | None:
        """Return a lane of a rule, its state zero; None where the kernels do not know the rule.

        It outlives this object: another for tensors of the same shapes but for L may go on with it.
        """
        lowered = lower(program)
        if lowered is None:
            return None
        layout = self._layout
        state = torch.zeros(lowered.slots, layout.pitch, device=self._device)
        numbers = (len(lowered.noise), layout.pitch)
        noise = torch.zeros(numbers, dtype=torch.float64, device=self._device)
        slots = [layout.pieces(row) for row in state]
        states = [[slot[at] for slot in slots] for at in range(len(layout.shapes))]
        return KernelLane(lowered, state, noise, states)

    def put(self, slot: int, lane: KernelLane) -> None:
        """Let a lane have a slot."""
        self._lanes[slot] = lane
        self._fresh = False

    def release(self, slot: int) -> None:
        """Forget the program of a slot, if it has one."""
        self._lanes.pop(slot, None)

    def step(self, lanes: Sequence[LaneNumbers]) -> None:
        """Make one step of these lanes; the others stay as they are.

        The noise of this step must be in their memory before.
        """
        with on_device(self._device):
            if not self._fresh:
                self._refresh()
            self._tables.send_numbers([(lane, self._lanes[lane.slot].program) for lane in lanes])
            if len(self._layout.blocks):
                self._graph.run(self._tables, self._launch)

    def _refresh(self) -> None:
        """Bring the programs of all slots to the device, in larger tables where they need them."""
        room = self._tables.room.holding(each.program for each in self._lanes.values())
        if room != self._tables.room:
            self._tables = self._tables_with(room)
        for slot, lane in self._lanes.items():
            self._tables.write(slot, lane.program, lane.state, lane.noise)
        self._tables.send_programs()
        self._fresh = True

    def _launch(self) -> None:
        """Start the kernels of a step: for each norm a pass that finds it, then the step itself."""
        from evolute.compiler import triton_kernel as kernels

        tables, layout, size = self._tables, self._layout, self._size
        room, blocks, tensors = tables.room, len(layout.blocks), len(layout.shapes)
        head = tables.heads.shape[1]
        arguments = (
            tables.numbers, tables.instructions, tables.parameters, tables.heads, tables.memories,
            layout.tensors, layout.blocks, tables.scratch, tables.partials, tables.norms,
            room.width, room.longest, head, room.norms, tensors, blocks, size * blocks,
            room.tiles, layout.pitch,
        )  # fmt: skip
        walk = kernels.step_lanes[(self._instances,)]
        for turn in range(room.norms):
            walk(*arguments, turn, elements=self._block, finds_norm=True, **OPTIONS)
            kernels.finish_norms[(size, tensors)](
                tables.numbers, tables.heads, layout.tensors, tables.partials, tables.norms,
                room.width, head, room.norms, tensors, blocks, turn, chunk=CHUNK, **OPTIONS,
            )  # fmt: skip
        walk(*arguments, 0, elements=self._block, finds_norm=False, **OPTIONS)


def _instances(device: torch.device) -> int:
    if device.type != "cuda":
        return INTERPRETED_INSTANCES
    processors: int = torch.cuda.get_device_properties(device).multi_processor_count
    return INSTANCES_PER_PROCESSOR * processors
