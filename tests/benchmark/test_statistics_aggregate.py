"""Statistics over tasks, budgets and times: against hand-computed cases and scipy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evolute.benchmark.statistics import holm, paired_p_value
from evolute.benchmark.statistics_aggregate import (
    Values,
    interquartile_mean,
    probability_of_improvement,
    stratified_bootstrap,
)
from evolute.benchmark.statistics_budget import expected_best
from evolute.benchmark.statistics_profiles import (
    geometric_speed_up,
    performance_profile,
    profile_area,
    time_ratios,
)

NUMBERS = st.floats(-100, 100, allow_nan=False)
SAMPLE = st.lists(NUMBERS, min_size=1, max_size=12)
LEVELS = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(st.lists(st.integers(-20, 20).map(float), min_size=2, max_size=12))
def test_the_paired_p_value_is_that_of_scipy(differences: list[float]) -> None:
    p_value = paired_p_value(differences)
    if len(set(differences)) == 1:
        assert p_value == (0.0 if differences[0] else 1.0)
    else:
        assert p_value == pytest.approx(stats.ttest_1samp(differences, 0.0).pvalue, abs=1e-12)


def test_one_pair_has_no_p_value() -> None:
    assert paired_p_value([0.3]) is None


def test_holm_multiplies_the_smallest_by_their_number_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


@given(LEVELS)
def test_holm_rejects_what_its_step_down_definition_rejects(p_values: list[float]) -> None:
    alpha, rejected = 0.05, set()
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] * (len(p_values) - rank) > alpha:
            break
        rejected.add(index)
    corrected = holm(p_values)
    assert {index for index, value in enumerate(corrected) if value <= alpha} == rejected


@given(SAMPLE)
def test_the_interquartile_mean_is_the_trimmed_mean_of_scipy(values: list[float]) -> None:
    expected = stats.trim_mean(values, 0.25)
    assert interquartile_mean(values) == pytest.approx(expected, abs=1e-9)


def test_an_interquartile_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        interquartile_mean([])


@given(SAMPLE, SAMPLE)
def test_the_probability_of_improvement_is_mann_and_whitneys_u_by_the_pairs(
    first: list[float], second: list[float]
) -> None:
    u = stats.mannwhitneyu(first, second).statistic
    expected = u / (len(first) * len(second))
    assert probability_of_improvement([first], [second]) == pytest.approx(expected)


def test_tasks_count_alike_in_a_probability_of_improvement_whatever_their_runs() -> None:
    first = [[1.0], [0.0, 0.0, 0.0]]
    second = [[0.0], [1.0, 1.0, 1.0]]
    assert probability_of_improvement(first, second) == 0.5
    assert probability_of_improvement([[-math.inf]], [[0.0]]) == 0.0
    with pytest.raises(ValueError, match="at least one task"):
        probability_of_improvement([], [])


def mean_of_means(strata: Sequence[Values]) -> float:
    return float(np.mean([stratum.mean() for stratum in strata]))


def test_a_bootstrap_of_one_stratum_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).normal(size=30)
    interval = stratified_bootstrap(
        [values.tolist()], mean_of_means, confidence=0.9, resamples=4000, seed=3
    )
    expected = stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=4000, method="percentile", rng=4
    ).confidence_interval
    assert interval is not None
    assert interval.mean == pytest.approx(values.mean())
    assert (interval.lower, interval.upper) == pytest.approx(expected, abs=0.03)


def test_a_bootstrap_draws_within_each_stratum() -> None:
    # Each stratum is constant: drawn within them the mean never varies.
    interval = stratified_bootstrap(
        [[0.0] * 5, [10.0] * 5], mean_of_means, confidence=0.95, resamples=200, seed=0
    )
    assert interval is not None
    assert (interval.lower, interval.mean, interval.upper) == (5.0, 5.0, 5.0)


def test_a_bootstrap_that_is_not_finite_is_none_and_equal_seeds_draw_alike() -> None:
    def drawn(values: list[float], seed: int) -> object:
        return stratified_bootstrap(
            [values], mean_of_means, confidence=0.95, resamples=100, seed=seed
        )

    assert drawn([1.0, math.inf], 0) is None
    assert drawn([1.0, 2.0, 4.0], 5) == drawn([1.0, 2.0, 4.0], 5)
    assert drawn([1.0, 2.0, 4.0, 9.0], 5) != drawn([1.0, 2.0, 4.0, 9.0], 6)


def test_ratios_are_to_the_fastest_on_each_task() -> None:
    ratios = time_ratios({"a": [10.0, math.inf, math.inf], "b": [15.0, 8.0, math.inf]})
    assert ratios == {"a": (1.0, math.inf, math.inf), "b": (1.5, 1.0, math.inf)}


def test_a_profile_and_its_area_by_hand() -> None:
    # Ratios 1, 2 and 5: ρ is 1/3 on [1, 2) and 2/3 on [2, 4]; its area is (1/3 + 4/3)/3 = 5/9.
    assert performance_profile([1.0, 2.0, 5.0], [1.0, 1.9, 2.0, 4.0]) == pytest.approx(
        (1 / 3, 1 / 3, 2 / 3, 2 / 3)
    )
    assert profile_area([1.0, 2.0, 5.0]) == pytest.approx(5 / 9)


@given(st.lists(st.floats(1, 10), min_size=1, max_size=6))
def test_the_area_is_the_integral_of_the_profile(ratios: list[float]) -> None:
    taus = np.linspace(1, 4, 6001)
    heights = performance_profile(ratios, taus.tolist())
    assert profile_area(ratios) == pytest.approx(float(np.mean(heights)), abs=2e-3)


def test_the_speed_up_is_the_geometric_mean_where_both_arrive() -> None:
    assert geometric_speed_up([8.0, 32.0, 7.0, math.inf], [8.0, 8.0, math.inf, 1.0]) == (2.0, 2)
    assert geometric_speed_up([math.inf], [1.0]) == (None, 0)
    expected = stats.gmean([0.5, 3.0, 4.0])
    assert geometric_speed_up([1.0, 6.0, 8.0], [2.0, 2.0, 2.0])[0] == pytest.approx(expected)


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0], [1.0, 1.0, 5.0, -2.0]])
def test_the_expected_best_is_the_mean_over_all_draws_with_replacement(
    values: list[float],
) -> None:
    expected = [
        np.mean([max(draw) for draw in itertools.product(values, repeat=count)])
        for count in range(1, len(values) + 1)
    ]
    assert expected_best(values) == pytest.approx(expected)


def test_a_trial_without_a_score_counts_as_the_worst_and_without_any_there_is_no_best() -> None:
    assert expected_best([2.0, None, 1.0]) == expected_best([2.0, 1.0, 1.0])
    assert expected_best([None, None]) is None
