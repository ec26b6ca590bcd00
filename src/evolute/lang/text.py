"""Text of expressions, both ways: Python expression syntax, read with ``ast`` and a whitelist.

Nothing is ever executed. ``+ - * /`` and the unary minus are the rows of the function table that
have that infix; all else is a call; ``[decay]*value`` carries a decay; numbers are constants. So
``bessel_i1e(arctan([a13*a2]*g))`` is an expression. Printing and parsing are inverse to the letter.

What no expression needs is refused before Python's own parser sees the text, so that a stranger's
text costs neither much time nor deep recursion.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from evolute.errors import InputError, RuleSyntaxError, did_you_mean, shorten
from evolute.lang.expression import (
    Call,
    Constant,
    DecayRef,
    Expression,
    OperandRef,
    Scaled,
    children,
    describe_arguments,
)
from evolute.lang.registry import BASE_DECAYS, FUNCTIONS, OPERANDS, Kind

MAX_LENGTH = 100_000
"""Longest text that is read, in characters: the largest expression prints shorter."""

MAX_DEPTH = 64
"""Deepest expression."""

MAX_NODES = 1_000
"""Largest expression, in nodes."""

MAX_DIGITS = 1_100
"""Longest run of digits: every double can be written out in full, which takes 1,074 at most."""

_INFIX_NODES: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
}
_PUNCTUATION = frozenset("+-*/()[],.")
_NO_OPERATORS = {
    "**": "write x*x, square(x) or abs_pow(x, y)",
    "//": "write x/y",
}
_WORD = re.compile(r"[^\W\d]\w*")
_DIGITS = re.compile(r"(?<!\w)\d[\d_]*")
_ALLOWED = "use names, numbers, + - * /, calls such as tanh(x), and decays such as [a3]*x"
_TOO_DEEP = f"the expression is nested too deeply: at most {MAX_DEPTH} levels are allowed"
_TOO_LARGE = f"the expression is too large: at most {MAX_NODES} nodes are allowed"
_SUM, _PRODUCT, _UNARY, _ATOM = range(4)
_PRECEDENCE = {"add": _SUM, "sub": _SUM, "mul": _PRODUCT, "div": _PRODUCT}


def print_expression(expression: Expression) -> str:
    """Write an expression; :func:`parse_expression` reads exactly it back."""
    return _print(expression, _SUM)


def print_number(value: float) -> str:
    """Write a number as short as it can be read back: ``2``, ``0.5``, ``1e-08``."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _print(expression: Expression, binding: int) -> str:
    """Write an expression for a place that takes this precedence or a higher one."""
    match expression:
        case Constant(value):
            text, own = print_number(value), (_ATOM if value >= 0 else _UNARY)
        case OperandRef(name) | DecayRef(name):
            text, own = name, _ATOM
        case Scaled(decay, value):
            text, own = f"[{_print(decay, _SUM)}]*{_print(value, _UNARY)}", _PRODUCT
        case Call("neg", (argument,), _) if not isinstance(argument, Constant):
            text, own = f"-{_print(argument, _ATOM)}", _UNARY
        case Call(function, (left, right), _) if function in _PRECEDENCE:
            own = _PRECEDENCE[function]
            text = f"{_print(left, own)}{FUNCTIONS[function].infix}{_print(right, own + 1)}"
        case Call(function, arguments, parameters):
            parts = [_print(argument, _SUM) for argument in arguments]
            parts += [print_number(parameter) for parameter in parameters]
            text, own = f"{function}({', '.join(parts)})", _ATOM
    return text if own >= binding else f"({text})"


def parse_expression(text: str, *, offset: int = 0, whole: str | None = None) -> Expression:
    """Read a tensor expression.

    Parameters
    ----------
    text
        The expression.
    offset, whole
        Where ``text`` begins in the whole text that the user gave, for the position in errors.

    Raises
    ------
    RuleSyntaxError
        If the text is no expression of the language, or longer, deeper or larger than allowed.
    """
    return _Reader(text, whole if whole is not None else text, offset).read(_Reader.tensor)


def parse_schedule(text: str) -> Expression:
    """Read a schedule, written as inside the brackets of a decay.

    Raises
    ------
    RuleSyntaxError
        As :func:`parse_expression`.
    """
    return _Reader(text, text, 0).read(_Reader.schedule)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns a syntax tree of Python into an expression, sort by sort."""

    text: str
    whole: str
    offset: int

    def read(self, sort: Callable[[_Reader, ast.expr], Expression]) -> Expression:
        if len(self.whole) > MAX_LENGTH:
            self._fail(f"the text has {len(self.whole)} characters: at most {MAX_LENGTH} are read")
        self._check_characters()
        self._check_nesting()
        # One line: what Python counts as a new line or as indentation means nothing here.
        flat = "".join(" " if character.isspace() else character for character in self.text)
        if not flat.strip():
            self._fail("an expression is missing: write one such as 'g' or 'v/sqrt(s)'")
        try:
            tree = ast.parse(flat.strip(), mode="eval").body
        except SyntaxError as error:
            # Python gives no offset where a text ends too early.
            found = error.msg if error.offset else "it ends too early"
            column = error.offset - 1 if error.offset else len(flat.strip())
            self._fail(
                f"not an expression: {found}; write one such as 'v/sqrt(s)'",
                position=min(self._lead() + column, len(self.text)),
            )
        except (ValueError, RecursionError, MemoryError):
            self._fail("not an expression: it is nested too deeply, write it shorter")
        self._check_tree(tree)
        expression = sort(self, tree)
        check_size(expression, fail=self._fail)
        return expression

    def tensor(self, node: ast.expr) -> Expression:
        match node:
            case ast.Name(name):
                return self._operand(node, name)
            case ast.BinOp(ast.List() as decay, ast.Mult(), value):
                return self._scaled(decay, value)
            case ast.BinOp(value, ast.Mult(), ast.List() as decay):
                return self._scaled(decay, value)
            case ast.BinOp(ast.UnaryOp(ast.USub(), ast.List() as decay), ast.Mult(), value):
                return Call("neg", (self._scaled(decay, value),))
            case ast.List():
                self._fail("a decay in brackets multiplies a value: write [decay]*value", node)
            case _:
                return self._common(node, self.tensor)

    def schedule(self, node: ast.expr) -> Expression:
        match node:
            case ast.Name(name):
                if name in BASE_DECAYS:
                    return DecayRef(name)
                self._fail(
                    f"unknown base decay {shorten(name, limit=40)!r} in brackets: "
                    f"{did_you_mean(name, BASE_DECAYS)}",
                    node,
                )
            case ast.List():
                self._fail("a decay function cannot carry a decay: write [a*b] for a product", node)
            case _:
                expression = self._common(node, self.schedule)
        if isinstance(expression, Call):
            kind = FUNCTIONS[expression.function].kind
            if kind is not Kind.ELEMENTWISE:
                self._fail(
                    f"{expression.function} is {kind} and cannot stand in a decay function: "
                    "only element-wise functions can",
                    node,
                )
        return expression

    def _operand(self, node: ast.expr, name: str) -> Expression:
        if name in OPERANDS:
            return OperandRef(name)
        if name in BASE_DECAYS:
            self._fail(f"the base decay {name!r} stands outside brackets: write [{name}]*x", node)
        known = [operand for operand in OPERANDS if not operand.isdigit()]
        given = shorten(name, limit=40)
        self._fail(f"unknown operand {given!r}: {did_you_mean(name, known)}", node)

    def _scaled(self, decay: ast.List, value: ast.expr) -> Expression:
        if len(decay.elts) != 1:
            self._fail(f"brackets hold one decay function, got {len(decay.elts)}", decay)
        return Scaled(self.schedule(decay.elts[0]), self.tensor(value))

    def _common(self, node: ast.expr, sort: Callable[[ast.expr], Expression]) -> Expression:
        """Read what both sorts share: numbers, infix operators and calls."""
        match node:
            case ast.Constant(bool() | str() | bytes() | None | complex()):
                given = shorten(ast.unparse(node), limit=40)
                self._fail(f"{given} is no number: write one such as 0.5", node)
            case ast.Constant(int() | float() as value):
                return self._number(node, value)
            case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)) if not isinstance(
                value, bool
            ):
                return self._number(node, -value)
            case ast.UnaryOp(ast.USub(), argument):
                return Call("neg", (sort(argument),))
            case ast.BinOp(left, operator, right) if type(operator) in _INFIX_NODES:
                return Call(_INFIX_NODES[type(operator)], (sort(left), sort(right)))
            case ast.Call(ast.Name(name), arguments, []):
                return self._call(node, name, arguments, sort)
            case _:
                given = shorten(ast.unparse(node), limit=40)
                self._fail(f"{given!r} is not allowed: {_ALLOWED}", node)

    def _call(
        self,
        node: ast.expr,
        name: str,
        arguments: list[ast.expr],
        sort: Callable[[ast.expr], Expression],
    ) -> Expression:
        if name not in FUNCTIONS:
            given = shorten(name, limit=40)
            self._fail(f"unknown function {given!r}: {did_you_mean(name, FUNCTIONS)}", node)
        row = FUNCTIONS[name]
        if len(arguments) != row.arity + len(row.parameters):
            self._fail(f"{name} takes {describe_arguments(name)}, got {len(arguments)}", node)
        parameters = tuple(self._parameter(name, number) for number in arguments[row.arity :])
        try:
            return Call(name, tuple(sort(part) for part in arguments[: row.arity]), parameters)
        except RuleSyntaxError:
            raise
        except InputError as error:
            self._fail(str(error), node)

    def _parameter(self, function: str, node: ast.expr) -> float:
        match node:
            case ast.Constant() | ast.UnaryOp(ast.USub(), ast.Constant()):
                number = self.tensor(node)
                if isinstance(number, Constant):
                    return number.value
            case _:
                pass
        takes = describe_arguments(function)
        self._fail(f"{function} takes {takes}: a parameter is a number", node)

    def _number(self, node: ast.expr, value: float) -> Constant:
        try:
            return Constant(float(value))
        except (InputError, OverflowError):
            self._fail("a constant must be finite and fit a double", node)

    def _lead(self) -> int:
        return len(self.text) - len(self.text.lstrip())

    def _check_characters(self) -> None:
        """Refuse characters, operators, words and numbers of Python that no expression holds."""
        for position, character in enumerate(self.text):
            if not (
                character in _PUNCTUATION or character.isspace() or f"_{character}".isidentifier()
            ):
                self._fail(
                    f"the character {character!r} is not allowed: {_ALLOWED}", position=position
                )
        for operator, instead in _NO_OPERATORS.items():
            if operator in self.text:
                self._fail(
                    f"{operator!r} is not allowed: {instead}", position=self.text.index(operator)
                )
        for word in _WORD.finditer(self.text):
            if keyword.iskeyword(word.group()):
                self._fail(f"{word.group()!r} is not allowed: {_ALLOWED}", position=word.start())
        for digits in _DIGITS.finditer(self.text):
            if len(digits.group()) > MAX_DIGITS:
                self._fail(
                    f"a number of {len(digits.group())} digits is too long: at most {MAX_DIGITS} "
                    "are read, write a large one as 1e300",
                    position=digits.start(),
                )

    def _check_nesting(self) -> None:
        """Refuse brackets and signs nested deeper than an expression can be."""
        level = signs = 0
        for position, character in enumerate(self.text):
            level += (character in "([") - (character in ")]")
            signs = signs + 1 if character in "+-" else signs * character.isspace()
            if max(level, signs) > MAX_DEPTH:
                self._fail(_TOO_DEEP, position=position)

    def _check_tree(self, tree: ast.expr) -> None:
        """Refuse, by a loop, a tree too deep for the recursion that reads it, or far too large."""
        stack = [(tree, 1)]
        nodes = 0
        while stack:
            node, level = stack.pop()
            nodes += 1
            if level > MAX_DEPTH:
                self._fail(_TOO_DEEP, node)
            if nodes > 4 * MAX_NODES:
                self._fail(_TOO_LARGE, node)
            for part in ast.iter_child_nodes(node):
                if isinstance(part, ast.expr):
                    # A decay's brackets and the minus of a number are no node of an expression.
                    same = isinstance(node, ast.List) or (
                        isinstance(node, ast.UnaryOp) and isinstance(part, ast.Constant)
                    )
                    stack.append((part, level if same else level + 1))

    def _fail(
        self, message: str, node: ast.expr | None = None, *, position: int | None = None
    ) -> NoReturn:
        if position is None:
            position = 0 if node is None else self._lead() + self._characters(node.col_offset)
        raise RuleSyntaxError(message, self.whole, self.offset + position)

    def _characters(self, column: int) -> int:
        """Turn a column of Python's parser, which counts bytes of UTF-8, into characters."""
        return len(self.text.strip().encode()[:column].decode())


def check_size(expression: Expression, *, fail: Callable[[str], object] | None = None) -> None:
    """Raise InputError if an expression is larger or deeper than the language allows."""

    def refuse(message: str) -> None:
        if fail is not None:
            fail(message)
        raise InputError(message)

    nodes, deepest = 0, 0
    level = [expression]
    while level:  # no recursion: what is too deep is measured before it is refused
        nodes, deepest = nodes + len(level), deepest + 1
        if nodes > MAX_NODES:
            refuse(_TOO_LARGE)
        level = [part for node in level for part in children(node)]
    if deepest > MAX_DEPTH:
        refuse(_TOO_DEEP)
