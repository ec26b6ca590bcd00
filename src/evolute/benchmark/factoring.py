"""A decay that multiplies the whole update, split off as a schedule that works with any optimizer.

Pure rewriting, to rounding: decays move outwards through functions that a factor passes::

    f([d]·x) = [d]·f(x)           minus, identity
    [a]·x · [b]·y = [a·b]·(x·y)   product
    ([d]·x)/y = [d]·(x/y)         every division, from the dividend
    [d]·x ± [d]·y = [d]·(x ± y)   sum, difference, mixture and clip, what both sides share
    |[d]·x| = [|d|]·|x|, √|[d]·x| = [√|d|]·√|x|
    max([d]·x, [d]·y) = [d]·max(x, y)  where d is never negative; so of min, max0 and min0

What has passed every function on its way stands before the whole update: a schedule.
"""

from __future__ import annotations

from dataclasses import replace

from evolute.lang.curve import curve
from evolute.lang.expression import Call, Expression, Scaled
from evolute.lang.rule import Rule
from evolute.lang.text import print_expression

CHECKED_STEPS = 100
"""Steps over which a decay is looked at to call it never negative, as the published check does."""

_THROUGH_FIRST = frozenset({"div", "quotient", "div_hypot"})
_THROUGH_BOTH = frozenset({"add", "sub", "mix", "clip"})
_THROUGH_IF_POSITIVE = frozenset({"max", "min", "max0", "min0"})
_THROUGH_CHANGED = frozenset({"abs", "sqrt"})
_THROUGH = frozenset({"neg", "identity"})


def split_schedule(rule: Rule) -> Rule:
    """Return the same rule with every decay that multiplies its whole update in its schedule.

    Parameters
    ----------
    rule
        The rule.

    Returns
    -------
    Rule
        It does the same to rounding; its ``schedule`` can be laid over any optimizer.

    Examples
    --------
    >>> print(split_schedule(Rule.parse("none: [a1]*g + v*[a1*a2]/sqrt(s)")))
    none: [a1]*(g+[a2]*(v/sqrt(s)))
    """
    factors, rest = _split(rule.update)
    schedule = _product([*([] if rule.schedule is None else [rule.schedule]), *factors])
    return replace(rule, update=rest, schedule=schedule)


def _split(node: Expression) -> tuple[list[Expression], Expression]:
    """Split an expression into the factors that multiply all of it, and the rest."""
    match node:
        case Scaled(decay, value):
            factors, rest = _split(value)
            return [*_factors(decay), *factors], rest
        case Call(function, (argument,), parameters) if function in _THROUGH:
            factors, rest = _split(argument)
            return factors, Call(function, (rest,), parameters)
        case Call(function, (argument,), _) if function in _THROUGH_CHANGED:
            factors, rest = _split(argument)
            return [Call(function, (factor,)) for factor in factors], Call(function, (rest,))
        case Call("mul", (left, right), _):
            (first, left), (second, right) = _split(left), _split(right)
            return [*first, *second], Call("mul", (left, right))
        case Call(function, (left, right), _) if function in _THROUGH_FIRST:
            factors, rest = _split(left)
            return factors, Call(function, (rest, right))
        case Call(function, (left, right), _) if function in _THROUGH_BOTH:
            return _shared(function, left, right, positive=False)
        case Call(function, (left, right), _) if function in _THROUGH_IF_POSITIVE:
            return _shared(function, left, right, positive=True)
        case Call(function, (argument,), _) if function in _THROUGH_IF_POSITIVE:
            factors, rest = _split(argument)
            moved = [factor for factor in factors if _never_negative(factor)]
            kept = [factor for factor in factors if factor not in moved]
            return moved, Call(function, (_scaled(kept, rest),))
        case _:
            return [], node


def _shared(
    function: str, left: Expression, right: Expression, *, positive: bool
) -> tuple[list[Expression], Expression]:
    """Split off the factors that both arguments have; each keeps what is its own."""
    (mine, left), (theirs, right) = _split(left), _split(right)
    shared = []
    for factor in list(mine):
        if factor in theirs and (not positive or _never_negative(factor)):
            mine.remove(factor)
            theirs.remove(factor)
            shared.append(factor)
    return shared, Call(function, (_scaled(mine, left), _scaled(theirs, right)))


def _factors(decay: Expression) -> list[Expression]:
    """Return the factors of the product that a decay is."""
    match decay:
        case Call("mul", (left, right), _):
            return [*_factors(left), *_factors(right)]
        case _:
            return [decay]


def _product(factors: list[Expression]) -> Expression | None:
    """Return the product of factors in the order of their texts; None of none."""
    if not factors:
        return None
    first, *others = sorted(factors, key=print_expression)
    for other in others:
        first = Call("mul", (first, other))
    return first


def _scaled(factors: list[Expression], value: Expression) -> Expression:
    decay = _product(factors)
    return value if decay is None else Scaled(decay, value)


def _never_negative(decay: Expression) -> bool:
    return bool((curve(decay, CHECKED_STEPS) >= 0).all())
