r"""The registries that every other part of the language reads: operands, functions, base decays.

One row per operation. A user adds a row with one decorated definition in a file of their own; from
then on it takes part in parsing, printing, LaTeX, search and compilation::

    import evolute

    @evolute.function(latex=r"\left({0}\right)^3")
    def cube(x):
        return x * x * x

    @evolute.operand(latex=r"g_t - g_{t-1}")
    def g_change():
        return "g - previous(g)"

    @evolute.base_decay(latex=r"(1 - t/T)^2")
    def a15(t, total_steps):
        return (1 - t / total_steps) ** 2
"""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from evolute.errors import InputError, UnknownNameError

MAX_NAME_LENGTH = 40
"""Longest name of a row, so that the text of every rule within the limits can be read back."""


class Kind(StrEnum):
    """What a function needs beside the values of its arguments at one weight and one step.

    Attributes
    ----------
    ELEMENTWISE
        Nothing. Called as ``compute(x, *parameters)`` or ``compute(x, y)``.
    PER_TENSOR
        All values of one weight tensor. Called as ``compute(x, *parameters, dims=…)`` with the
        dimensions that belong to one tensor (all of them, or all but a leading lane axis).
    STATEFUL
        Its own state, zero before the first step. Called as
        ``compute(x, *parameters, state=…, step=…)``; returns (value, new state).
    RANDOM
        Noise. Called as ``compute(x, *parameters, uniform=…)``, fresh uniform numbers in [0, 1).
    """

    ELEMENTWISE = "elementwise"
    PER_TENSOR = "per tensor"
    STATEFUL = "stateful"
    RANDOM = "random"


class Parity(StrEnum):
    """How a function answers a change of sign of its argument: f(−x) = −f(x), or f(−x) = f(x)."""

    ODD = "odd"
    EVEN = "even"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number written in a call after the arguments, such as the β of an average.

    Parameters
    ----------
    name
        As the equation calls it.
    lower, upper
        Allowed range: lower ≤ value < upper.
    """

    name: str
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Operand:
    """One row of the operand table: a per-weight value that rules read.

    Parameters
    ----------
    name
        As written in a rule.
    latex
        As printed in a paper.
    definition
        Text in the language that says the same with more primitive operands; None for the two
        primitives, the gradient ``g`` and the weight ``w``.
    published
        Spelling in the authors' search log, None where it has none.
    searched
        Whether the default search draws it.
    """

    name: str
    latex: str
    definition: str | None = None
    published: str | None = None
    searched: bool = True


@dataclass(frozen=True, slots=True)
class Function:
    """One row of the function table.

    Parameters
    ----------
    name
        As written in a rule.
    arity
        Number of arguments: 1 or 2.
    latex
        Template of the printed equation, ``{0}`` and ``{1}`` the arguments, then the parameters.
    compute
        The function on torch tensors, called as :class:`Kind` says. Any float dtype.
    kind
        What it needs beside its arguments.
    parameters
        Numbers that follow the arguments.
    searched
        Parameter sets that the default search draws in an update; empty: never drawn.
    searched_in_decay
        Whether the default search draws it in a decay function.
    published
        Template of the spelling in the authors' log, as ``latex``; None where it has none.
    published_in_decay
        The same inside a decay, where it differs.
    infix
        Operator that prints it, such as ``+``; None prints a call.
    commutative
        f(x, y) = f(y, x).
    idempotent
        f(f(x)) = f(x); of a function of two arguments, f(x, x) = x.
    parity, second_parity
        Answer to a change of sign of the first argument, of the second. These four hold to the
        bit, but for the sign of a zero, which no function may tell; rules are rewritten by them.
    sign
        Sign of the value (−1, 0 or 1) from the signs of the arguments, in real arithmetic; None
        where these do not tell it. By it, updates that nothing can change are found.
    formula
        What ``compute`` computes, as a Python expression that :mod:`evolute.compiler.export` writes
        into files: of ``x``, ``y``, the parameters' names and ``epsilon``, and ``step``, ``state``
        and ``new`` (the new state) or ``uniform`` where its kind has them. It calls the functions
        of :data:`evolute.compiler.export.formula.PRIMITIVES`. None: rules with it stay here.
    new_state
        The same for the new state of a stateful function.
    noun
        What its value is called in such a file, its name where this is empty.
    """

    name: str
    arity: int
    latex: str
    compute: Callable[..., object]
    kind: Kind = Kind.ELEMENTWISE
    parameters: tuple[Parameter, ...] = ()
    searched: tuple[tuple[float, ...], ...] = ((),)
    searched_in_decay: bool = False
    published: str | None = None
    published_in_decay: str | None = None
    infix: str | None = None
    commutative: bool = False
    idempotent: bool = False
    parity: Parity | None = None
    second_parity: Parity | None = None
    sign: Callable[..., int] | None = None
    formula: str | None = None
    new_state: str | None = None
    noun: str = ""


@dataclass(frozen=True, slots=True)
class BaseDecay:
    """One row of the table of base decays: a schedule of t and T only.

    Parameters
    ----------
    name
        As written in a rule.
    latex
        As printed in a paper.
    compute
        ``compute(t, total_steps)`` with t a float64 tensor of steps 0 ≤ t < T; returns its values.
    searched
        Whether the default search draws it.
    formula
        As that of a :class:`Function`, of ``t``, ``total_steps`` and ``pi``.
    """

    name: str
    latex: str
    compute: Callable[[Tensor, int], Tensor]
    searched: bool = True
    formula: str | None = None


class _Row(Protocol):
    @property
    def name(self) -> str: ...


RowT = TypeVar("RowT", bound=_Row)


class Registry(Mapping[str, RowT], Generic[RowT]):
    """Rows by name, in the order of their definition; an unknown name says the nearest ones.

    Rows are only ever added; a name once given keeps its meaning for the life of the process.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._rows: dict[str, RowT] = {}

    def add(self, row: RowT) -> RowT:
        """Add a row.

        Raises
        ------
        InputError
            If the name is taken, too long, or no identifier (the constants ``1`` and ``2``
            excepted).
        """
        if row.name in self._rows:
            raise InputError(
                f"the {self.kind} {row.name!r} is already defined: choose another name"
            )
        # Python reads identifiers in the normal form NFKC: another spelling would never be found.
        normal = unicodedata.normalize("NFKC", row.name) == row.name
        readable = row.name in ("1", "2") or (row.name.isidentifier() and normal)
        if not readable or keyword.iskeyword(row.name) or len(row.name) > MAX_NAME_LENGTH:
            raise InputError(
                f"{row.name!r} cannot name a {self.kind}: use a Python identifier of at most "
                f"{MAX_NAME_LENGTH} characters"
            )
        self._rows[row.name] = row
        return row

    def __getitem__(self, name: str) -> RowT:
        try:
            return self._rows[name]
        except KeyError:
            raise UnknownNameError(self.kind, name, self._rows) from None

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


OPERANDS: Registry[Operand] = Registry("operand")
FUNCTIONS: Registry[Function] = Registry("function")
BASE_DECAYS: Registry[BaseDecay] = Registry("base decay")
