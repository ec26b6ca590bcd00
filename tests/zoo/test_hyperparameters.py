"""What people tune in an optimizer, as the zoo declares it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolute import zoo
from evolute.errors import UnknownNameError
from evolute.lang.rule import Rule
from evolute.zoo.hyperparameters import HyperParameter, Scale

TUNED = [name for name in zoo.names() if zoo.load(name).hyperparameters]


@pytest.mark.parametrize("name", TUNED)
def test_a_template_at_its_defaults_is_the_entrys_rule(name: str) -> None:
    entry = zoo.load(name)
    assert entry.rule_with({}).canonical() == entry.rule.canonical()


@pytest.mark.parametrize("name", TUNED)
def test_each_hyperparameter_changes_the_rule_and_its_default_lies_in_its_range(name: str) -> None:
    entry = zoo.load(name)
    for each in entry.hyperparameters:
        assert each.lowest <= each.default <= each.highest
        for end in (each.lowest, each.highest):
            assert entry.rule_with({each.name: end}).canonical() != entry.rule.canonical()


def test_the_usual_optimizers_declare_what_people_tune() -> None:
    declared = {name: [each.name for each in zoo.load(name).hyperparameters] for name in TUNED}
    assert declared["adamw"] == ["beta1", "beta2", "weight_decay"]
    assert declared["lion"] == ["beta1", "beta2"]
    assert zoo.load("opt6").hyperparameters == ()


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
