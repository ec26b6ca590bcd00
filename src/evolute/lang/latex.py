r"""LaTeX of expressions and rules, by the templates in the tables of operands and functions.

Every line stands for itself and uses what matplotlib's mathtext also renders: no environments.
Brackets are set where a template leaves its argument open: ``{0} \cdot {1}`` takes a sum only in
brackets, ``\left|{0}\right|`` takes it as it is. So the template of a user needs no care.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from string import Formatter

from evolute.lang.expression import Call, Constant, DecayRef, Expression, OperandRef, Scaled
from evolute.lang.registry import BASE_DECAYS, FUNCTIONS, OPERANDS
from evolute.lang.rule import Momentum, Rule
from evolute.lang.text import print_number

_STEP = r"w_{{t+1}} = w_t"
_BUFFER = r"m_{{t+1}} = \mu m_t - "
_APPLIED = {
    Momentum.NONE: (_STEP + " - {0}",),
    Momentum.MOMENTUM: (_BUFFER + "{0}", _STEP + " + m_{{t+1}}"),
    Momentum.NESTEROV: (_BUFFER + "{0}", _STEP + r" + \mu m_{{t+1}} - {0}"),
    Momentum.NESTEROV_PUBLISHED: (_BUFFER + "{0}", _STEP + " + m_{{t+1}} - {0}"),
}
_SCALED = r"{0} \cdot {1}"
_NEGATED = "-{0}"


class _Level(IntEnum):
    """How tightly a formula holds together; a place takes its level and above."""

    SUM = 0
    SIGNED = 1
    PRODUCT = 2
    ATOM = 3


@dataclass(frozen=True, slots=True)
class _Formula:
    text: str
    level: _Level


def rule_to_latex(rule: Rule) -> str:
    r"""Return the update equations of a rule, one a line, as a paper prints them.

    u is the update, η the learning rate, μ the momentum coefficient, a with an index a base decay.

    Examples
    --------
    >>> print(rule_to_latex(Rule.parse("momentum: [a3]*(v-tanh(g))")))
    u_t = \hat{v}-\tanh\left(g\right)
    \eta_t = \eta \cdot a_{3}
    m_{t+1} = \mu m_t - \eta_t u_t
    w_{t+1} = w_t + m_{t+1}
    """
    update = rule.update if rule.sign == 1 else Call("neg", (rule.update,))
    lines = [f"u_t = {expression_to_latex(update)}"]
    rate = r"\eta"
    if rule.schedule is not None:
        rate = r"\eta_t"
        factor = _fill(_SCALED, [_Formula(r"\eta", _Level.ATOM), _formula(rule.schedule)])
        lines.append(f"{rate} = {factor.text}")
    lines += [line.format(f"{rate} u_t") for line in _APPLIED[rule.momentum]]
    return "\n".join(lines)


def expression_to_latex(expression: Expression) -> str:
    r"""Return the formula of an expression of either sort.

    Examples
    --------
    >>> from evolute.lang.text import parse_expression
    >>> print(expression_to_latex(parse_expression("[a3*a2]*(g+v)")))
    a_{3} \cdot a_{2} \cdot \left(g+\hat{v}\right)
    """
    return _formula(expression).text


def _formula(expression: Expression) -> _Formula:
    match expression:
        case Constant(value):
            return _number(value)
        case OperandRef(name):
            return _fill(_escaped(OPERANDS[name].latex), [])
        case DecayRef(name):
            return _fill(_escaped(BASE_DECAYS[name].latex), [])
        case Scaled(decay, value):
            return _fill(_SCALED, [_formula(decay), _formula(value)])
        case Call("identity", (argument,), _):
            return _formula(argument)
        case Call(function, arguments, parameters):
            parts = [_formula(argument) for argument in arguments]
            parts += [_number(parameter) for parameter in parameters]
            return _fill(FUNCTIONS[function].latex, parts)


def _number(value: float) -> _Formula:
    """Return a number, a power of ten written as one."""
    mantissa, exponent_mark, exponent = print_number(abs(value)).partition("e")
    formula = _Formula(mantissa, _Level.ATOM)
    if exponent_mark:
        power = f"10^{{{int(exponent)}}}"
        text = power if mantissa == "1" else rf"{mantissa} \cdot {power}"
        formula = _Formula(text, _Level.ATOM if mantissa == "1" else _Level.PRODUCT)
    return formula if value >= 0 else _fill(_NEGATED, [formula])


def _escaped(latex: str) -> str:
    """Return plain LaTeX as a template without holes."""
    return latex.replace("{", "{{").replace("}", "}}")


def _fill(template: str, arguments: list[_Formula]) -> _Formula:
    """Put arguments into a template, in brackets where their place does not hold them together."""
    pieces = []
    for literal, hole, needed in _pieces(template):
        pieces.append(literal)
        if hole is not None:
            argument = arguments[hole]
            text = argument.text
            pieces.append(text if argument.level >= needed else rf"\left({text}\right)")
    return _Formula("".join(pieces), _level(template))


@cache
def _pieces(template: str) -> tuple[tuple[str, int | None, _Level], ...]:
    """Split a template into literal texts, the holes after them, and the levels those take."""
    parsed = [(literal, hole) for literal, hole, _, _ in Formatter().parse(template)]
    following = [literal for literal, _ in parsed[1:]] + [""]
    return tuple(
        (literal, None if hole is None else int(hole), max(_before(literal), _after(after)))
        for (literal, hole), after in zip(parsed, following, strict=True)
    )


def _before(literal: str) -> _Level:
    """Return the level that a hole takes for the text before it."""
    text = literal.rstrip()
    if not text or text.endswith(("{", "(", "[", "|", ",")):
        return _Level.SUM
    return _Level.PRODUCT if text.endswith(("+", "-", r"\cdot")) else _Level.ATOM


def _after(literal: str) -> _Level:
    """Return the level that a hole takes for the text after it."""
    text = literal.lstrip()
    if not text or text.startswith(("}", ")", "]", "|", ",", "+", "-", r"\right")):
        return _Level.SUM
    return _Level.PRODUCT if text.startswith(r"\cdot") else _Level.ATOM


@cache
def _level(template: str) -> _Level:
    """Return the level of what a template makes, by the operators outside all its brackets."""
    text = "".join(
        literal + ("x" if hole is not None else "") for literal, hole, _ in _pieces(template)
    )
    text = text.replace(r"\left", "").replace(r"\right", "")
    outside = re.sub(r"\|[^|]*\|", "x", text)
    while (inner := re.sub(r"\{[^{}]*\}|\([^()]*\)|\[[^\[\]]*\]", "x", outside)) != outside:
        outside = inner
    if re.search(r".[+-]", outside):
        return _Level.SUM
    if outside.startswith("-"):
        return _Level.SIGNED
    return _Level.PRODUCT if r"\cdot" in outside or " " in outside.strip() else _Level.ATOM
