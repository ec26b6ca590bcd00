"""Expressions: the trees that updates and decay functions are made of.

Two sorts. A *tensor* expression has a value per weight: :class:`OperandRef`, :class:`Constant`,
:class:`Call`, :class:`Scaled`. A *schedule* has one value per step: :class:`DecayRef`,
:class:`Constant`, and :class:`Call` of element-wise functions. ``Scaled`` joins them.

Equal expressions inside one rule are one node: they share their state and their noise. Zero has no
sign here: no function of the language tells −0 from 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import is_

from evolute.errors import InputError
from evolute.lang.registry import BASE_DECAYS, FUNCTIONS, OPERANDS, Kind


@dataclass(frozen=True, slots=True)
class Constant:
    """A finite number; −0 is read as 0."""

    value: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise InputError(f"a constant must be finite, got {self.value}")
        object.__setattr__(self, "value", float(self.value) + 0.0)


@dataclass(frozen=True, slots=True)
class OperandRef:
    """A per-weight value by its name in the operand table.

    The operands ``1`` and ``2`` are constants and read as such: :func:`read_operand` tells.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name.isdigit():
            raise InputError(
                f"the operand {self.name!r} is a constant: use read_operand({self.name!r}), which "
                "gives Constant where the operand is one"
            )
        OPERANDS[self.name]


@dataclass(frozen=True, slots=True)
class DecayRef:
    """A base decay by its name in the table of base decays."""

    name: str

    def __post_init__(self) -> None:
        BASE_DECAYS[self.name]


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the function table applied to its arguments."""

    function: str
    arguments: tuple[Expression, ...]
    parameters: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        row = FUNCTIONS[self.function]
        if len(self.arguments) != row.arity or len(self.parameters) != len(row.parameters):
            raise InputError(
                f"{self.function} takes {describe_arguments(self.function)}, got "
                f"{len(self.arguments)} arguments and {len(self.parameters)} parameters"
            )
        for parameter, value in zip(row.parameters, self.parameters, strict=True):
            if not parameter.lower <= value < parameter.upper:
                raise InputError(
                    f"the {parameter.name} of {self.function} is {value:g}: it must be at least "
                    f"{parameter.lower:g} and less than {parameter.upper:g}"
                )


@dataclass(frozen=True, slots=True)
class Scaled:
    """A tensor expression times a decay function, written ``[decay]*value``."""

    decay: Expression
    value: Expression


Expression = Constant | OperandRef | DecayRef | Call | Scaled


def read_operand(name: str) -> OperandRef | Constant:
    """Return the leaf that reads an operand of the table: a constant for ``1`` and ``2``.

    Raises
    ------
    UnknownNameError
        If no operand has this name.

    Examples
    --------
    >>> read_operand("2"), read_operand("v")
    (Constant(value=2.0), OperandRef(name='v'))
    """
    return Constant(float(OPERANDS[name].name)) if name.isdigit() else OperandRef(name)


def describe_arguments(function: str) -> str:
    """Say what a function takes: ``1 argument and the parameter beta``."""
    row = FUNCTIONS[function]
    arguments = f"{row.arity} argument{'s' if row.arity > 1 else ''}"
    if not row.parameters:
        return arguments
    names = ", ".join(parameter.name for parameter in row.parameters)
    return f"{arguments} and the parameter{'s' if len(row.parameters) > 1 else ''} {names}"


def children(expression: Expression) -> tuple[Expression, ...]:
    """Return the direct parts of an expression, a decay before the value it scales."""
    match expression:
        case Call(_, arguments, _):
            return arguments
        case Scaled(decay, value):
            return (decay, value)
        case _:
            return ()


def walk(expression: Expression) -> Iterator[Expression]:
    """Yield an expression and all its parts, parents first."""
    stack = [expression]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


def rebuild(expression: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """Return the expression with ``change`` applied to every node, children first."""
    match expression:
        case Call(function, arguments, parameters):
            parts = tuple([rebuild(argument, change) for argument in arguments])
            same = all(map(is_, parts, arguments))  # not equality, for which -0.0 is 0.0
            return change(expression if same else Call(function, parts, parameters))
        case Scaled(decay, value):
            return change(Scaled(rebuild(decay, change), rebuild(value, change)))
        case _:
            return change(expression)


def require_schedule(expression: Expression) -> None:
    """Raise InputError unless every part of the expression is a function of t and T only."""
    for node in walk(expression):
        match node:
            case OperandRef(name):
                raise InputError(
                    f"the operand {name!r} cannot stand in a decay function: a decay "
                    "depends on the step only, use base decays such as a3"
                )
            case Scaled():
                raise InputError("a decay function cannot carry a decay: write [a*b] for a product")
            case Call(function, _, _) if FUNCTIONS[function].kind is not Kind.ELEMENTWISE:
                raise InputError(
                    f"{function} cannot stand in a decay function: only element-wise functions can"
                )
            case _:
                pass


def require_tensor(expression: Expression) -> None:
    """Raise InputError unless the expression is per-weight, its brackets holding schedules."""
    match expression:
        case DecayRef(name):
            raise InputError(f"the base decay {name!r} stands outside brackets: write [{name}]*x")
        case Scaled(decay, value):
            require_schedule(decay)
            require_tensor(value)
        case Call(_, arguments, _):
            for argument in arguments:
                require_tensor(argument)
        case _:
            pass
