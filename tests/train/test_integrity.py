"""The integrity check: same verdicts as a slow check on the reference, in any company."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import decays, rules, searched_rules
from torch import Tensor

from evolute.compiler.program import compile_rule
from evolute.compiler.reference import reference_trajectory
from evolute.lang.functions import function
from evolute.lang.registry import FUNCTIONS, Kind
from evolute.lang.rule import Rule
from evolute.train.integrity import (
    IntegrityVerdict,
    check_integrity,
    check_integrity_many,
    final_values,
    static_fault,
)

LOG = Path(__file__).parents[3] / "shared" / "data" / "published_search.csv"
X0 = torch.tensor([1.1, 0.9, 1.1, 0.9, 1.0], dtype=torch.float64)
B = torch.tensor([0.5, 1.5, -0.3, -1.2, 0.75], dtype=torch.float64)
PEAKS = (1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001)


def objective(x: Tensor) -> float:
    return float(((x - B) ** 2).sum())


def slow_end(rule: Rule, peak: float) -> float:
    """f after 35 steps of the reference, warm-up 6, cosine to 0, momentum 0.95 → 0.85 → 0.95."""
    rise = [t / 6 for t in range(6)]
    fall = [t / 29 for t in range(29)]
    path = reference_trajectory(
        rule,
        [X0],
        gradient=lambda step, weights: [2 * (weights[0] - B)],
        rates=[*(peak * p for p in rise), *(peak * (1 + math.cos(math.pi * p)) / 2 for p in fall)],
        momenta=[*(0.95 - 0.1 * p for p in rise), *(0.85 + 0.1 * p for p in fall)],
    )
    return objective(path[-1][0])


def slow_verdict(rule: Rule) -> tuple[bool, int]:
    for sign in (1, -1):
        turned = rule.with_sign(sign * rule.sign)
        if any(slow_end(turned, peak) < 3.5 for peak in PEAKS):
            return True, sign
    return False, 1


def quick(verdict: IntegrityVerdict) -> tuple[bool, int]:
    return verdict.passed, verdict.sign


def same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


@settings(max_examples=25)
@given(searched_rules(max_leaves=8))
def test_verdict_is_that_of_the_reference(rule: Rule) -> None:
    if static_fault(rule) is None:
        assert quick(check_integrity(rule)) == slow_verdict(rule)


@settings(max_examples=15)
@given(rules(decays=decays()))
def test_every_lane_ends_where_the_reference_does(rule: Rule) -> None:
    (ends,) = final_values([compile_rule(rule)]).tolist()
    for lane, end in enumerate(ends):
        sign = 1 if lane < 6 else -1
        expected = slow_end(rule.with_sign(sign * rule.sign), PEAKS[lane % 6])
        assert end == pytest.approx(expected, rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("momentum", ["none", "momentum", "nesterov", "nesterov_published"])
@pytest.mark.parametrize(
    "update",
    [
        "v/(sqrt(s)+1e-08)",
        "dropout(g, 0.5) + dropout(dropout(g, 0.5), 0.1)",
        "clip_norm(g) + delta(previous(g))",
        "-([a3]*running_max([a2]*g))",
        "[quotient(1, a2)]*g",
        "0.1*w + ema(g, 0.95)",
    ],
)
def test_every_kind_of_function_ends_where_the_reference_does(update: str, momentum: str) -> None:
    rule = Rule.parse(f"{momentum}: {update}")
    (ends,) = final_values([compile_rule(rule)]).tolist()
    for lane in (0, 1, 2, 7):
        turned = rule.with_sign(rule.sign if lane < 6 else -rule.sign)
        assert ends[lane] == pytest.approx(slow_end(turned, PEAKS[lane % 6]), rel=1e-9)


@settings(max_examples=25)
@given(st.lists(searched_rules(), min_size=2, max_size=9), st.data())
def test_a_rule_ends_the_same_in_any_company(company: Sequence[Rule], data: st.DataObject) -> None:
    together = final_values([compile_rule(rule) for rule in company])
    order = data.draw(st.permutations(range(len(company))))
    shuffled = final_values([compile_rule(company[at]) for at in order])
    for place, at in enumerate(order):
        (alone,) = final_values([compile_rule(company[at])]).tolist()
        assert all(map(same, alone, together[at].tolist()))
        assert all(map(same, alone, shuffled[place].tolist()))


def test_many_batches_give_each_rule_its_own_verdict() -> None:
    known = [Rule.parse(text) for text in ("none: g", "none: -g", "none: w", "momentum: sign(g)")]
    verdicts = check_integrity_many(known * 160)
    assert verdicts == [check_integrity(rule) for rule in known] * 160
    assert check_integrity_many([]) == []


def test_gradient_descent_passes_with_its_own_sign() -> None:
    verdict = check_integrity(Rule.parse("none: g"))
    assert (verdict.passed, verdict.sign, verdict.learning_rate) == (True, 1, 1.0)
    assert verdict.final_value < 0.01
    assert verdict.sentence == f"f falls to {verdict.final_value:.3g} at rate 1, along u"


@pytest.mark.parametrize("text", ["none: -g", "momentum: 0.1-g", "none: -([a1]*sign(g))"])
def test_ascent_passes_with_the_sign_turned(text: str) -> None:
    rule = Rule.parse(text)
    verdict = check_integrity(rule)
    assert (verdict.passed, verdict.sign) == (True, -1)
    assert "against u" in verdict.sentence
    assert check_integrity(rule.with_sign(-rule.sign)).sign == 1


@pytest.mark.parametrize(
    "text", ["none: sign(abs(g))", "none: abs_pow(g, 0)", "none: max(sign(g), 2)"]
)
def test_an_update_that_is_one_number_fails(text: str) -> None:
    verdict = check_integrity(Rule.parse(text))
    assert (verdict.passed, verdict.sign, verdict.learning_rate) == (False, 1, None)
    assert verdict.final_value > 4.3
    assert "fails the integrity check" in verdict.sentence


def test_an_update_that_is_never_finite_fails() -> None:
    verdict = check_integrity(Rule.parse("none: quotient(g, 0)"))
    assert not verdict.passed
    assert verdict.final_value == math.inf
    assert "never finite" in verdict.sentence


def test_a_rule_too_small_to_move_fails() -> None:
    assert not check_integrity(Rule.parse("none: 1e-09*g")).passed


def test_a_schedule_infinite_at_the_start_is_no_fault_of_the_descent() -> None:
    (ends,) = final_values([compile_rule(Rule.parse("none: [quotient(0.01, a2)]*g"))]).tolist()
    assert all(math.isfinite(end) for end in ends)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("none: 2", "the update is constant"),
        ("none: exp(1) + 2", "the update is constant"),
        ("none: tanh(w)", "no path leads from the gradient"),
        ("none: w1e_3 * w1e_5", "no path leads from the gradient"),
        ("none: g + [a1+a2+a3]*g", r"the decay \[a1\+a2\+a3\] leaves \[0, 1\]"),
        ("none: g + [a1-1]*g", r"the decay \[a1-1\] leaves \[0, 1\]"),
        ("none: [a1-a1]*g", r"the schedule \[a1-a1\] is 0 at every step"),
        ("none: [quotient(0, a2)]*g", "is nan at step 0 of 100"),
        ("none: [quotient(1, a2-a2)]*g", "is inf at step 1 of 100"),
        ("none: [exp(exp(exp(a2*4)))]*g", "is inf at step 48 of 100"),
        ("none: g + [log(a1-a1)-log(a2-a2)-0.5]*g", "runs from -0.5 to -0.5"),
        ("none: g + [quotient(0, a2)]*g", "runs from nan to nan"),
        ("none: g + [quotient(1, a2)]*g", "runs from 1.0101 to inf"),
    ],
)
def test_static_faults_are_found_and_end_the_check(text: str, fault: str) -> None:
    rule = Rule.parse(text)
    found = static_fault(rule)
    assert found is not None
    with pytest.raises(ValueError, match=fault):
        raise ValueError(found)
    verdict = check_integrity(rule)
    assert (verdict.passed, verdict.sentence) == (False, found)


LR1 = "erfc(erfc(a4))/dtanh(a8)"
LR8 = "quotient(1, sqrt(softsign(arctan(a12))))"
"""The published schedules that leave [0, 1] (LR1 reaches 1.96) and that are infinite at t = 0."""


@pytest.mark.parametrize(
    "text",
    [
        "none: [a3]*g",
        "none: agg_g",
        "nesterov: [erfc(a11)]*g*exp(s)",
        f"none: [{LR1}]*(qh_g/clip(2, [arctan(a13)]*exp(v)))",
        f"none: [{LR8}]*g",
        "none: [a1-1]*g",
    ],
)
def test_sound_rules_have_no_static_fault(text: str) -> None:
    assert static_fault(Rule.parse(text)) is None


@pytest.mark.parametrize(
    "update",
    [
        "qh_g/clip(2, [arctan(a13)]*exp(v))",
        "qh_g/clip(2, exp(v))",
        "qh_g/abs([dtanh(a4)]*exp(w1e_4))",
    ],
    ids=["Opt4", "Opt5", "Opt6"],
)
def test_published_discoveries_pass_under_their_own_schedule(update: str) -> None:
    assert check_integrity(Rule.parse(f"none: [{LR1}]*({update})")).passed


def test_functions_of_a_user_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FUNCTIONS, "_rows", {**FUNCTIONS})  # other tests read the table too

    @function(latex="h({0})", kind=Kind.PER_TENSOR, searched=())
    def less_its_mean(x: Tensor, *, dims: tuple[int, ...]) -> Tensor:
        return x - x.mean(dim=dims, keepdim=True)

    @function(latex="k({0})", kind=Kind.STATEFUL, searched=())
    def so_far(x: Tensor, *, state: Tensor, step: int) -> tuple[Tensor, Tensor]:
        return state + x, state + x

    assert {"less_its_mean", "so_far"} <= set(FUNCTIONS)
    rule = Rule.parse("none: g + less_its_mean(g) + 0.1*so_far(g)")
    (ends,) = final_values([compile_rule(rule)]).tolist()
    assert ends[1] == pytest.approx(slow_end(rule, 0.1), rel=1e-9)


def test_noise_of_the_check_is_its_own() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    rule = Rule.parse("none: dropout(g, 0.5)")
    assert check_integrity(rule) == check_integrity(rule)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.skipif(
    not LOG.exists() and os.environ.get("CI") != "true",
    reason="the published log is not beside the repository",
)
def test_published_survivors_pass() -> None:
    with LOG.open(newline="") as file:
        rows = list(csv.DictReader(file))
    scored = [Rule.from_published(row["expression"]) for row in rows if row["val_accuracy"]][:200]
    verdicts = check_integrity_many(scored)
    assert sum(verdict.passed for verdict in verdicts) / len(verdicts) > 0.95
