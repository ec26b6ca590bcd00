"""Expansion: an expression with every operand but ``g`` and ``w`` replaced by its meaning."""

from __future__ import annotations

from functools import cache

from evolute.lang.expression import Expression, OperandRef, rebuild
from evolute.lang.registry import OPERANDS
from evolute.lang.text import parse_expression


def expand(expression: Expression) -> Expression:
    """Replace every operand that has a definition by that definition, recursively.

    Parameters
    ----------
    expression
        Of either sort; a schedule reads no operand and comes back as it is.

    Returns
    -------
    Expression
        Equal at every step; its only operands are ``g`` and ``w``. A definition reads only operands
        that were there before it, so none leads back to itself.

    Examples
    --------
    >>> from evolute.lang.text import print_expression
    >>> print_expression(expand(OperandRef("s")))
    'ema(g*g, 0.99)'
    """
    return rebuild(expression, _expand_node)


def _expand_node(node: Expression) -> Expression:
    return _meaning(node.name) if isinstance(node, OperandRef) else node


@cache  # rows are only ever added, so a meaning never changes
def _meaning(name: str) -> Expression:
    definition = OPERANDS[name].definition
    return OperandRef(name) if definition is None else expand(parse_expression(definition))
