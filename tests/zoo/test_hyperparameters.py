"""What people tune in an optimizer, as the zoo declares it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from zoo.test_torch import RATE, STEPS, Build, trained

from evolute import zoo
from evolute.compiler.optimizer import RuleOptimizer
from evolute.errors import UnknownNameError
from evolute.lang.rule import Rule
from evolute.zoo.hyperparameters import HyperParameter, Scale

TUNED = [name for name in zoo.names() if zoo.load(name).hyperparameters]
WITH_DEFAULTS = [
    name for name in TUNED if all(e.default is not None for e in zoo.load(name).hyperparameters)
]


@pytest.mark.parametrize("name", TUNED)
def test_a_template_at_its_defaults_is_the_entrys_rule(name: str) -> None:
    entry = zoo.load(name)
    assert entry.rule_with({}).canonical() == entry.rule.canonical()


@pytest.mark.parametrize("name", TUNED)
def test_each_hyperparameter_changes_the_rule_and_its_default_lies_in_its_range(name: str) -> None:
    entry = zoo.load(name)
    for each in entry.hyperparameters:
        assert each.default is None or each.lowest <= each.default <= each.highest
        for end in {each.lowest, each.highest} - {each.default}:
            assert entry.rule_with({each.name: end}).canonical() != entry.rule.canonical()


@pytest.mark.parametrize("name", WITH_DEFAULTS)
def test_a_template_filled_with_the_defaults_moves_weights_as_the_entrys_rule_does(
    name: str,
) -> None:
    entry = zoo.load(name)
    first = next(each for each in entry.hyperparameters if each.default)
    assert first.default is not None
    # What differs in the last bit is written alike, but is no default: the template is filled.
    filled = entry.rule_with({first.name: math.nextafter(first.default, 0.0)})
    assert filled is not entry.rule
    for mine, other in zip(moved(filled), moved(entry.rule), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-9)


def moved(rule: Rule) -> list[Tensor]:
    return trained(lambda p: RuleOptimizer(p, rule, lr=RATE, total_steps=STEPS), torch.float64)


@pytest.mark.parametrize(
    ("name", "values", "build"),
    [
        ("adam", {"beta1": 0.8, "beta2": 0.95, "eps": 1e-5},
         lambda p: torch.optim.Adam(p, lr=RATE, betas=(0.8, 0.95), eps=1e-5)),
        ("adamw", {"beta1": 0.8, "beta2": 0.99, "weight_decay": 0.1},
         lambda p: torch.optim.AdamW(p, lr=RATE, betas=(0.8, 0.99), weight_decay=0.1)),
        ("amsgrad", {"beta2": 0.99, "eps": 1e-5},
         lambda p: torch.optim.Adam(p, lr=RATE, betas=(0.9, 0.99), eps=1e-5, amsgrad=True)),
        ("nadam", {"beta1": 0.8, "beta2": 0.99, "eps": 1e-5},
         lambda p: torch.optim.NAdam(p, lr=RATE, betas=(0.8, 0.99), eps=1e-5)),
        ("rmsprop", {"alpha": 0.95, "eps": 1e-5},
         lambda p: torch.optim.RMSprop(p, lr=RATE, alpha=0.95, eps=1e-5)),
        ("adagrad", {"eps": 1e-4}, lambda p: torch.optim.Adagrad(p, lr=RATE, eps=1e-4)),
        ("momentum", {"momentum": 0.95}, lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.95)),
        ("nesterov", {"momentum": 0.95},
         lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.95, nesterov=True)),
    ],
)  # fmt: skip
def test_a_tuned_optimizer_follows_that_of_torch(
    name: str, values: dict[str, float], build: Build
) -> None:
    ours, theirs = moved(zoo.load(name).rule_with(values)), trained(build, torch.float64)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-6)


def test_every_hand_made_optimizer_with_something_to_tune_declares_it() -> None:
    hand_made = set(zoo.names(zoo.EntryKind.HAND_MADE))
    assert hand_made - set(TUNED) == {"sgd", "signsgd"}


def test_the_usual_optimizers_declare_what_people_tune() -> None:
    declared = {name: [each.name for each in zoo.load(name).hyperparameters] for name in TUNED}
    assert declared["adamw"] == ["beta1", "beta2", "weight_decay"]
    assert declared["lion"] == ["beta1", "beta2", "weight_decay"]
    assert declared["adabelief"] == ["beta1", "beta2", "eps", "weight_decay"]
    assert {name for name in declared if "weight_decay" in declared[name]} == {
        *("adabelief", "adamw", "lion")
    }
    assert declared["momentum"] == declared["nesterov"] == ["momentum"]
    assert zoo.load("opt6").hyperparameters == ()


@pytest.mark.parametrize(
    ("row", "declared"),
    [
        ("β1 of Adam and its kin", "adam adamw amsgrad nadam adabelief: beta1"),
        ("β2 of Adam and its kin", "adam adamw amsgrad nadam adabelief: beta2"),
        ("ε of Adam, AMSGrad, NAdam, RMSprop", "adam amsgrad nadam rmsprop: eps"),
        ("ε of AdaBelief", "adabelief: eps"),
        ("weight decay of AdamW", "adamw: weight_decay"),
        ("weight decay of Lion", "lion: weight_decay"),
        ("weight decay of AdaBelief", "adabelief: weight_decay"),
        ("β1, β2 of Lion", "lion: beta1 beta2"),
        ("decay of RMSprop", "rmsprop: alpha"),
        ("coefficient of momentum, Nesterov", "momentum nesterov: momentum"),
        ("ν, β of QHM", "qhm: nu beta"),
        ("βs of AggMo", "aggmo: beta1 beta2"),
        ("β of Demon", "demon: beta"),
    ],
)
def test_the_page_on_the_benchmark_states_the_declared_ranges(row: str, declared: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "bench.md").read_text(encoding="utf-8")
    cells = next(line for line in page.splitlines() if line.startswith(f"| {row} |")).split("|")
    stated = [
        (float(low), float(high)) for low, high in re.findall(r"(\S+) to ([\d.e-]+)", cells[2])
    ]
    names, parameters = (part.split() for part in declared.split(":"))
    for name in names:
        known = {each.name: each for each in zoo.load(name).hyperparameters}
        ranges = [(known[each].lowest, known[each].highest) for each in parameters]
        assert ranges == stated, name


def test_lion_with_another_beta_weighs_both_of_its_terms() -> None:
    rule = zoo.load("lion").rule_with({"beta1": 0.95, "beta2": 0.98})
    assert rule == Rule.parse("none: sign(0.95*previous(ema_raw(g, 0.98))+0.05*g)")


def test_an_unknown_hyperparameter_gives_the_nearest_ones() -> None:
    with pytest.raises(UnknownNameError, match="hyper-parameter of adamw 'beta3': did you mean"):
        zoo.load("adamw").rule_with({"beta3": 0.5})


def test_the_learning_rate_to_begin_with_is_the_customary_one() -> None:
    assert zoo.load("adam").learning_rate == pytest.approx(1e-3)
    assert zoo.load("sgd").learning_rate == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("scale", "lowest", "highest", "middle"),
    [
        (Scale.LOG, 1e-4, 1e-2, 1e-3),
        (Scale.COMPLEMENT, 0.9, 0.999, 0.99),
        (Scale.LINEAR, 1.0, 2.0, 1.5),
    ],
)
def test_the_middle_of_a_range_is_that_of_its_scale(
    scale: Scale, lowest: float, highest: float, middle: float
) -> None:
    each = HyperParameter("x", middle, lowest, highest, scale)
    assert [each.value(unit) for unit in (0.0, 0.5, 1.0)] == pytest.approx(
        [lowest, middle, highest]
    )


@given(st.sampled_from(Scale), st.floats(-0.5, 1.5))
def test_unit_is_the_inverse_of_value(scale: Scale, unit: float) -> None:
    each = HyperParameter("x", 0.5, 0.4, 0.9, scale)
    assert each.unit(each.value(unit)) == pytest.approx(unit, abs=1e-4)


@pytest.mark.parametrize(
    ("scale", "lowest", "highest"),
    [(Scale.LOG, 0.0, 1.0), (Scale.COMPLEMENT, 0.5, 1.0), (Scale.LINEAR, 2.0, 2.0)],
)
def test_a_range_that_its_scale_does_not_know_is_refused(
    scale: Scale, lowest: float, highest: float
) -> None:
    with pytest.raises(ValueError, match="is no range of scale"):
        HyperParameter("x", lowest, lowest, highest, scale)
