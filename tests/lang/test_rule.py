"""Rules: where their sign and schedule stand, their texts and their JSON."""

from __future__ import annotations

from typing import Any

import pytest

from evolute.errors import InputError, RuleSyntaxError
from evolute.lang.expression import (
    Call,
    Constant,
    DecayRef,
    Expression,
    OperandRef,
    Scaled,
    read_operand,
)
from evolute.lang.rule import Momentum, Rule
from evolute.lang.text import MAX_DEPTH, parse_expression, parse_schedule

G = OperandRef("g")


def test_a_text_without_a_momentum_type_is_of_type_none() -> None:
    assert Rule.parse("g") == Rule.parse("none: g") == Rule(G)


@pytest.mark.parametrize("momentum", list(Momentum))
def test_every_momentum_type_prints_and_reads(momentum: Momentum) -> None:
    assert str(Rule(G, momentum)) == f"{momentum.value}: g"
    assert Rule.parse(str(Rule(G, momentum))).momentum is momentum


def test_signs_and_decays_at_the_root_become_sign_and_schedule() -> None:
    rule = Rule.parse("nesterov: -[a1]*-([a2]*tanh(-g))")
    assert rule == Rule(parse_expression("tanh(-g)"), Momentum.NESTEROV, 1, parse_schedule("a1*a2"))
    assert Rule.parse("-[a1]*g") == Rule(G, sign=-1, schedule=DecayRef("a1"))
    assert str(rule.with_sign(-1)) == "nesterov: -([a1*a2]*tanh(-g))"


def test_a_decay_at_the_root_multiplies_the_schedule_given() -> None:
    rule = Rule(Scaled(DecayRef("a2"), G), schedule=DecayRef("a1"))
    assert rule == Rule.parse("[a1]*([a2]*g)")


@pytest.mark.parametrize(
    ("text", "said", "at"),
    [
        ("mometum: g", "did you mean 'momentum'", 0),
        ("NONE: G", "did you mean 'none'", 0),
        ("none: G", "did you mean 'g'", 6),
        ("none: Tanh(g)", "did you mean 'tanh'", 6),
        ("nesterov: g+x", "unknown operand 'x'", 12),
        ("nesterov : é", "unknown operand 'é'", 11),
        ("none: none: g", "the character ':' is not allowed", 10),
        ("none:", "an expression is missing", 5),
        ("x" * 200_000 + ":g", "unknown momentum type", 0),
        ("none:" + " " * 200_000 + "g", "characters: at most", 5),
    ],
)
def test_a_fault_in_a_rule_is_placed_in_the_whole_text(text: str, said: str, at: int) -> None:
    with pytest.raises(RuleSyntaxError) as caught:
        Rule.parse(text)
    assert said in str(caught.value)
    assert caught.value.position == at
    assert len(str(caught.value)) < 500


def test_a_rule_is_refused_where_its_own_text_would_be() -> None:
    update: Expression = G
    for _ in range(MAX_DEPTH - 2):
        update = Call("tanh", (update,))
    largest = Rule(update, sign=-1)
    assert Rule.parse(str(largest)) == largest
    with pytest.raises(InputError, match="nested too deeply"):
        Rule(update, sign=-1, schedule=DecayRef("a1"))
    scheduled = "[" + "tanh(" * 60 + "a1" + ")" * 60 + "]*"
    with pytest.raises(RuleSyntaxError, match="nested too deeply"):
        Rule.parse(scheduled + "([a1]*([a1]*([a1]*([a1]*([a1]*g)))))")


@pytest.mark.parametrize("sign", [0, 2, -3])
def test_a_sign_is_plus_or_minus_one(sign: int) -> None:
    with pytest.raises(InputError, match="it must be 1 or -1"):
        Rule(G, sign=sign)


def test_parts_of_the_wrong_sort_are_refused() -> None:
    for update in (DecayRef("a1"), Scaled(G, G), Call("tanh", (DecayRef("a1"),))):
        with pytest.raises(InputError):
            Rule(update)
    for schedule in (G, Scaled(DecayRef("a1"), DecayRef("a2")), Call("ema", (G,), (0.9,))):
        with pytest.raises(InputError):
            Rule(G, schedule=schedule)


def test_json_is_plain_data() -> None:
    assert Rule.parse("nesterov: -[a1]*tanh(g)").to_json() == {
        "momentum": "nesterov",
        "sign": -1,
        "schedule": "a1",
        "update": "tanh(g)",
    }


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "none: g",
        {},
        {"update": None},
        {"update": 3},
        {"update": "g"} | {"schedule": 1},
        {"update": "g", "momentum": "mom"},
        {"update": "g", "momentum": []},
        {"update": "g", "momentum": None},
        {"update": "g", "sign": 2},
        {"update": "g", "sign": True},
        {"update": "g", "sign": 1.0},
        {"update": "g", "sign": "1"},
        {"update": "g", "extra": 1},
        {"update": "g", "x" * 10_000: 1},
        {"update": "g", 3: 1},
        {"update": "open(1)"},
        {"update": "g", "schedule": "g"},
    ],
)
def test_json_from_a_stranger_is_refused_in_one_line(data: Any) -> None:
    with pytest.raises(InputError) as caught:
        Rule.from_json(data)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_operands_that_are_constants_read_as_constants() -> None:
    assert read_operand("1") == Constant(1)
    assert read_operand("v") == OperandRef("v")
    with pytest.raises(InputError, match="read_operand"):
        OperandRef("2")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_constant_is_finite(value: float) -> None:
    with pytest.raises(InputError, match="finite"):
        Constant(value)


def test_a_call_takes_what_its_row_says() -> None:
    for arguments, parameters in (((), ()), ((G, G), ()), ((G,), (0.5,))):
        with pytest.raises(InputError, match="tanh takes 1 argument"):
            Call("tanh", arguments, parameters)
    with pytest.raises(InputError, match="less than 1"):
        Call("ema", (G,), (float("nan"),))
