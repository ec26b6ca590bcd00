"""What can change an update: found by its form, and never wrongly."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from evolute.compiler.reference import reference_trajectory
from evolute.lang.expression import Call, Constant, Expression
from evolute.lang.functions import function
from evolute.lang.registry import FUNCTIONS, Function, Kind
from evolute.lang.rule import Rule
from evolute.lang.text import parse_expression
from evolute.train.constancy import dependencies

NUMBERS = (-3.0, -1.0, -0.5, -1e-3, 0.0, 1e-3, 0.5, 1.0, 3.0)
"""Far from where a double rounds to 0 what is not."""

TELLING = [row for row in FUNCTIONS.values() if row.sign is not None]


def sign_of(number: float) -> int:
    return (number > 0) - (number < 0)


def value_of(row: Function, numbers: tuple[float, ...]) -> float:
    arguments = [torch.tensor(number, dtype=torch.float64) for number in numbers]
    options = {"dims": ()} if row.kind is Kind.PER_TENSOR else {}
    result = row.compute(*arguments, **options)
    assert isinstance(result, Tensor)
    return result.item()


@pytest.mark.parametrize("row", TELLING, ids=lambda row: row.name)
def test_a_row_tells_the_sign_of_its_value(row: Function) -> None:
    assert row.sign is not None
    for numbers in itertools.product(NUMBERS, repeat=row.arity):
        assert row.sign(*map(sign_of, numbers)) == sign_of(value_of(row, numbers)), numbers


@pytest.mark.parametrize(
    "text",
    [
        "2",
        "0*g",
        "g-g",
        "g*v - v*g",
        "exp(w) - exp(w)",
        "sign(exp(g))",
        "sign(-softplus(g)*sigmoid(w))",
        "sign(tanh(max(erfc(g), w)))",
        "min0(exp(g))",
        "max0(-abs(g))",
        "clip(g, 0)",
        "[a1]*(g-g)",
        "ema(g-g, 0.9) + 2",
        "quotient(exp(g), exp(g))",
        "clip_norm(0*g) + dropout(0*w, 0.5)",
        "max(min0(abs(g)), 1)",
    ],
)
def test_nothing_can_change_a_constant(text: str) -> None:
    assert dependencies(parse_expression(text)) == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "sign(abs(g))",
        "sign(g)",
        "quotient(g, g)",
        "g/g",
        "exp(g)",
        "min0(g)",
        "max0(exp(g))",
        "min(exp(g), 1)",
        "delta(g) - previous(g)",
        "[a1]*g - g",
        "ema(g, 0.9) - ema(g, 0.95)",
        "running_max(min0(g))",
        "sign(log(exp(g)))",
    ],
)
def test_what_the_gradient_can_change_is_no_constant(text: str) -> None:
    assert dependencies(parse_expression(text)) == {"g"}


def test_the_gradient_and_the_weight_are_told_apart() -> None:
    assert dependencies(parse_expression("w1e_3 + 0*v")) == {"w"}
    assert dependencies(parse_expression("qh_g * w")) == {"g", "w"}


def vanishing() -> st.SearchStrategy[Expression]:
    """Expressions with parts that vanish for all, for some or for no gradients; none underflows."""

    def grow(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        unary = st.sampled_from(
            ["dsoftsign", "abs", "sign", "min0", "max0", "neg", "tanh", "previous"]
        )
        binary = st.sampled_from(["sub", "mul", "add", "clip", "max", "min", "quotient"])
        return (
            st.builds(lambda name, part: Call(name, (part,)), unary, inner)
            | st.builds(lambda name, *parts: Call(name, parts), binary, inner, inner)
            | st.builds(lambda name, part: Call(name, (part, part)), binary, inner)
        )

    leaves = st.sampled_from([parse_expression("g"), Constant(0.0), Constant(1.0)])
    return st.recursive(leaves, grow, max_leaves=6)


@settings(max_examples=100)
@given(vanishing())
def test_what_the_gradient_cannot_change_moves_alike_under_all_gradients(
    update: Expression,
) -> None:
    rule = Rule(update)
    if "g" in dependencies(rule.update):
        return
    start = torch.tensor([0.5, -1.0], dtype=torch.float64)

    def path(scale: float) -> Tensor:
        gradients = torch.tensor([scale, -scale], dtype=torch.float64)
        steps = reference_trajectory(
            rule,
            [start],
            gradient=lambda step, weights: [gradients * (1 + step)],
            rates=[0.1] * 3,
            momenta=[0.0] * 3,
            total_steps=3,
        )
        return torch.stack([weights[0] for weights in steps])

    one, other = path(0.3), path(-1.7)
    if one.isfinite().all() and other.isfinite().all():
        assert torch.allclose(one, other, rtol=1e-12, atol=0)


def test_a_function_of_a_user_tells_its_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FUNCTIONS, "_rows", {**FUNCTIONS})  # other tests read the table too

    @function(latex="h({0})", searched=(), sign=lambda x: 1)
    def bell(x: Tensor) -> Tensor:
        return (-x.square()).exp()

    assert value_of(FUNCTIONS["bell"], (0.5,)) > 0
    assert dependencies(parse_expression("sign(bell(g))")) == frozenset()
