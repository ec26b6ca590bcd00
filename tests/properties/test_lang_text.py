"""Printing and parsing are inverse for any rule; no text does anything but read or be refused."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st
from strategies import expressions, rules, schedules

from evolute.errors import RuleSyntaxError
from evolute.lang.expression import Expression
from evolute.lang.registry import FUNCTIONS, OPERANDS
from evolute.lang.rule import Rule
from evolute.lang.text import parse_expression, parse_schedule, print_expression

_FRAGMENTS = (
    *OPERANDS, *FUNCTIONS, "a3", "a13", "(", ")", "[", "]", "]*", ",", "+", "-", "*", "/", "**",
    ".", " ", "\n", "\t", "1e", "1e999", "0x", "_", "__", "lambda", "import", "if", "not", "é",
    "λ", "ｇ", "#", "'", '"', ":", ";", "@", "=", "\\", "\x00", "\ud800", "𝔤", "none:", "nesterov:",
)  # fmt: skip


def attempt(text: str) -> Rule | RuleSyntaxError:
    try:
        return Rule.parse(text)
    except RuleSyntaxError as error:
        return error


@given(rules())
def test_parse_inverts_print_of_any_rule(rule: Rule) -> None:
    assert Rule.parse(str(rule)) == rule


@given(expressions(max_leaves=14))
def test_parse_inverts_print_of_any_expression(expression: Expression) -> None:
    text = print_expression(expression)
    assert parse_expression(text) == expression
    assert print_expression(parse_expression(text)) == text


@given(schedules())
def test_parse_inverts_print_of_any_schedule(schedule: Expression) -> None:
    assert parse_schedule(print_expression(schedule)) == schedule


@given(rules())
def test_json_holds_any_rule_exactly(rule: Rule) -> None:
    assert Rule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


@given(st.lists(st.sampled_from(_FRAGMENTS) | st.characters(), max_size=30).map("".join))
@example("")
def test_any_text_is_read_or_refused_at_a_place_inside_it(text: str) -> None:
    outcome = attempt(text)
    if isinstance(outcome, Rule):
        assert Rule.parse(str(outcome)) == outcome
    else:
        assert 0 <= outcome.position <= len(text)
        assert "\n" not in str(outcome)


@given(rules(), st.sampled_from([" ", "\n", "\t", "\r\n", "\u00a0"]))
def test_white_space_means_nothing(rule: Rule, space: str) -> None:
    spread = str(rule).replace(",", f"{space},{space}").replace("(", f"({space}")
    assert Rule.parse(spread + space) == rule
