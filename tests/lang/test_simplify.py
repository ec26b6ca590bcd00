"""The canonical form by example; tests/properties holds what is true of any rule."""

from __future__ import annotations

import pytest

from evolute.lang.expression import OperandRef
from evolute.lang.registry import OPERANDS
from evolute.lang.rule import Rule
from evolute.lang.simplify import simplify


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # commuted operands
        ("g+v", "v+g"),
        ("tanh(g)*max(s, w)", "max(w, s)*tanh(g)"),
        ("min(g, [a1]*v)", "min([a1]*v, g)"),
        # double negation, identity, ones and zeros
        ("tanh(-(-g))", "tanh(g)"),
        ("max(identity(g), identity(identity(v)))", "max(g, v)"),
        ("1*g*1+0", "g"),
        ("0-g", "-g"),
        ("quotient(g, 1)", "g"),
        ("-1*g", "-g"),
        # signs
        ("v - -g", "v+g"),
        ("-v-g", "-(g+v)"),
        ("-v+g", "g-v"),
        ("tanh(-g)*v", "-(tanh(g)*v)"),
        ("(-g)*(-v)", "g*v"),
        ("-2*g", "-(2*g)"),
        ("clip(-g, -v)", "-clip(g, v)"),
        ("div_hypot(g, -v)", "div_hypot(g, v)"),
        ("sqrt(abs(-g))", "sqrt(g)"),
        ("log(abs(g))*([a1]*-v)", "log(g)*-([a1]*v)"),
        ("tanh(g-v)", "-tanh(v-g)"),
        ("abs(g-v)", "abs(v-g)"),
        ("dropout(-g, 0.5)+v", "v-dropout(g, 0.5)"),
        # idempotent functions
        ("abs(abs(g))", "abs(g)"),
        ("sign(sign_g)", "sign_g"),
        ("max0(max0(g))*v", "max0(g)*v"),
        ("max(g, g)*v", "g*v"),
        ("clip(v, v)", "v"),
        ("running_max(running_max(g))", "running_max(g)"),
        # brackets
        ("v+[a1]*([a2]*g)", "v+[a1*a2]*g"),
        ("v+[a2]*([a1]*([a3]*g))", "[a3*(a2*a1)]*g+v"),
        ("v+[1]*g", "v+g"),
        ("v+[identity(a9)]*g", "v+[a9]*g"),
        ("v+[max(a1, a2)]*g", "v+[max(a2, a1)]*g"),
        ("[a1]*([a2]*g)", "[a2*a1]*g"),
        # operands and what they stand for
        ("g*g", "g2"),
        ("g2*g", "g3"),
        ("ema(g*g, 0.99)", "s"),
        ("0.7*v+0.3*g", "qh_g"),
        ("sign(ema(g, 0.9))", "sign_v"),
    ],
)
@pytest.mark.parametrize("around", ["none: {}", "nesterov: bessel_i1e(g*({}))"])
def test_rules_that_differ_only_as_written_have_one_canonical_form(
    one: str, other: str, around: str
) -> None:
    canonical = Rule.parse(around.format(one)).canonical()
    assert canonical == Rule.parse(around.format(other)).canonical()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("none: g", "momentum: g"),
        ("nesterov: g", "nesterov_published: g"),
        ("none: g", "none: -g"),
        ("none: g", "none: [a1]*g"),
        ("none: g-v", "none: v-g"),
        ("none: g/v", "none: v/g"),
        ("none: g/1", "none: g"),
        ("none: g*0+v", "none: v"),
        ("none: v+(g-g)", "none: v"),
        ("none: exp(-g)", "none: exp(g)"),
        ("none: g/-v", "none: -(g/v)"),
        ("none: max(-g, v)", "none: -max(g, v)"),
        ("none: (g+v)+s", "none: g+(v+s)"),
        ("none: tanh(tanh(g))", "none: tanh(g)"),
        ("none: ema(g, 0.9)", "none: ema(g, 0.99)"),
        ("none: ema(ema(g, 0.9), 0.9)", "none: ema(g, 0.9)"),
        ("none: dropout(g, 0.5)", "none: dropout(g, 0.3)"),
        ("none: [square(a1)]*([a2]*g)", "none: [square(a1*a2)]*g"),
        ("none: ema_raw(g, 0.9)", "none: v"),
    ],
)
def test_rules_that_differ_keep_different_canonical_forms(one: str, other: str) -> None:
    assert Rule.parse(one).canonical() != Rule.parse(other).canonical()


@pytest.mark.parametrize("name", list(OPERANDS))
def test_every_published_operand_is_canonical(name: str) -> None:
    rule = Rule.parse(f"none: bessel_i1e({name})")
    assert rule.canonical() == rule


def test_descending_the_other_way_changes_the_sign_alone() -> None:
    one, other = Rule.parse("g-v").canonical(), Rule.parse("v-g").canonical()
    assert one.sign == -other.sign
    assert one.with_sign(1) == other.with_sign(1)


def test_opposite_differences_inside_a_rule_are_written_without_a_minus() -> None:
    assert str(Rule.parse("max(v-g, g)").canonical()) == "none: max(v-g, g)"
    assert str(Rule.parse("max(g-v, g)").canonical()) == "none: max(g-v, g)"


def test_a_canonical_operand_is_itself() -> None:
    assert simplify(OperandRef("agg_g3")) == OperandRef("agg_g3")
