"""The notation of the authors' search log, both ways (published method, sections 1 and 2).

A line such as ``Nest ~ bessel_i1e([1/(1+exp(-a7)][v hat])`` is a momentum type and an update. The
grammar is the column of published spellings in the tables of operands, functions and base decays,
each a template; nothing is spelled here a second time. Reading tries the templates from each
position and remembers what it found there, so a text costs at most its length times the templates.

The log's oddities are the templates': the parenthesis missing from the sigmoid of a decay, the
softsign that prints its argument twice, the g^2 printed where g^3 is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from string import Formatter
from typing import NoReturn

from evolute.errors import InputError, RuleSyntaxError, did_you_mean, shorten
from evolute.lang.expression import (
    Call,
    Constant,
    DecayRef,
    Expression,
    OperandRef,
    Scaled,
    read_operand,
)
from evolute.lang.registry import BASE_DECAYS, FUNCTIONS, OPERANDS, Function
from evolute.lang.rule import Momentum, Rule
from evolute.lang.text import MAX_DEPTH, print_expression, print_number

MAX_PUBLISHED_LENGTH = 4_000
"""Longest line that is read, in characters; the longest of the log has about 250."""

_MOMENTA = {
    "None": Momentum.NONE,
    "Mom": Momentum.MOMENTUM,
    "Nest": Momentum.NESTEROV_PUBLISHED,
}
_SEPARATOR = " ~ "
_SCALED = "[{0}][{1}]"
_NUMBER = re.compile(r"\d+(\.\d+)?(e-?\d+)?")
_WORD = re.compile(r"\w+")


class _Sort(Enum):
    TENSOR = "an expression"
    SCHEDULE = "a decay function"


_Bindings = dict[int, tuple[Expression, str]]
"""What each hole of a template was read as, and its text."""


@dataclass(frozen=True, slots=True)
class _Template:
    """A spelling: literal texts and holes by turns, and what it stands for.

    ``holes`` gives the sort of each hole; holes beyond it are numbers. A hole met again is the same
    text again.
    """

    parts: tuple[str | int, ...]
    holes: tuple[_Sort, ...]
    row: Function | None = None
    leaf: Expression | None = None

    @classmethod
    def of(
        cls,
        spelling: str,
        holes: tuple[_Sort, ...] = (),
        *,
        row: Function | None = None,
        leaf: Expression | None = None,
    ) -> _Template:
        if leaf is not None:
            return cls((spelling,), (), leaf=leaf)
        parts: list[str | int] = []
        for literal, hole, _, _ in Formatter().parse(spelling):
            parts += [literal] if literal else []
            parts += [int(hole)] if hole is not None else []
        return cls(tuple(parts), holes, row)

    def build(self, bindings: _Bindings) -> Expression:
        """Return what the template stands for, its holes filled."""
        if self.leaf is not None:
            return self.leaf
        arguments = tuple(bindings[hole][0] for hole in range(len(self.holes)))
        if self.row is None:
            return Scaled(*arguments)
        printed = tuple(
            value.value
            for hole, (value, _) in sorted(bindings.items())
            if hole >= self.row.arity and isinstance(value, Constant)
        )
        # A parameter that the spelling leaves out is the one that the search draws.
        drawn = next(iter(self.row.searched), ())
        return Call(self.row.name, arguments, printed or drawn)


def _spelling(row: Function, sort: _Sort) -> str | None:
    """Return the template that spells a function in an expression of this sort."""
    if sort is _Sort.TENSOR:
        return row.published if row.searched else None
    return (row.published_in_decay or row.published) if row.searched_in_decay else None


@cache  # a row defined later by a user has no published spelling
def _templates(sort: _Sort) -> tuple[_Template, ...]:
    """Return every spelling of a sort."""
    if sort is _Sort.SCHEDULE:
        others = [_Template.of(name, leaf=DecayRef(name)) for name in BASE_DECAYS]
    else:
        others = [
            _Template.of(row.published, leaf=read_operand(row.name))
            for row in OPERANDS.values()
            if row.published
        ]
        others.append(_Template.of(_SCALED, (_Sort.SCHEDULE, _Sort.TENSOR)))
    calls = [
        _Template.of(spelling, (sort,) * row.arity, row=row)
        for row in FUNCTIONS.values()
        if (spelling := _spelling(row, sort))
    ]
    return (*others, *calls)


def parse_published(text: str) -> Rule:
    """Read a rule in the notation of the authors' search log.

    Parameters
    ----------
    text
        ``None ~ U``, ``Mom ~ U`` or ``Nest ~ U``; ``Nest`` is the search program's own form of
        Nesterov momentum.

    Raises
    ------
    RuleSyntaxError
        If it is no rule in that notation; the message says where and what could stand there.

    Examples
    --------
    >>> print(parse_published("Mom ~ ([1/(1+exp(-a3)][v hat])+(g/(1+|g|))"))
    momentum: [sigmoid(a3)]*v+softsign(g)
    """
    if len(text) > MAX_PUBLISHED_LENGTH:
        raise RuleSyntaxError(
            f"the line has {len(text)} characters: at most {MAX_PUBLISHED_LENGTH} are read", text, 0
        )
    head, separator, _ = text.partition(_SEPARATOR)
    momentum = _MOMENTA.get(head.strip())
    if not separator or momentum is None:
        raise RuleSyntaxError(
            f"no momentum type stands first: write one of {', '.join(_MOMENTA)}, then "
            f"'{_SEPARATOR}' and the update",
            text,
            0,
        )
    update = _Reader(text).read(len(head) + len(separator))
    try:
        return Rule(update, momentum)
    except InputError as error:
        raise RuleSyntaxError(str(error), text, len(head) + len(separator)) from None


@dataclass
class _Reader:
    """Reads one line; ``found`` remembers what begins at each position, by where it ends."""

    text: str
    found: dict[tuple[_Sort, int], dict[int, Expression]] = field(default_factory=dict)
    furthest: int = 0
    expected: set[str] = field(default_factory=set)

    def read(self, start: int) -> Expression:
        """Return the expression from ``start`` to the end of the line."""
        end = len(self.text.rstrip())
        whole = self.parse(_Sort.TENSOR, start, 1)
        if end in whole:
            return whole[end]
        for reached in whole:
            self._expect(reached, "the end")
        self._fail()

    def parse(self, sort: _Sort, start: int, level: int) -> dict[int, Expression]:
        """Return every expression of a sort that begins at ``start``, by where it ends."""
        if level > MAX_DEPTH:
            raise RuleSyntaxError(
                f"nested too deeply: at most {MAX_DEPTH} levels are read", self.text, start
            )
        key = (sort, start)
        if key in self.found:
            return self.found[key]
        results: dict[int, Expression] = {}
        for template in _templates(sort):
            if isinstance(template.parts[0], str):
                for end, bindings in self._match(template, 0, start, {}, level):
                    results.setdefault(end, template.build(bindings))
        self._grow(sort, start, results, level)
        if not results:
            self._expect(start, sort.value)
        self.found[key] = results
        return results

    def _grow(self, sort: _Sort, start: int, results: dict[int, Expression], level: int) -> None:
        """Add what a template makes of a result when it begins with its own argument."""
        grown = list(results)
        for end in grown:  # grows while it is read: a result may be grown again
            first = {0: (results[end], self.text[start:end])}
            for template in _templates(sort):
                if template.parts[0] == 0:
                    for new_end, bindings in self._match(template, 1, end, first, level):
                        if new_end not in results:
                            results[new_end] = template.build(bindings)
                            grown.append(new_end)

    def _match(
        self, template: _Template, index: int, position: int, bindings: _Bindings, level: int
    ) -> Iterator[tuple[int, _Bindings]]:
        """Yield every way in which the parts from ``index`` on match at ``position``."""
        if index == len(template.parts):
            yield position, bindings
            return
        part = template.parts[index]
        literal = part if isinstance(part, str) else bindings.get(part, (None, None))[1]
        if literal is not None:
            if self.text.startswith(literal, position):
                end = position + len(literal)
                yield from self._match(template, index + 1, end, bindings, level)
            elif index:
                self._expect(position, repr(literal))
            return
        assert isinstance(part, int)
        for end, value in self._hole(template, part, position, level).items():
            bound = {**bindings, part: (value, self.text[position:end])}
            yield from self._match(template, index + 1, end, bound, level)

    def _hole(
        self, template: _Template, hole: int, position: int, level: int
    ) -> dict[int, Expression]:
        """Return what a hole can be read as at ``position``, by where it ends."""
        if hole < len(template.holes):
            return self.parse(template.holes[hole], position, level + 1)
        number = _NUMBER.match(self.text, position)
        if number is None or not self._in_range(template, hole, float(number.group())):
            self._expect(position, "a number")
            return {}
        return {number.end(): Constant(float(number.group()))}

    @staticmethod
    def _in_range(template: _Template, hole: int, value: float) -> bool:
        assert template.row is not None
        parameter = template.row.parameters[hole - template.row.arity]
        return parameter.lower <= value < parameter.upper

    def _expect(self, position: int, what: str) -> None:
        """Remember what could have stood at the furthest position that was reached."""
        if position > self.furthest:
            self.furthest, self.expected = position, set()
        if position == self.furthest:
            self.expected.add(what)

    def _fail(self) -> NoReturn:
        rest = self.text[self.furthest :] or "the end"
        message = (
            f"not in the notation of the published log: {shorten(rest, limit=30)!r} stands where "
            f"{' or '.join(sorted(self.expected))} is read"
        )
        sorts = [sort for sort in _Sort if sort.value in self.expected]
        word = _WORD.match(rest)
        if sorts and word:
            known = {name for sort in sorts for name in _first_words(sort)}
            message += f"; {did_you_mean(shorten(word.group(), limit=30), known)}"
        raise RuleSyntaxError(message, self.text, self.furthest)


@cache
def _first_words(sort: _Sort) -> frozenset[str]:
    """Return the words with which spellings of a sort begin."""
    starts = (template.parts[0] for template in _templates(sort))
    words = (_WORD.match(start) for start in starts if isinstance(start, str))
    return frozenset(word.group() for word in words if word)


def print_published(rule: Rule) -> str:
    """Write a rule in the notation of the authors' search log; the inverse of the reading.

    Raises
    ------
    InputError
        If the notation has no spelling for a part of it.

    Examples
    --------
    >>> print_published(Rule.parse("momentum: [sigmoid(a3)]*v+softsign(g)"))
    'Mom ~ ([1/(1+exp(-a3)][v hat])+(g/(1+|g|))'
    """
    for head, momentum in _MOMENTA.items():
        if momentum is rule.momentum:
            return f"{head}{_SEPARATOR}{_print(rule.signed_update, _Sort.TENSOR)}"
    raise InputError(
        f"the published log has no spelling for the momentum type {rule.momentum.value}: it has "
        f"{', '.join(momentum.value for momentum in _MOMENTA.values())}"
    )


def _print(expression: Expression, sort: _Sort) -> str:
    """Write an expression of a sort by the published spellings."""
    spelling: str | None = None
    match expression:
        case DecayRef(name):
            return name
        case OperandRef(name):
            spelling = OPERANDS[name].published
        case Constant(value) if sort is _Sort.TENSOR and print_number(value) in OPERANDS:
            spelling = OPERANDS[print_number(value)].published
        case Scaled(decay, value):
            return _SCALED.format(_print(decay, _Sort.SCHEDULE), _print(value, sort))
        case Call(function, arguments, parameters):
            row = FUNCTIONS[function]
            template = _spelling(row, sort)
            if template and (f"{{{row.arity}}}" in template or parameters in (*row.searched, ())):
                texts = [_print(argument, sort) for argument in arguments]
                texts += [print_number(parameter) for parameter in parameters]
                return template.format(*texts)
        case _:
            pass
    if spelling is None:
        text = shorten(print_expression(expression), limit=40)
        raise InputError(
            f"the published log has no spelling for {text!r}: it knows the published operands, "
            "functions and decays only"
        )
    return spelling
