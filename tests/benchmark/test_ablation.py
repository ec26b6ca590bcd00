"""What each part of a rule is worth: the variants, what is found about them, what is offered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from benchmark.bench_laboratory import PROTOCOL, Answer, BenchLaboratory
from hypothesis import given
from strategies import searched_rules

from evolute.benchmark.ablation import PartKind, Variant, reads_gradient, size, variants
from evolute.benchmark.comparison import Finding
from evolute.benchmark.config import ExplainConfig
from evolute.benchmark.decay_effect import POINTS, decay_effect
from evolute.benchmark.explained import PartResult
from evolute.benchmark.explanation import Ablation
from evolute.errors import InputError
from evolute.lang.curve import curve
from evolute.lang.rule import Rule
from evolute.train.fingerprint import Recording

CONFIG = ExplainConfig(tuning_seeds=1, seeds=6, grid_half_width=1, widenings=1, margin=0.02)
RULE = Rule.parse("none: tanh([a3]*g)+1e-06*v")


def parts_of(rule: Rule) -> dict[str, str]:
    return {variant.part: str(variant.rule) for variant in variants(rule)}


def test_every_decay_node_constant_and_momentum_type_has_its_variant() -> None:
    found = parts_of(Rule.parse("momentum: [a1]*([a3]*tanh(g)-ema(v, 0.9))"))
    assert found == {
        "schedule [a1] removed": "momentum: [a3]*tanh(g)-ema(v, 0.9)",
        "decay [a3] on tanh(g) removed": "momentum: [a1]*(tanh(g)-ema(v, 0.9))",
        "[a3]*tanh(g)-ema(v, 0.9) bypassed: [a3]*tanh(g) stays": "momentum: [a1*a3]*tanh(g)",
        "[a3]*tanh(g)-ema(v, 0.9) bypassed: ema(v, 0.9) stays": "momentum: [a1]*ema(v, 0.9)",
        "tanh(g) bypassed": "momentum: [a1]*([a3]*g-ema(v, 0.9))",
        "ema(v, 0.9) bypassed": "momentum: [a1]*([a3]*tanh(g)-v)",
        "memory of ema(v, 0.9) halved": "momentum: [a1]*([a3]*tanh(g)-ema(v, 0.8))",
        "memory of ema(v, 0.9) doubled": "momentum: [a1]*([a3]*tanh(g)-ema(v, 0.95))",
        "momentum type none": "none: [a1]*([a3]*tanh(g)-ema(v, 0.9))",
        "momentum type nesterov": "nesterov: [a1]*([a3]*tanh(g)-ema(v, 0.9))",
    }


def test_all_inner_decays_are_also_removed_together() -> None:
    found = parts_of(Rule.parse("none: [a3]*tanh(g)+[a1]*v"))
    assert found["all inner decays removed"] == "none: tanh(g)+v"


def test_a_parameter_that_leaves_its_range_is_left_out() -> None:
    found = parts_of(Rule.parse("none: dropout(g, 0.5)"))
    assert found["rate of dropout(g, 0.5) halved"] == "none: dropout(g, 0.25)"
    assert "rate of dropout(g, 0.5) doubled" not in found


@given(searched_rules())
def test_no_variant_is_the_rule_or_another_variant_and_each_reads_the_gradient(rule: Rule) -> None:
    found = variants(rule)
    texts = [str(variant.rule.canonical()) for variant in found]
    assert len(set(texts)) == len(texts)
    assert str(rule.canonical()) not in texts
    assert all(reads_gradient(variant.rule) for variant in found)
    assert all(
        size(variant.rule) < size(rule)
        for variant in found
        if variant.simpler and variant.kind is not PartKind.DECAY
    )


def ablation(laboratory: BenchLaboratory, rule: Rule = RULE, **changes: Any) -> Ablation:
    arguments: dict[str, Any] = {"learning_rate": 1e-3, "config": CONFIG}
    return Ablation(
        rule=rule, evaluate=laboratory, protocol=PROTOCOL, seed=5, **{**arguments, **changes}
    )


def part(found: Sequence[tuple[Variant, PartResult]], name: str) -> PartResult:
    return next(result for variant, result in found if variant.part == name)


WORTH = {
    # Without tanh or without its decay the loss is higher; the term 1e-06*v is worth nothing.
    "tanh([a3]*g": Answer(0.30),
    "tanh(": Answer(0.50),
    "v": Answer(2.0),
}


def test_a_part_that_is_worth_something_is_told_from_one_that_is_not() -> None:
    found = ablation(BenchLaboratory(WORTH)).parts()
    bypassed = part(found, "tanh([a3]*g)+1e-06*v bypassed: tanh([a3]*g) stays")
    assert bypassed.not_worse
    decay = part(found, "decay [a3] on g removed")
    assert not decay.not_worse
    assert decay.comparison is not None
    assert decay.comparison.finding is Finding.WORSE
    assert decay.comparison.interval is not None
    assert decay.comparison.interval.mean == pytest.approx(0.2, abs=0.01)


def test_variants_are_compared_on_validation_seeds_that_tuning_never_saw() -> None:
    laboratory = BenchLaboratory(WORTH)
    work = ablation(laboratory)
    work.simplest(work.parts())
    validation = {r.seed for r in laboratory.requests if r.protocol.split == "validation"}
    test = {r.seed for r in laboratory.requests if r.protocol.split == "test"}
    assert len(validation) == CONFIG.tuning_seeds + CONFIG.seeds
    assert len(test) == CONFIG.seeds
    assert not validation & test


def test_the_simplest_rule_that_is_not_worse_is_offered_with_its_margin() -> None:
    work = ablation(BenchLaboratory(WORTH))
    simplest = work.simplest(work.parts())
    assert simplest is not None
    assert "v" not in simplest.rule
    assert "tanh(" in simplest.rule
    assert "[a3]" in simplest.rule
    assert simplest.size_after < simplest.size_before == size(RULE)
    assert simplest.not_worse
    assert simplest.margin == pytest.approx(0.02 * 0.3, abs=0.004)


def test_what_has_its_best_rate_on_the_edge_of_its_grid_is_named() -> None:
    # Without tanh the best rate lies three decades off, with it where all grids begin.
    work = ablation(BenchLaboratory({"tanh(": Answer(0.3), "": Answer(0.3, log_rate=0.0)}))
    parts = work.parts()
    far = [repr(variant.part) for variant, _ in parts if "tanh(" not in str(variant.rule)]
    expected = [
        f"the best rate of {name}, 0.00562, is the edge of its grid, widened once: a better one "
        "may lie beyond"
        for name in far
    ]
    assert far
    assert list(work.notes(parts, work.simplest(parts))) == expected


def test_a_rule_whose_own_best_rate_is_the_edge_of_its_grid_is_named_first() -> None:
    work = ablation(BenchLaboratory({"": Answer(0.3, log_rate=0.0)}))
    parts = work.parts()
    notes = work.notes(parts, None)
    assert notes[0].startswith("the best rate of the rule itself, 0.00562, is the edge")
    assert len(notes) == 1 + len(parts)


def test_what_fails_on_fresh_seeds_is_not_confirmed() -> None:
    worse = {"+1e-06*v": Answer(0.30), "tanh([a3]*g": Answer(0.30, test_shift=0.5)}
    work = ablation(BenchLaboratory(worse))
    simplest = work.simplest(work.parts())
    assert simplest is not None
    assert not simplest.not_worse


def test_what_is_offered_still_reads_the_gradient() -> None:
    # To the laboratory every rule is alike: each part goes, but the gradient stays.
    alike = BenchLaboratory({"": Answer(0.3)}, noise=0.0001)
    work = ablation(alike, Rule.parse("none: tanh(2*g)+3*g"))
    simplest = work.simplest(work.parts())
    assert simplest is not None
    assert reads_gradient(Rule.parse(simplest.rule))


def test_where_every_part_is_worth_something_nothing_is_offered() -> None:
    answers = {"tanh([a3]*g)": Answer(0.3), "g": Answer(0.9)}
    work = ablation(BenchLaboratory(answers), Rule.parse("none: tanh([a3]*g)"))
    assert work.simplest(work.parts()) is None


def test_a_rule_that_never_finishes_cannot_be_explained() -> None:
    never = BenchLaboratory({"g": Answer(0.5, diverges=True)})
    with pytest.raises(InputError, match="finishes at no learning rate here"):
        ablation(never).own()
    with pytest.raises(InputError, match="does not finish here, .* diverged: the loss became NaN"):
        ablation(never, learning_rate=None).own()


def recording() -> Recording:
    generator = torch.Generator().manual_seed(0)
    tensors = tuple((torch.randn(20, generator=generator, dtype=torch.float64),) for _ in range(4))
    return Recording(tensors, tensors)


def test_the_decays_of_a_linear_rule_together_are_their_product() -> None:
    effect = decay_effect(Rule.parse("none: [a3]*(2*([a1]*g))"), recording())
    expected = curve(Rule.parse("none: [a1*a3]*g").schedule or pytest.fail("no schedule"), POINTS)
    assert effect == pytest.approx(expected.tolist())


def test_a_decay_inside_a_bounded_function_matters_less_than_its_value() -> None:
    half = Rule.parse("none: tanh(100*[dsigmoid(0*a1)*2]*g)")  # ½ everywhere
    effect = decay_effect(half, recording())
    assert all(0.9 < value < 1.0 for value in effect)
