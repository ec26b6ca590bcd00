"""Dialect: how one library spells what formulas say."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache

from evolute.compiler.export.formula import substitute
from evolute.errors import InputError


@dataclass(frozen=True, eq=False)
class Dialect:
    """How a library spells the primitives and the constants of formulas.

    Parameters
    ----------
    library
        Its name, for messages.
    spelling
        Expression of each primitive, its arguments ``a``, ``b`` and ``c``.
    names
        Expression of ``epsilon`` and ``pi``.
    scalar
        A number ``a`` as a tensor without dimensions.
    filled
        A number ``a`` in every place of a tensor of the weight's shape.
    expanded
        A tensor ``a`` without dimensions in the weight's shape.
    modules
        Names that the file imports or defines.
    copy
        A tensor ``a`` that must not change when the weight or the gradient does.
    kept
        The value of a state ``a`` that is about to change.
    calls_take_numbers
        Whether functions of the library take plain numbers for tensors.
    read, store
        The state of a name: an expression of it, and a statement that sets it to ``value``; both
        with ``{name}`` in place of the name.
    """

    library: str
    spelling: Mapping[str, str]
    names: Mapping[str, str]
    scalar: str
    filled: str
    expanded: str
    modules: frozenset[str] = frozenset()
    copy: str = "a"
    kept: str = "a"
    calls_take_numbers: bool = True
    read: str = "{name}"
    store: str = ""

    def spell(self, formula: ast.expr) -> ast.expr:
        """Return a formula in the words of the library.

        Raises
        ------
        InputError
            If the library has no word for a primitive.
        """
        names = {name: _read(text) for name, text in self.names.items()}
        return substitute(_Speller(self).visit(deepcopy(formula)), names)

    def fill(self, template: str, value: ast.expr) -> ast.expr:
        """Return one of the templates of this dialect with its ``a`` replaced."""
        return substitute(_read(template), {"a": value})


class _Speller(ast.NodeTransformer):
    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def visit_Call(self, node: ast.Call) -> ast.expr:
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        if name not in self.dialect.spelling:
            raise InputError(
                f"{self.dialect.library} has no function {name}, which the rule needs: export it "
                "to torch"
            )
        arguments = [self.visit(argument) for argument in node.args]
        return substitute(
            _read(self.dialect.spelling[name]), dict(zip("abc", arguments, strict=False))
        )


@cache
def _read(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body
