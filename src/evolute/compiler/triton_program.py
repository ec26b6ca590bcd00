"""Rules as tables of numbers that the kernels for a GPU walk; needs no Triton.

An operand is one number. Below :data:`HEAD` it names a value that every block has, below
:data:`TILE` a place in the row of numbers of its lane, from there on a tile of scratch memory. The
value of the instruction before, which most instructions read, is the *running* one and is never in
memory; a value that is read later is stored in a tile, which is used again after its last reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from evolute.compiler.lowering import unknown_function
from evolute.compiler.program import GRADIENT, WEIGHT, Instruction, Program
from evolute.lang.rule import Momentum

INSTALLED = find_spec("triton") is not None
"""Whether Triton is installed; it is imported where a kernel is launched, as that takes a while."""

BINARY = (
    *("add", "sub", "mul", "div", "max", "min", "clip", "mix", "quotient", "div_hypot"),
    "abs_pow",
)
LIGHT = (
    *("identity", "neg", "abs", "sqrt", "square", "sign", "max0", "min0", "reciprocal"),
    *("dsoftsign", "softsign"),
)
HEAVY = (
    *("log", "exp", "sigmoid", "dsigmoid", "softplus", "erf", "erfc", "arcsinh", "tanh", "dtanh"),
    *("arctan", "bessel_i1e"),
)
STATEFUL = ("ema", "ema_raw", "delta", "running_max", "previous", "accumulate")
OPCODES = (*BINARY, *LIGHT, *HEAVY, *STATEFUL, "dropout", "clip_norm")
"""The functions that the kernels know; the place of a name is its number there."""

MOMENTA = tuple(Momentum)
"""The place of a momentum type is its number there."""

RUNNING, OF_GRADIENT, OF_WEIGHT = 0, 1, 2
"""Operands that every block has."""

ACTIVE, FACTOR, RATE, COEFFICIENT, SHRINK = range(5)
"""A row of numbers begins with: whether the lane takes part, the gradient's factor 1 or −1, minus
the signed rate, μ, and the factor on the weight of decoupled weight decay."""

HEAD = 5
"""First place of a row of numbers that an operand may name: constants, decays, then the bias
corrections 1/(1−β^(t+1)) of averages."""

TILE = 1 << 20
"""Operands from here on are tiles."""

OPCODE, FIRST, SECOND, STORE, SLOT, NOISE, NUMBER = range(7)
"""Columns of an instruction: its function, its operands, the tile that its value is stored in, its
state slot, its noise, and the place of its bias correction, or which norm it is."""

COLUMNS = 8
"""Columns of an instruction, of which the last is empty."""

COUNT, OUTPUT, MOMENTUM_TYPE, BUFFER, NORM_COUNT, NORM_AT = range(6)
"""Columns of ``heads``: instructions, operand of the update, place of the momentum type, slot of
the momentum buffer, norms, and from the last on the instruction that clips by each norm."""

WEIGHTS, GRADIENTS, SIZE, OFFSET, FIRST_BLOCK, BLOCKS = range(6)
"""Columns of ``tensors``: addresses of weight and gradient, elements of a lane, where they begin
in a lane's state, and the blocks they are cut into."""


@dataclass(frozen=True, eq=False)
class KernelProgram:
    """A program lowered for the kernels; made by :func:`lower`.

    Parameters
    ----------
    program
        The compiled rule.
    instructions
        int32 [n, COLUMNS].
    parameters
        float64 [n]: β of an average, rate of a dropout, else 0.
    constants
        float32.
    betas
        β of each average with a bias correction, in the order of their places.
    output
        Operand of the update.
    tiles
        Scratch tiles that it needs.
    norms
        Instructions that clip by a norm, in order.
    noise
        Texts of the random nodes, in the order in which their noise is given.
    """

    program: Program
    instructions: npt.NDArray[np.int32]
    parameters: npt.NDArray[np.float64]
    constants: npt.NDArray[np.float32]
    betas: tuple[float, ...]
    output: int
    tiles: int
    norms: tuple[int, ...]
    noise: tuple[str, ...]

    @property
    def slots(self) -> int:
        """Tensors of state: state slots, then the momentum buffer if there is one."""
        return len(self.program.state_slots) + (self.program.momentum is not Momentum.NONE)

    @property
    def width(self) -> int:
        """Length of its row of numbers."""
        return HEAD + len(self.constants) + len(self.program.decays) + len(self.betas)

    @property
    def first_decay(self) -> int:
        """Place of its first decay in the row of numbers."""
        return HEAD + len(self.constants)


def why_not(program: Program) -> str | None:
    """Say why the kernels cannot run a program; None where they can.

    Examples
    --------
    >>> from evolute.compiler.program import compile_rule
    >>> from evolute.lang.rule import Rule
    >>> why_not(compile_rule(Rule.parse("momentum: ema(g, 0.9)")))
    """
    return unknown_function(program, OPCODES.__contains__, machine="the kernels for a GPU do")


def lower(program: Program) -> KernelProgram | None:
    """Lower a program for the kernels; None where :func:`why_not` has a reason.

    The same program gives the same object.

    Examples
    --------
    >>> from evolute.compiler.program import compile_rule
    >>> from evolute.lang.rule import Rule
    >>> lowered = lower(compile_rule(Rule.parse("none: sqrt(g)+sqrt(g)*w")))
    >>> lowered.instructions[:, [FIRST, SECOND, STORE]].tolist()
    [[1, 0, 0], [0, 2, -1], [1048576, 0, -1]]
    """
    return None if why_not(program) is not None else _lower(program)


@lru_cache(maxsize=4096)
def _lower(program: Program) -> KernelProgram:
    first_result = 2 + len(program.constants) + len(program.decays)
    places = _Places(program, first_result)
    betas: list[float] = []
    norms: list[int] = []
    noise: list[str] = []
    rows = np.full((len(program.instructions), COLUMNS), -1, dtype=np.int32)
    for at, each in enumerate(program.instructions):
        name = each.function.name
        row = rows[at]
        row[OPCODE] = OPCODES.index(name)
        row[FIRST], row[SECOND], row[STORE] = places.of(at, each)
        if each.slot is not None:
            row[SLOT] = each.slot
        if each.noise is not None:
            row[NOISE] = len(noise)
            noise.append(each.noise)
        if name == "ema":
            row[NUMBER] = HEAD + first_result - 2 + len(betas)
            betas.append(each.parameters[0])
        if name == "clip_norm":
            row[NUMBER] = len(norms)
            norms.append(at)
    with np.errstate(over="ignore"):  # what is too large for a float is infinite
        constants = np.array(program.constants, dtype=np.float64).astype(np.float32)
    parameters = [each.parameters[0] if each.parameters else 0.0 for each in program.instructions]
    return KernelProgram(
        program,
        rows,
        np.array(parameters, dtype=np.float64),
        constants,
        tuple(betas),
        places.operand(program.output, len(rows)),
        places.count,
        tuple(norms),
        tuple(noise),
    )


class _Places:
    """Gives every value that is read later a tile, from its instruction to its last reader."""

    def __init__(self, program: Program, first_result: int) -> None:
        self._first_result = first_result
        self._last: dict[int, int] = {}  # reader of each result, the update being the last
        for at, each in enumerate(program.instructions):
            for register in each.arguments:
                self._last[register] = at
        self._last[program.output] = len(program.instructions)
        self._tiles: dict[int, int] = {}
        self._free: list[int] = []
        self.count = 0

    def operand(self, register: int, at: int) -> int:
        """Return how the instruction at this place reads a register."""
        if register == GRADIENT:
            return OF_GRADIENT
        if register == WEIGHT:
            return OF_WEIGHT
        if register < self._first_result:
            return HEAD + register - 2
        if register == self._first_result + at - 1:
            return RUNNING
        return TILE + self._tiles[register]

    def of(self, at: int, instruction: Instruction) -> tuple[int, int, int]:
        """Return both operands of an instruction, and the tile for its value; −1 is none."""
        registers = instruction.arguments
        operands = [self.operand(each, at) for each in registers]
        for register in set(registers):
            if self._last[register] == at and register in self._tiles:
                self._free.append(self._tiles[register])
        second = operands[1] if len(operands) == 2 else RUNNING
        if self._last.get(instruction.target, 0) <= at + 1:
            return operands[0], second, -1
        if not self._free:
            self._free.append(self.count)
            self.count += 1
        tile = self._tiles[instruction.target] = self._free.pop()
        return operands[0], second, tile
