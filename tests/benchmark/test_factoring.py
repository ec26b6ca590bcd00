"""A decay on the whole update is split off as a schedule, and the rule stays the same rule."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from strategies import searched_rules
from torch import Tensor

from evolute.benchmark.factoring import split_schedule
from evolute.compiler.reference import reference_trajectory
from evolute.lang.rule import Rule

STEPS = 6


def trajectory(rule: Rule) -> list[Tensor]:
    """Where a rule leads within some steps of a small, fixed problem."""
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(5, generator=generator, dtype=torch.float64)
    noise = torch.randn(STEPS, 5, generator=generator, dtype=torch.float64)
    path = reference_trajectory(
        rule,
        [start],
        gradient=lambda step, _weights: [noise[step]],
        rates=[0.01] * STEPS,
        momenta=[0.9] * STEPS,
        total_steps=10,
    )
    return [weights[0] for weights in path]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none: tanh([a1]*g)", "none: tanh([a1]*g)"),
        ("none: -(g*[a1]*v)", "none: -([a1]*(g*v))"),
        ("none: ([a1]*g)*([a2]*v)", "none: [a1*a2]*(g*v)"),
        ("none: [a1]*g/sqrt(s)", "none: [a1]*(g/sqrt(s))"),
        ("none: g/([a1]*v)", "none: g/([a1]*v)"),
        ("none: [a1]*g + [a1]*v", "none: [a1]*(g+v)"),
        ("none: [a1]*g + [a2]*v", "none: [a1]*g+[a2]*v"),
        ("none: [a1*a3]*g - [a3]*v", "none: [a3]*([a1]*g-v)"),
        ("none: clip([a4]*g, [a4]*v)", "none: [a4]*clip(g, v)"),
        ("none: max([a1]*g, [a1]*v)", "none: [a1]*max(g, v)"),
        ("none: max([a1-a2]*g, [a1-a2]*v)", "none: max([a1-a2]*g, [a1-a2]*v)"),
        ("none: sqrt([a1]*g)", "none: [sqrt(a1)]*sqrt(g)"),
        ("none: abs([a1-a2]*g)", "none: [abs(a1-a2)]*abs(g)"),
        ("none: [a3]*(g*[a1]*v)", "none: [a1*a3]*(g*v)"),
        ("none: ema([a1]*g, 0.9)", "none: ema([a1]*g, 0.9)"),
        ("none: clip_norm([a1]*g)", "none: clip_norm([a1]*g)"),
        ("none: dropout([a1]*g, 0.5)", "none: dropout([a1]*g, 0.5)"),
    ],
)
def test_a_factor_moves_out_where_it_passes_and_stays_where_it_does_not(
    text: str, expected: str
) -> None:
    assert str(split_schedule(Rule.parse(text))) == expected


@given(searched_rules())
def test_the_rule_leads_where_it_led(rule: Rule) -> None:
    split = split_schedule(rule)
    for before, after in zip(trajectory(rule), trajectory(split), strict=True):
        assert torch.allclose(before, after, rtol=1e-6, atol=1e-9, equal_nan=True)


@given(searched_rules())
def test_splitting_twice_changes_nothing_more(rule: Rule) -> None:
    once = split_schedule(rule)
    assert split_schedule(once) == once


def test_what_is_split_off_works_with_another_optimizer() -> None:
    schedule = split_schedule(Rule.parse("none: ([a3]*g)/sqrt(s)")).schedule
    other = Rule(Rule.parse("none: v").update, schedule=schedule)
    assert str(other) == "none: [a3]*v"
