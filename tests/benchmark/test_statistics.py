from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evolute.benchmark.statistics import (
    MOST_SEEDS,
    Estimate,
    estimate,
    paired_interval,
    seeds_needed,
    sign_test,
)


def test_the_standard_error_is_the_sample_deviation_over_the_root_of_n() -> None:
    # 2, 4, 9: mean 5, squares of the deviations 9 + 1 + 16 = 26, s² = 13, s/√3 = √(13/3)
    found = estimate([2.0, 4.0, 9.0])
    assert found is not None
    assert (found.mean, found.runs) == (5.0, 3)
    assert found.standard_error == pytest.approx(math.sqrt(13 / 3))


def test_one_value_has_no_standard_error_and_none_no_mean() -> None:
    assert estimate([2.0]) == Estimate(2.0, None, 1)
    assert estimate([]) is None


def test_values_that_overflow_give_no_estimate_rather_than_infinity() -> None:
    assert estimate([1e308, 1e308, 1e308]) is None
    assert estimate([1e300, -1e300]) is None
    assert paired_interval([1e300, -1e300], confidence=0.95) is None


def test_the_interval_by_hand() -> None:
    # 1, 2, 3: mean 2, standard error 1/√3; the t quantile with 2 degrees of freedom is 4.30265
    interval = paired_interval([1.0, 2.0, 3.0], confidence=0.95)
    assert interval is not None
    assert interval.mean == 2.0
    assert interval.lower == pytest.approx(2 - 4.30265 / math.sqrt(3), abs=1e-5)
    assert interval.upper == pytest.approx(2 + 4.30265 / math.sqrt(3), abs=1e-5)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=2, max_size=20).filter(
        lambda values: len(set(values)) > 1
    ),
    st.sampled_from([0.8, 0.95, 0.99]),
)
def test_the_interval_is_that_of_scipys_paired_t_test(
    values: list[float], confidence: float
) -> None:
    interval = paired_interval(values, confidence=confidence)
    expected = stats.ttest_rel(values, np.zeros(len(values))).confidence_interval(confidence)
    assert interval is not None
    assert interval.lower == pytest.approx(expected.low, rel=1e-9, abs=1e-9)
    assert interval.upper == pytest.approx(expected.high, rel=1e-9, abs=1e-9)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        interval = paired_interval(list(generator.normal(0.3, 1.0, size=6)), confidence=0.9)
        assert interval is not None
        covered += interval.lower <= 0.3 <= interval.upper
    assert 870 <= covered <= 930


def test_differences_without_variance_have_an_interval_without_width() -> None:
    interval = paired_interval([0.25, 0.25, 0.25], confidence=0.95)
    assert interval is not None
    assert interval.lower == interval.mean == interval.upper == 0.25


def test_fewer_than_two_differences_have_no_interval() -> None:
    assert paired_interval([0.3], confidence=0.95) is None
    assert paired_interval([], confidence=0.95) is None


@pytest.mark.parametrize(
    ("wins", "losses", "p_value"),
    # By hand: twice the lower tail of the binomial, as 2·(1+10+45)/2¹⁰ for 8 to 2.
    [(8, 2, 112 / 1024), (2, 8, 112 / 1024), (5, 5, 1.0), (6, 0, 2 / 64), (0, 0, 1.0), (1, 0, 1.0)],
)
def test_the_sign_test_by_hand(wins: int, losses: int, p_value: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(p_value)


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_the_seeds_needed_are_those_of_power_tables(effect: float, pairs: int) -> None:
    # Cohen (1988), two-sided paired t test, level 5%, power 80%.
    assert seeds_needed(effect, 1.0, confidence=0.95) == pairs
    assert seeds_needed(-3 * effect, 3.0, confidence=0.95) == pairs


def test_with_the_seeds_needed_four_of_five_experiments_show_the_difference() -> None:
    pairs = seeds_needed(0.8, 1.0, confidence=0.95)
    assert pairs is not None
    draws = np.random.default_rng(2).normal(0.8, 1.0, size=(4000, pairs))
    shown = stats.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05
    assert 0.78 <= shown.mean() <= 0.83


def test_a_difference_too_small_to_matter_needs_more_seeds_than_are_named() -> None:
    assert seeds_needed(1e-3, 1.0, confidence=0.95) is None
    assert seeds_needed(0.0, 1.0, confidence=0.95) is None
    nearly = seeds_needed(0.0281, 1.0, confidence=0.95)
    assert nearly is not None
    assert 0.99 * MOST_SEEDS < nearly <= MOST_SEEDS


@pytest.mark.parametrize("deviation", [1e-300, 1e-12, 1e-3])
def test_a_huge_difference_needs_few_seeds(deviation: float) -> None:
    pairs = seeds_needed(1.0, deviation, confidence=0.95)
    assert pairs is not None
    assert 2 <= pairs <= 3


def test_a_difference_without_variance_needs_two_seeds_and_no_difference_none() -> None:
    assert seeds_needed(0.1, 0.0, confidence=0.95) == 2
    assert seeds_needed(0.0, 0.0, confidence=0.95) is None
