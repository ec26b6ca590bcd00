"""What an expression's value really depends on: found by its form, without computing anything.

An abstract interpretation (Cousot and Cousot, 1977) over signs: each expression has a set of signs
that its values can have. Where that is {0}, the value is 0 whatever it reads: x − x, 0·x, min0(eˣ).
It speaks of real numbers: that eˣ underflows to 0, or 0·∞ is NaN, is left to the integrity check.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from evolute.lang.expand import expand
from evolute.lang.expression import Call, Constant, Expression, OperandRef, children
from evolute.lang.registry import FUNCTIONS
from evolute.lang.simplify import simplify

_ZERO, _ANY = frozenset({0}), frozenset({-1, 0, 1})


def dependencies(update: Expression) -> frozenset[str]:
    """Return which of the primitive operands ``g`` and ``w`` can change an update.

    Examples
    --------
    >>> from evolute.lang.text import parse_expression
    >>> dependencies(parse_expression("w + sign(exp(g)) + 0*g"))
    frozenset({'w'})
    """
    return _value(expand(simplify(update))).reads  # simplified, so that g*v - v*g is x − x


@dataclass(frozen=True, slots=True)
class _Value:
    """Signs that the values of an expression can have, and the operands that can change them."""

    signs: frozenset[int]
    reads: frozenset[str]


def _value(expression: Expression) -> _Value:
    match expression:
        case Constant(value):
            return _Value(frozenset({(value > 0) - (value < 0)}), frozenset())
        case OperandRef(name):
            return _Value(_ANY, frozenset({name}))
    parts = [_value(part) for part in children(expression)]
    signs = _signs(expression, parts)
    if signs == _ZERO or _is_one_number(expression, parts):
        return _Value(signs, frozenset())
    return _Value(signs, frozenset().union(*(part.reads for part in parts)))


def _signs(expression: Expression, parts: list[_Value]) -> frozenset[int]:
    match expression:
        case Call("sub", (left, right), _) if left == right:
            return _ZERO
        case Call(function, _, _):
            sign = FUNCTIONS[function].sign
            given = itertools.product(*(part.signs for part in parts))
            return _ANY if sign is None else frozenset(itertools.starmap(sign, given))
        case _:
            return _ZERO if _ZERO in [part.signs for part in parts] else _ANY


def _is_one_number(expression: Expression, parts: list[_Value]) -> bool:
    """Whether a call is the same number for all signs that its arguments can have."""
    match expression:
        case Call("sign", _, _):
            return len(parts[0].signs) == 1
        case Call("quotient", (above, below), _):
            return above == below and 0 not in parts[1].signs
        case _:
            return False
