"""What a user adds takes part in reading, printing, LaTeX and curves; what cannot is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from evolute.errors import InputError, RuleSyntaxError, UnknownNameError
from evolute.lang.curve import curve
from evolute.lang.decays import base_decay
from evolute.lang.expand import expand
from evolute.lang.expression import OperandRef
from evolute.lang.functions import function
from evolute.lang.latex import expression_to_latex
from evolute.lang.operands import operand
from evolute.lang.registry import (
    BASE_DECAYS,
    FUNCTIONS,
    MAX_NAME_LENGTH,
    OPERANDS,
    BaseDecay,
    Kind,
    Parameter,
    Parity,
    Registry,
)
from evolute.lang.rule import Rule
from evolute.lang.text import parse_expression, parse_schedule, print_expression


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Take what a test registers out of the tables again."""
    tables: tuple[Registry[Any], ...] = (OPERANDS, FUNCTIONS, BASE_DECAYS)
    kept = [dict(table) for table in tables]
    yield
    for table, rows in zip(tables, kept, strict=True):
        table._rows.clear()
        table._rows.update(rows)


def test_a_function_of_a_user_reads_prints_and_computes() -> None:
    @function(latex=r"{0}^{{3}}", parity=Parity.ODD, searched_in_decay=True)
    def user_cube(x: Tensor) -> Tensor:
        return x**3

    rule = Rule.parse("momentum: [user_cube(a1)]*user_cube(-(g+v))")
    assert Rule.parse(str(rule)) == rule
    assert str(rule.canonical()) == "momentum: -([user_cube(a1)]*user_cube(v+g))"
    assert expression_to_latex(parse_expression("user_cube(g+v)")) == (
        r"\left(g+\hat{v}\right)^{3}"
    )
    assert curve(parse_schedule("user_cube(a1)"), 4).tolist() == [1, 0.75**3, 0.125, 0.25**3]
    assert FUNCTIONS["user_cube"].searched == ((),)


def test_a_function_of_a_user_may_have_two_arguments_parameters_state_and_noise() -> None:
    @function(latex="{0}/{1}", kind=Kind.STATEFUL, parameters=(Parameter("beta", 0.0, 1.0),))
    def user_lag(x: Tensor, beta: float, *, state: Tensor, step: int) -> tuple[Tensor, Tensor]:
        return beta * state, x

    @function(latex="{0}+{1}", commutative=True, idempotent=True)
    def user_first(x: Tensor, y: Tensor) -> Tensor:
        return torch.maximum(x, y)

    assert (FUNCTIONS["user_lag"].arity, FUNCTIONS["user_first"].arity) == (1, 2)
    assert FUNCTIONS["user_lag"].searched == ()
    assert print_expression(parse_expression("user_lag(g, 0.5)")) == "user_lag(g, 0.5)"
    assert Rule.parse("user_first(w, g)").canonical() == Rule.parse("user_first(g, w)").canonical()
    assert str(Rule.parse("none: user_first(w, w)").canonical()) == "none: w"
    with pytest.raises(RuleSyntaxError, match="user_lag is stateful"):
        parse_schedule("user_lag(a1, 0.5)")


def test_an_operand_of_a_user_reads_prints_and_stands_for_its_definition() -> None:
    @operand(latex="g_t-g_{t-1}")
    def user_change() -> str:
        return "g-previous(g)"

    rule = Rule.parse("none: tanh(user_change)")
    assert str(rule) == "none: tanh(user_change)"
    assert print_expression(expand(OperandRef("user_change"))) == "g-previous(g)"
    assert expression_to_latex(parse_expression("2*user_change")) == (
        r"2 \cdot \left(g_t-g_{t-1}\right)"
    )
    assert rule.canonical() == Rule.parse("none: tanh(g-previous(g))").canonical()


def test_the_canonical_form_reads_without_the_file_that_defined_an_operand() -> None:
    before = Rule.parse("none: tanh(g+previous(g))").canonical()

    @operand(latex="x")
    def user_sum() -> str:
        return "g+previous(g)"

    assert Rule.parse("none: tanh(user_sum)").canonical() == before
    assert Rule.parse("none: tanh(g+previous(g))").canonical() == before


def test_a_base_decay_of_a_user_reads_prints_and_has_a_curve() -> None:
    @base_decay(latex="(1-t/T)^{2}")
    def user_decay(t: Tensor, total_steps: int) -> Tensor:
        return (1 - t / total_steps) ** 2

    rule = Rule.parse("none: [user_decay]*g")
    assert Rule.parse(str(rule)) == rule
    assert rule.schedule is not None
    assert curve(rule.schedule, 2).tolist() == [1, 0.25]
    assert expression_to_latex(rule.schedule) == "(1-t/T)^{2}"


@pytest.mark.parametrize(
    "name", ["", "a b", "a-b", "3", "lambda", "ﬁ", "x" * (MAX_NAME_LENGTH + 1), "a\n"]
)
def test_a_name_that_no_text_could_say_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="use a Python identifier"):
        base_decay(latex="d", name=name)(lambda t, total_steps: t)
    assert name not in BASE_DECAYS


def test_a_name_keeps_its_meaning() -> None:
    for define in (
        lambda: function(latex="x", name="tanh")(lambda x: x),
        lambda: operand(latex="x", name="g")(lambda: "v"),
        lambda: base_decay(latex="x", name="a1")(lambda t, total_steps: t),
    ):
        with pytest.raises(InputError, match="already defined: choose another name"):
            define()


def test_names_of_other_alphabets_are_names() -> None:
    base_decay(latex=r"\beta", name="β")(lambda t, total_steps: 1 - t / total_steps)
    assert str(Rule.parse("none: tanh([β]*g)")) == "none: tanh([β]*g)"


def test_an_operand_whose_definition_cannot_be_read_is_not_registered() -> None:
    with pytest.raises(RuleSyntaxError, match="unknown operand 'x'"):
        operand(latex="x", name="user_bad")(lambda: "g+x")
    with pytest.raises(InputError, match="returned int"):
        operand(latex="x", name="user_bad")(lambda: 3)  # type: ignore[arg-type, return-value]
    assert "user_bad" not in OPERANDS


def test_operands_that_double_each_other_end_at_the_limit() -> None:
    def define(level: int) -> None:
        text = f"user_{level - 1}*user_{level - 1}" if level else "g+v"
        operand(latex="x", name=f"user_{level}")(lambda: text)

    for level in range(8):
        define(level)
    with pytest.raises(InputError, match="too large"):
        define(8)


def test_a_function_of_no_or_three_arguments_is_refused() -> None:
    for compute in (lambda: 1, lambda x, y, z: x):
        with pytest.raises(InputError, match="a function has one or two arguments"):
            function(latex="x", name="user_bad")(compute)


def test_an_unknown_name_says_the_nearest_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown function 'tanhh': did you mean 'tanh'"):
        FUNCTIONS["tanhh"]


def test_rows_stand_in_the_order_of_their_definition() -> None:
    table: Registry[BaseDecay] = Registry("thing")
    for name in ("b", "a"):
        table.add(BaseDecay(name, name, lambda t, total_steps: t))
    assert list(table) == ["b", "a"]
    assert len(table) == 2
