"""Ranges that grow again and again stay ranges that an optimizer can be tried in."""

from __future__ import annotations

import math

import pytest

from evolute import zoo
from evolute.benchmark.entrants import Entrant
from evolute.benchmark.sobol import LARGEST_BETA, LARGEST_RATE, wider
from evolute.zoo.hyperparameters import HyperParameter, Scale

RANGES = [
    (name, each)
    for name in zoo.names(zoo.EntryKind.HAND_MADE)
    for each in Entrant.of_zoo(zoo.load(name)).ranges(3.0)
]


@pytest.mark.parametrize(("name", "each"), RANGES, ids=lambda each: getattr(each, "name", each))
@pytest.mark.parametrize("lower", [True, False])
def test_every_range_of_the_zoo_may_grow_ten_times(
    name: str, each: HyperParameter, lower: bool
) -> None:
    entry = zoo.load(name)
    for _ in range(10):
        grown = wider(each, lower=lower)
        assert grown.lowest <= each.lowest < each.highest <= grown.highest
        each = grown
    values = [each.value(unit) for unit in (0.0, 0.5, 1.0)]
    assert all(map(math.isfinite, values))
    if each.name == "learning_rate":
        assert 0.0 < each.lowest < each.highest <= LARGEST_RATE
        return
    for value in values:
        assert value >= 0.0
        entry.rule_with({each.name: value})  # must be a rule


@pytest.mark.parametrize("lower", [True, False])
def test_a_beta_stays_a_beta(lower: bool) -> None:
    beta = HyperParameter("beta", 0.99, 0.9, 0.9999, Scale.COMPLEMENT)
    for _ in range(5):
        beta = wider(beta, lower=lower)
    assert (beta.lowest, beta.highest) == ((0.0, 0.9999) if lower else (0.9, LARGEST_BETA))
