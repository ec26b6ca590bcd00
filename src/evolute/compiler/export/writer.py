"""Writer: straight-line Python statements, one operation inside another while a line stays short.

It knows terms and formulas only; what is computed comes from ``update.py`` and ``decays.py``.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from evolute.compiler.export.dialect import Dialect
from evolute.compiler.export.formula import (
    may_be_minus_zero,
    occurrences,
    substitute,
    takes_number,
    without_zero,
)

LINE_LENGTH = 100
"""Longest line of a file written."""

MAX_EXPRESSION = 60
"""Longest expression into which others are written."""

MAX_NAME = 26
"""Longest name that is made of others."""

MIN_SHARED = 16
"""Shortest part of one expression that gets a name because it stands there twice."""


@dataclass(frozen=True, slots=True)
class Term:
    """A value in the file being written.

    Parameters
    ----------
    tree
        The expression that reads or computes it.
    noun
        What to call it, empty where nothing is known but the operation that uses it.
    is_number
        Whether it is a plain number of Python and no tensor.
    is_shapeless
        Whether it is one value for all weights.
    may_be_minus_zero
        Whether one of its values may be a zero with a minus sign.
    """

    tree: ast.expr
    noun: str = ""
    is_number: bool = False
    is_shapeless: bool = False
    may_be_minus_zero: bool = True

    @property
    def is_simple(self) -> bool:
        """Whether reading it twice costs nothing."""
        match self.tree:
            case ast.Name() | ast.Constant() | ast.UnaryOp(ast.USub(), ast.Constant()):
                return True
            case _:
                return False


def number(value: float) -> Term:
    """Return a number as a term.

    >>> ast.unparse(number(-0.5).tree)
    '-0.5'
    """
    tree: ast.expr = ast.Constant(abs(value))
    if value < 0:
        tree = ast.UnaryOp(ast.USub(), tree)
    return Term(tree, is_number=True, is_shapeless=True, may_be_minus_zero=False)


def text_of(tree: ast.expr) -> str:
    """Return the source text of an expression as ruff formats it.

    >>> text_of(ast.parse("state['x'] * 1e+30", mode="eval").body)
    'state["x"] * 1e30'
    """
    return re.sub(r"(?<=\de)\+(?=\d)", "", ast.unparse(tree).replace("'", '"'))


@dataclass
class Writer:
    """Collects the statements of one function's body.

    Parameters
    ----------
    dialect
        The library's spelling.
    taken
        Names that have a meaning in the function already.
    indent
        Depth of the statements, in spaces.
    lines
        What was written, without the indentation.
    """

    dialect: Dialect
    taken: set[str]
    indent: int = 8
    lines: list[str] = field(default_factory=list)

    def name(self, wanted: str) -> str:
        """Return a name that has no meaning yet: the one wanted, or one like it."""
        candidate, count = wanted, 1
        while (
            candidate in self.taken or keyword.iskeyword(candidate) or hasattr(builtins, candidate)
        ):
            count += 1
            candidate = f"{wanted}_{count}"
        self.taken.add(candidate)
        return candidate

    def assign(self, term: Term, *, wanted: str = "") -> Term:
        """Write ``name = term`` and return the term of that name."""
        name = self.name(wanted or term.noun or "value")
        self.statement(f"{name} = ", term.tree)
        return replace(term, tree=ast.Name(name), noun=name)

    def statement(self, head: str, tree: ast.expr, tail: str = "") -> None:
        """Write a statement; parts that stand in it twice, or make it too long, come before it."""
        room = LINE_LENGTH - self.indent - len(head) - len(tail)
        while (part := _part_to_name(tree, room)) is not None:
            name = self.name("part")
            self.statement(f"{name} = ", part)
            tree = _with_name(tree, part, name)
        self.lines.append(f"{head}{text_of(tree)}{tail}")

    def text(self, wanted: str, value: str) -> str:
        """Write ``name = "value"``, in pieces where it is long; return the name."""
        name = self.name(wanted)
        room = LINE_LENGTH - self.indent - 6
        if len(f'{name} = "{value}"') <= room + 6:
            self.lines.append(f'{name} = "{value}"')
            return name
        size = len(value) if len(value) <= room else room
        pieces = [value[at : at + size] for at in range(0, len(value), size)]
        self.lines += [f"{name} = (", *(f'    "{piece}"' for piece in pieces), ")"]
        return name

    def combine(
        self, formula: ast.expr, terms: Mapping[str, Term], fixed: Mapping[str, ast.expr]
    ) -> ast.expr:
        """Return the expression of a formula of terms, in the library's spelling.

        Parameters
        ----------
        formula
            In the primitives.
        terms
            Its arguments by name.
        fixed
            Its other names: numbers, and expressions that are tensors.
        """
        formula = without_zero(formula, _with_minus_zero(terms, fixed))
        fitting = self._as_tensors(formula, terms, fixed)
        for name, term in fitting.items():
            if occurrences(formula, name) > 1 and not term.is_simple:
                fitting[name] = self.assign(term)
        spelled = self.dialect.spell(formula)
        while True:
            tree = substitute(
                spelled, {**fixed, **{name: term.tree for name, term in fitting.items()}}
            )
            compound = {name: term for name, term in fitting.items() if not term.is_simple}
            if len(ast.unparse(tree)) <= MAX_EXPRESSION or not compound:
                return tree
            longest = max(compound, key=lambda name: len(ast.unparse(compound[name].tree)))
            fitting[longest] = self.assign(fitting[longest])

    def term(
        self,
        formula: ast.expr,
        terms: Mapping[str, Term],
        fixed: Mapping[str, ast.expr],
        noun: str,
    ) -> Term:
        """Return the value of a formula of terms as a term."""
        return Term(
            self.combine(formula, terms, fixed),
            noun,
            may_be_minus_zero=may_be_minus_zero(formula, _with_minus_zero(terms, fixed)),
        )

    def _as_tensors(
        self, formula: ast.expr, terms: Mapping[str, Term], fixed: Mapping[str, ast.expr]
    ) -> dict[str, Term]:
        """Return the terms with numbers made tensors wherever the formula needs a tensor."""
        tensors = {name for name, term in terms.items() if not term.is_number}
        tensors |= {name for name, tree in fixed.items() if not isinstance(tree, ast.Constant)}
        fitting = dict(terms)
        for name, term in terms.items():
            if term.is_number and not self._takes_number(formula, name, tensors):
                fitting[name] = self.scalar(term)
                tensors.add(name)
        return fitting

    def _takes_number(self, formula: ast.expr, name: str, tensors: Collection[str]) -> bool:
        if self.dialect.calls_take_numbers and tensors:
            return not isinstance(formula, ast.Name)
        return takes_number(formula, name, tensors)

    def scalar(self, term: Term) -> Term:
        """Return a number as a tensor without dimensions; a tensor as it is."""
        if not term.is_number:
            return term
        return replace(
            term, tree=self.dialect.fill(self.dialect.scalar, term.tree), is_number=False
        )

    def filled(self, term: Term) -> Term:
        """Return a term in the weight's shape."""
        if not term.is_shapeless:
            return term
        template = self.dialect.filled if term.is_number else self.dialect.expanded
        tree = self.dialect.fill(template, term.tree)
        return replace(term, tree=tree, is_number=False, is_shapeless=False)


def _with_minus_zero(terms: Mapping[str, Term], fixed: Mapping[str, ast.expr]) -> frozenset[str]:
    signed = {name for name, term in terms.items() if term.may_be_minus_zero}
    return frozenset(signed | {name for name in fixed if name in ("state", "new")})


def _part_to_name(tree: ast.expr, room: int) -> ast.expr | None:
    """Return the part of an expression that should get a name of its own, None if there is none."""
    parts = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp | ast.Call) and node is not tree
    ]
    texts = [ast.unparse(part) for part in parts]
    counts = Counter(texts)
    shared = [
        part
        for part, text in zip(parts, texts, strict=True)
        if counts[text] > 1 and len(text) >= MIN_SHARED
    ]
    if shared:
        return shared[0]  # walked from the root: the largest comes first
    if len(ast.unparse(tree)) <= room:
        return None
    return max(parts, key=lambda part: len(ast.unparse(part)), default=None)


def _with_name(tree: ast.expr, part: ast.expr, name: str) -> ast.expr:
    naming = _Naming(ast.unparse(part), name)
    return naming.visit(deepcopy(tree))  # type: ignore[no-any-return]


class _Naming(ast.NodeTransformer):
    """Puts a name in the place of every part of this text."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.expr) and ast.unparse(node) == self.text:
            return ast.Name(self.name)
        return super().visit(node)


def wrapped(head: str, parts: Sequence[str], tail: str, *, indent: int) -> list[str]:
    """Write a list of parts on one line, in brackets on the next, or one a line, as ruff does.

    >>> wrapped("return ", ["a", "b"], "", indent=4)
    ['return a, b']
    """
    listed = ", ".join(parts)
    if indent + len(head) + len(listed) + len(tail) <= LINE_LENGTH:
        return [f"{head}{listed}{tail}"]
    if not tail:
        return [f"{head}(", *(f"    {part}," for part in parts), ")"]
    if indent + 4 + len(listed) <= LINE_LENGTH:
        return [head, f"    {listed}", tail]
    return [head, *(f"    {part}," for part in parts), tail]
