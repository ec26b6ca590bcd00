"""Hypothesis strategies for random decays, expressions and rules, shared by all tests.

They draw from the rows that the package itself defines: the tables are read once, on import, so
that what one test registers does not change the examples of another.
"""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from evolute.lang.curve import curve
from evolute.lang.expression import Call, Constant, DecayRef, Expression, Scaled, read_operand
from evolute.lang.registry import BASE_DECAYS, FUNCTIONS, OPERANDS, Function, Kind
from evolute.lang.rule import Momentum, Rule

_FUNCTIONS = tuple(FUNCTIONS.values())
_OPERANDS = tuple(OPERANDS)
_BASE_DECAYS = tuple(BASE_DECAYS)
_NUMBERS = (0.0, 1.0, -1.0, 2.0, 0.5, -0.25, 1e-8, 3.0, 0.1, -1e300, 1 / 3)
_PUBLISHED_MOMENTA = (Momentum.NONE, Momentum.MOMENTUM, Momentum.NESTEROV_PUBLISHED)


def numbers() -> st.SearchStrategy[float]:
    """Finite numbers, the telling ones often."""
    return st.sampled_from(_NUMBERS) | st.floats(allow_nan=False, allow_infinity=False)


def base_decays() -> st.SearchStrategy[Expression]:
    """A base decay."""
    return st.sampled_from(_BASE_DECAYS).map(DecayRef)


def operand_leaves() -> st.SearchStrategy[Expression]:
    """An operand; constants where it is one."""
    return st.sampled_from(_OPERANDS).map(read_operand)


@st.composite
def _parameters(draw: st.DrawFn, row: Function) -> tuple[float, ...]:
    """Parameters of a call: those that the search draws, or any in range."""
    if row.searched and row.searched != ((),) and draw(st.booleans()):
        return draw(st.sampled_from(row.searched))
    return tuple(
        draw(st.floats(parameter.lower, parameter.upper, exclude_max=True))
        for parameter in row.parameters
    )


def calls(
    rows: tuple[Function, ...], arguments: st.SearchStrategy[Expression]
) -> st.SearchStrategy[Expression]:
    """A call of one of the rows on arguments."""

    @st.composite
    def build(draw: st.DrawFn) -> Expression:
        row = draw(st.sampled_from(rows))
        parts = tuple(draw(arguments) for _ in range(row.arity))
        return Call(row.name, parts, draw(_parameters(row)))

    return build()


def schedules(*, max_leaves: int = 6) -> st.SearchStrategy[Expression]:
    """Any expression of sort schedule, its values wherever they fall."""
    elementwise = tuple(row for row in _FUNCTIONS if row.kind is Kind.ELEMENTWISE)
    leaves = base_decays() | numbers().map(Constant)
    return st.recursive(leaves, lambda inner: calls(elementwise, inner), max_leaves=max_leaves)


def decays(*, max_leaves: int = 3) -> st.SearchStrategy[Expression]:
    """A decay function as a search may draw it: its values at T = 100 lie in [0, 1]."""
    drawn = tuple(row for row in _FUNCTIONS if row.searched_in_decay)
    some = st.recursive(base_decays(), lambda inner: calls(drawn, inner), max_leaves=max_leaves)
    return some.filter(_stays_in_range)


def _stays_in_range(decay: Expression) -> bool:
    values = curve(decay, 100)
    return bool(torch.isfinite(values).all() and (values >= 0).all() and (values <= 1).all())


def expressions(
    *,
    decays: st.SearchStrategy[Expression] | None = None,
    leaves: st.SearchStrategy[Expression] | None = None,
    rows: tuple[Function, ...] = _FUNCTIONS,
    max_leaves: int = 8,
) -> st.SearchStrategy[Expression]:
    """Any tensor expression; ``decays`` gives what stands in its brackets."""
    brackets = schedules(max_leaves=3) if decays is None else decays
    atoms = operand_leaves() | numbers().map(Constant) if leaves is None else leaves
    return st.recursive(
        atoms,
        lambda inner: calls(rows, inner) | st.builds(Scaled, brackets, inner),
        max_leaves=max_leaves,
    )


def rules(
    *,
    decays: st.SearchStrategy[Expression] | None = None,
    rows: tuple[Function, ...] = _FUNCTIONS,
    max_leaves: int = 8,
) -> st.SearchStrategy[Rule]:
    """Any rule; ``decays`` gives what stands in its brackets and its schedule."""
    return st.builds(
        Rule,
        expressions(decays=decays, rows=rows, max_leaves=max_leaves),
        st.sampled_from(Momentum),
        st.sampled_from((1, -1)),
        st.none() | (schedules(max_leaves=3) if decays is None else decays),
    )


def searched_rules(*, max_leaves: int = 6) -> st.SearchStrategy[Rule]:
    """A rule of the published space: searched rows and valid decays only."""
    drawn = tuple(row for row in _FUNCTIONS if row.searched)
    searched = [name for name in _OPERANDS if OPERANDS[name].searched]
    leaves = st.sampled_from(searched).map(read_operand)
    brackets = decays()

    @st.composite
    def call(draw: st.DrawFn, inner: st.SearchStrategy[Expression]) -> Expression:
        row = draw(st.sampled_from(drawn))
        parts = tuple(draw(inner) for _ in range(row.arity))
        return Call(row.name, parts, draw(st.sampled_from(row.searched)))

    updates = st.recursive(
        leaves,
        lambda inner: call(inner) | st.builds(Scaled, brackets, inner),
        max_leaves=max_leaves,
    )
    return st.builds(Rule, updates, st.sampled_from(_PUBLISHED_MOMENTA))
