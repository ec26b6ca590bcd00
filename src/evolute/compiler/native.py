"""Rules on the native core: float32 tensors on the CPU, many jobs in one call.

A program is lowered once. A :class:`JobTable` has one row per tensor to be moved; it is filled
once, and from step to step only its columns of numbers change::

    native = lower(compile_rule(rule))
    table = JobTable(2)
    table.set(0, native, weight=w0, gradient=g0, slots=[n0])
    table.set(1, native, weight=w1, gradient=g1, slots=[n1])
    table.rates[:] = native.sign * 0.1
    table.run(threads=2)
    table.steps += 1

The result of a row depends on that row alone: not on other rows, threads, or where memory lies.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evolute.compiler.lowering import unknown_function
from evolute.compiler.plain import is_plain, require_plain
from evolute.compiler.program import Program
from evolute.errors import InputError
from evolute.lang.registry import Kind
from evolute.lang.rule import Momentum
from evolute.native import Instruction, load
from evolute.native.bounds import BOUNDS as BOUNDS

JOB = np.dtype(
    [
        ("program", np.uint64),
        ("weight", np.uint64),
        ("gradient", np.uint64),
        ("slots", np.uint64),
        ("noise", np.uint64),
        ("decays", np.uint64),
        ("count", np.int64),
        ("step", np.int64),
        ("rate", np.float64),
        ("momentum", np.float64),
        ("shrink", np.float64),
        ("maximize", np.int64),
    ]
)
"""``EvoluteJob`` of native/core/abi.h."""

_MESSAGE_SIZE = 200


@dataclass(frozen=True)
class NativeStatus:
    """Whether the native core is in use.

    Parameters
    ----------
    active
        Whether rules may run on it.
    instruction_set
        ``avx512``, ``avx2`` or ``baseline``; None where it is not active.
    reason
        Why it is active, or why not, in one sentence.
    """

    active: bool
    instruction_set: str | None
    reason: str


def status() -> NativeStatus:
    """Say whether the native core is in use, and why.

    Raises
    ------
    InputError
        If the environment variable ``EVOLUTE_NATIVE_ISA`` names no instruction set of this machine.
    """
    found = load()
    return NativeStatus(found.library is not None, found.instruction_set, found.reason)


def available() -> bool:
    """Whether the native core is in use."""
    return load().library is not None


class NativeProgram:
    """A program lowered for the native core; made by :func:`lower`.

    Parameters
    ----------
    program
        The compiled rule.
    address
        Of the core's own form of it, which this object owns.
    noise
        Texts of the random nodes, in the order in which their noise is given.

    Attributes
    ----------
    sign
        Of the rule; a row's rate is sign · learning rate · schedule factor.
    slots
        Number of tensors of state of a row: state slots, then the momentum buffer if there is one.
    """

    def __init__(self, program: Program, address: int, noise: tuple[str, ...]) -> None:
        self.program, self.address, self.noise = program, address, noise
        self.sign = program.sign
        self.slots = len(program.state_slots) + (program.momentum is not Momentum.NONE)
        library = load().library
        assert library is not None
        weakref.finalize(self, library.evolute_destroy, address)


def why_not(program: Program) -> str | None:
    """Say why a program cannot run on the native core; None where it can."""
    loaded = load()
    if loaded.library is None:
        return f"the native core is {loaded.reason}"
    opcode = loaded.library.evolute_opcode
    return unknown_function(
        program, lambda name: opcode(name.encode()) >= 0, machine="the native core does"
    )


def lower(program: Program) -> NativeProgram | None:
    """Lower a program for the native core; None where :func:`why_not` has a reason.

    The same program gives the same object.

    Examples
    --------
    >>> from evolute.compiler.program import compile_rule
    >>> from evolute.lang.rule import Rule
    >>> native = lower(compile_rule(Rule.parse("momentum: ema(g, 0.9)")))
    >>> native is None or native.slots
    2
    """
    return None if why_not(program) is not None else _lower(program)


def counts_of(program: Program, noise: Sequence[object]) -> tuple[int, ...]:
    """Return the whole numbers that ``evolute_create`` takes of a program, in its order."""
    return (
        len(program.constants),
        len(program.decays),
        len(program.state_slots),
        len(noise),
        program.output,
        list(Momentum).index(program.momentum),
    )


@lru_cache(maxsize=4096)
def _lower(program: Program) -> NativeProgram:
    library = load().library
    assert library is not None
    rows, noise = instructions_of(program)
    message = ctypes.create_string_buffer(_MESSAGE_SIZE)
    address = library.evolute_create(
        rows,
        len(rows),
        (ctypes.c_double * len(program.constants))(*program.constants),
        *counts_of(program, noise),
        message,
        _MESSAGE_SIZE,
    )
    assert address, message.value.decode()
    return NativeProgram(program, address, noise)


def instructions_of(program: Program) -> tuple[ctypes.Array[Instruction], tuple[str, ...]]:
    """Return a program's instructions as the core reads them, and the texts of its random nodes."""
    library = load().library
    assert library is not None
    rows, noise = (Instruction * len(program.instructions))(), list[str]()
    for row, each in zip(rows, program.instructions, strict=True):
        row.opcode = library.evolute_opcode(each.function.name.encode())
        row.first = each.arguments[0]
        row.second = each.arguments[1] if len(each.arguments) == 2 else -1
        row.slot = -1 if each.slot is None else each.slot
        row.noise = -1
        if each.function.kind is Kind.RANDOM:
            assert each.noise is not None
            row.noise = len(noise)
            noise.append(each.noise)
        row.parameter = each.parameters[0] if each.parameters else 0.0
    return rows, tuple(noise)


def _run_nothing(*_: object) -> int:
    raise AssertionError("rows are set by programs that the native core has lowered")


class JobTable:
    """Tensors to be moved by rules, one row each; addresses stay between steps.

    The table keeps the tensors of a row alive until the row is set anew. Columns are arrays of one
    number per row that may be written whole or in part.

    Parameters
    ----------
    size
        Number of rows.

    Attributes
    ----------
    rates
        Sign · learning rate · schedule factor; 0 at first.
    momenta
        Momentum coefficient μ; 0.9 at first.
    steps
        t, counted from 0: the number of updates made with the row's states.
    shrinks
        Factor on the weight before its update, 1 − lr·λ of decoupled weight decay; 1 at first.
    maximize
        Not 0 where the rule reads −g.
    decays
        Address of the values of the program's decays at this step, float64; who writes one in place
        of :meth:`set_decays` keeps them alive.
    """

    def __init__(self, size: int) -> None:
        self._jobs = np.zeros(size, dtype=JOB)
        self._jobs["momentum"], self._jobs["shrink"] = 0.9, 1.0
        self.rates: npt.NDArray[np.float64] = self._jobs["rate"]
        self.momenta: npt.NDArray[np.float64] = self._jobs["momentum"]
        self.steps: npt.NDArray[np.int64] = self._jobs["step"]
        self.shrinks: npt.NDArray[np.float64] = self._jobs["shrink"]
        self.maximize: npt.NDArray[np.int64] = self._jobs["maximize"]
        self.decays: npt.NDArray[np.uint64] = self._jobs["decays"]
        # A column costs a fifth of what an element of a row does.
        self._gradients: npt.NDArray[np.uint64] = self._jobs["gradient"]
        self._counts = [0] * size
        self._decays: list[npt.NDArray[np.float64]] = [np.empty(0)] * size
        self._noise: list[npt.NDArray[np.uint64]] = [np.empty(0, np.uint64)] * size
        self._kept: list[list[Any]] = [[] for _ in range(size)]
        self._drawn: list[list[Tensor]] = [[] for _ in range(size)]
        self._lacking = set(range(size))
        # What a step reads is ready, so that a step of all rows is little more than one call.
        library, jobs = load().library, ctypes.c_void_p(self._jobs.ctypes.data)
        self._run_rows = partial(_run_nothing if library is None else library.evolute_run, jobs)
        self._run_all = partial(self._run_rows, None, ctypes.c_int64(size))

    def __len__(self) -> int:
        return len(self._jobs)

    def set(
        self,
        row: int,
        program: NativeProgram,
        *,
        weight: Tensor,
        gradient: Tensor,
        slots: Sequence[Tensor] = (),
    ) -> None:
        """Give a row its program and its tensors; numbers of the row stay as they are.

        Parameters
        ----------
        row
            Which row.
        program
            What :func:`lower` returned.
        weight, gradient, slots
            Float32 on the CPU, contiguous, of one number of elements; weight and slots change in
            place. No memory that is written may be shared with another row. There are
            ``program.slots`` slots.

        Raises
        ------
        InputError
            If a tensor is of another kind, or there are more or fewer slots.
        """
        if len(slots) != program.slots:
            raise InputError(
                f"{len(slots)} slots are given: the rule has {program.slots}, its states and its "
                "momentum buffer"
            )
        named = {"weight": weight, "gradient": gradient}
        named |= {f"slot {at}": each for at, each in enumerate(slots)}
        for name, each in named.items():
            require_plain(each, name, weight.numel(), torch.float32)
        addresses = np.array([each.data_ptr() for each in slots], dtype=np.uint64)
        decays = np.zeros(len(program.program.decays))
        noise = np.zeros(len(program.noise), dtype=np.uint64)
        job, self._counts[row] = self._jobs[row], weight.numel()
        job["program"], job["count"] = program.address, weight.numel()
        job["weight"], job["gradient"] = weight.data_ptr(), gradient.data_ptr()
        job["slots"], job["noise"] = addresses.ctypes.data, noise.ctypes.data
        job["decays"] = decays.ctypes.data
        self._decays[row], self._noise[row] = decays, noise
        self._kept[row] = [program, weight, gradient, *slots, addresses]
        self._drawn[row] = []
        if program.noise:
            self._lacking.add(row)
        else:
            self._lacking.discard(row)

    def take_gradients(self, gradients: Sequence[Tensor]) -> bool:
        """Give each row another gradient; False, and nothing is done, where one is not as in set().

        Of a gradient that the row has already, only what may have changed is looked at.
        """
        for kept, count, each in zip(self._kept, self._counts, gradients, strict=True):
            if each is not kept[2] and not is_plain(each):
                return False
            if each.numel() != count or not each.is_contiguous():
                return False
        for kept, each in zip(self._kept, gradients, strict=True):
            kept[2] = each
        self._gradients[:] = [each.data_ptr() for each in gradients]
        return True

    def set_decays(self, row: int, values: Sequence[float]) -> None:
        """Give a row the values of its program's decays at this step."""
        self._decays[row][:] = values

    def set_noise(self, row: int, noise: Sequence[Tensor]) -> None:
        """Give a row the noise of this step: what ``uniform_noise`` returns for each random node.

        They are float64 in [0, 1), contiguous, of the weight's size, in the order of
        ``program.noise``.

        Raises
        ------
        InputError
            If a tensor is of another kind, or there are more or fewer of them.
        """
        addresses = self._noise[row]
        if len(noise) != len(addresses):
            raise InputError(
                f"{len(noise)} noises are given: the rule has {len(addresses)} random nodes"
            )
        for each in noise:
            require_plain(each, "noise", self._counts[row], torch.float64)
        addresses[:] = [each.data_ptr() for each in noise]
        self._drawn[row] = list(noise)
        if noise:
            self._lacking.discard(row)

    def run(
        self, rows: Sequence[int] | npt.NDArray[np.int64] | None = None, *, threads: int = 1
    ) -> None:
        """Make one step of each of these rows, all by default; ``steps`` stays as it is.

        Parameters
        ----------
        rows
            Places in the table, each at most once.
        threads
            Most threads to use; small tensors are not worth a second one.

        Raises
        ------
        InputError
            If a row is out of range or has not been set, or lacks noise that its rule needs.
        MemoryError
            If there is no memory for the step of a row; no row has moved.
        """
        if rows is not None:
            failed = self._run_some(np.ascontiguousarray(rows, np.int64), threads)
        elif self._lacking:
            raise self._lack_of(min(self._lacking))
        else:
            failed = self._run_all(threads)
        if failed:
            raise MemoryError(f"no memory for a step of {failed} tensors: none of them has moved")

    def _run_some(self, rows: npt.NDArray[np.int64], threads: int) -> int:
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise InputError(f"a row is not in the table: it has rows 0 to {len(self) - 1}")
        if lacking := self._lacking and self._lacking & set(rows.tolist()):
            raise self._lack_of(min(lacking))
        failed: int = self._run_rows(rows.ctypes.data, len(rows), threads)
        return failed

    def _lack_of(self, row: int) -> InputError:
        if not self._jobs[row]["program"]:
            return InputError(f"row {row} has no program: call set() before run()")
        return InputError(f"row {row} has no noise: call set_noise() before run()")
