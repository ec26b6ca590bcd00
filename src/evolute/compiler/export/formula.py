"""Formulas: what the rows of the tables compute, as syntax trees of Python expressions.

They are read with ``ast`` and a whitelist, rewritten and printed; nothing is ever executed.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from copy import deepcopy
from functools import cache

from evolute.errors import InputError, did_you_mean, shorten

PRIMITIVES: Mapping[str, int] = {
    "abs": 1,
    "add_scaled": 3,
    "arcsinh": 1,
    "arctan": 1,
    "at_least": 2,
    "at_most": 2,
    "bias_correction": 2,
    "cos": 1,
    "erf": 1,
    "erfc": 1,
    "exp": 1,
    "i1e": 1,
    "log": 1,
    "logaddexp": 2,
    "maximum": 2,
    "minimum": 2,
    "norm": 1,
    "remainder": 2,
    "sigmoid": 1,
    "sign": 1,
    "sqrt": 1,
    "square": 1,
    "tanh": 1,
    "where": 3,
    "zeros_like": 1,
}
"""Functions that a formula may call, with their number of arguments; each target spells them.

``add_scaled(x, y, c)`` is x + c·y, ``bias_correction(beta, step)`` is 1 − β^(t+1), ``norm`` the L2
norm over one weight tensor."""

_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)
_ALLOWED = (
    "write one expression of its arguments with + - * / **, >=, numbers and the functions "
    + ", ".join(sorted(PRIMITIVES))
)


@cache
def read_formula(text: str, names: frozenset[str]) -> ast.expr:
    """Read a formula of these names.

    Raises
    ------
    InputError
        If it is no expression, or uses what a formula may not.

    Examples
    --------
    >>> ast.unparse(read_formula("x/(1 + abs(x))", frozenset("x")))
    'x / (1 + abs(x))'
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"the formula {shorten(text)!r} is no expression: {_ALLOWED}") from None
    _check(tree, text, names)
    return tree


def _check(node: ast.expr, text: str, names: frozenset[str]) -> None:
    match node:
        case ast.Constant(int() | float()):
            parts: Collection[ast.expr] = ()
        case ast.Name(name):
            if name not in names:
                raise InputError(
                    f"the formula {shorten(text)!r} reads {name!r}: {did_you_mean(name, names)}"
                )
            parts = ()
        case ast.BinOp(left, operator, right) if isinstance(operator, _OPERATORS):
            parts = (left, right)
        case ast.Compare(left, [ast.GtE()], [right]):
            parts = (left, right)
        case ast.UnaryOp(ast.USub(), operand):
            parts = (operand,)
        case ast.Call(ast.Name(name), arguments, []) if PRIMITIVES.get(name) == len(arguments):
            parts = arguments
        case _:
            found = shorten(ast.unparse(node), limit=40)
            raise InputError(f"the formula {shorten(text)!r} has {found!r}: {_ALLOWED}")
    for part in parts:
        _check(part, text, names)


def substitute(formula: ast.expr, values: Mapping[str, ast.expr]) -> ast.expr:
    """Return the formula with these names replaced, and the calls' names left as they are."""
    return _Substitution(values).visit(deepcopy(formula))  # type: ignore[no-any-return]


class _Substitution(ast.NodeTransformer):
    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self.values = values

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Attribute):
            node.func.value = self.visit(node.func.value)
        node.args = [self.visit(argument) for argument in node.args]
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return deepcopy(self.values[node.id]) if node.id in self.values else node


def occurrences(formula: ast.expr, name: str) -> int:
    """Count how often a formula reads a name."""
    return sum(isinstance(node, ast.Name) and node.id == name for node in ast.walk(formula))


def may_be_minus_zero(formula: ast.expr, names: Collection[str]) -> bool:
    """Say whether a value may be a zero with a minus sign, given the names that may be one.

    Rounded to nearest, a sum is −0 only where both parts are, a difference only where its first is.
    """
    match formula:
        case ast.Name(name):
            return name in names
        case ast.Constant() | ast.Call(ast.Name("abs" | "exp" | "norm" | "sigmoid" | "square"), _):
            return False
        case ast.BinOp(left, ast.Add(), right):
            return may_be_minus_zero(left, names) and may_be_minus_zero(right, names)
        case ast.BinOp(left, ast.Sub(), _) | ast.Call(ast.Name("sqrt"), [left]):
            return may_be_minus_zero(left, names)
        case _:
            return True


def without_zero(formula: ast.expr, names: Collection[str]) -> ast.expr:
    """Return the formula with ``x + 0.0`` written ``x`` where x is never −0.

    ``names`` are those that may be.
    """
    return _ZeroRemoval(names).visit(deepcopy(formula))  # type: ignore[no-any-return]


class _ZeroRemoval(ast.NodeTransformer):
    def __init__(self, names: Collection[str]) -> None:
        self.names = names

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.BinOp(left, ast.Add(), ast.Constant(0.0)) if not may_be_minus_zero(
                left, self.names
            ):
                return left
            case _:
                return node


def takes_number(formula: ast.expr, name: str, tensors: Collection[str]) -> bool:
    """Say whether a plain number may stand for a name: it only ever meets a tensor by + - * /.

    A number on the left of a division may not: torch takes the reciprocal of the tensor there, and
    rounds twice.
    """
    if isinstance(formula, ast.Name):
        return formula.id != name
    for node in ast.walk(formula):
        for child in ast.iter_child_nodes(node):
            if (
                isinstance(child, ast.Name)
                and child.id == name
                and not _meets(node, child, tensors)
            ):
                return False
    return True


def _meets(parent: ast.AST, child: ast.Name, tensors: Collection[str]) -> bool:
    match parent:
        case ast.BinOp(left, ast.Add() | ast.Sub() | ast.Mult(), right):
            other = right if left is child else left
        case ast.BinOp(left, ast.Div(), right) if right is child:
            other = left
        case _:
            return False
    return any(isinstance(node, ast.Name) and node.id in tensors for node in ast.walk(other))
