from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolute.benchmark.comparison import Comparison, Finding, Measure, compare

RESULTS = st.lists(
    st.tuples(st.none() | st.floats(-10, 10), st.none() | st.floats(-10, 10)), max_size=12
)
MIRROR = {
    Finding.BETTER: Finding.WORSE,
    Finding.WORSE: Finding.BETTER,
    Finding.NO_DIFFERENCE: Finding.NO_DIFFERENCE,
}


def by_loss(first: list[float | None], second: list[float | None]) -> Comparison:
    return compare(first, second, measure=Measure.LOSS, confidence=0.95)


def test_a_lower_loss_is_better_and_a_lower_metric_is_worse() -> None:
    low, high = [0.10, 0.21, 0.32, 0.40], [0.20, 0.30, 0.40, 0.51]
    assert by_loss([*low], [*high]).finding is Finding.BETTER
    metric = compare(low, high, measure=Measure.METRIC, confidence=0.95)
    assert metric.finding is Finding.WORSE
    assert (metric.wins, metric.losses) == (0, 4)


def test_pairing_takes_out_what_the_seeds_share() -> None:
    shared = [0.0, 5.0, -3.0, 9.0, 2.0]
    first = [each + shift for each, shift in zip(shared, [0, 1e-4, 0, 1e-4, 0], strict=True)]
    second = [each + 0.01 for each in shared]
    assert by_loss([*first], [*second]).finding is Finding.BETTER


def test_differences_are_kept_seed_by_seed_with_gaps_where_a_run_failed() -> None:
    result = by_loss([1.0, None, 3.0, None], [0.5, 1.0, None, None])
    assert result.differences == (0.5, None, None, None)
    assert result.finished == (0.5,)
    assert (result.failed, result.other_failed) == (2, 2)


def test_a_run_without_a_score_loses_to_one_with_and_ties_with_another() -> None:
    result = by_loss([None, 1.0, None, 1.0], [1.0, None, None, 1.0])
    assert (result.wins, result.losses) == (1, 1)


def test_one_failed_run_leaves_the_finding_to_the_sign_test() -> None:
    first = [0.1 + 0.001 * index for index in range(5)]
    second: list[float | None] = [1.1, 1.2, 1.1, 1.2, None]
    result = by_loss([*first], second)
    assert result.interval is not None
    assert result.interval.upper < 0
    assert result.sign_p_value == pytest.approx(2 / 32)
    assert result.finding is Finding.NO_DIFFERENCE


def test_an_optimizer_whose_runs_fail_is_worse_however_good_the_others_are() -> None:
    first: list[float | None] = [None] * 9 + [0.0]
    assert by_loss(first, [5.0] * 10).finding is Finding.WORSE


def test_equal_results_show_no_difference() -> None:
    result = by_loss([0.3] * 5, [0.3] * 5)
    assert result.finding is Finding.NO_DIFFERENCE
    assert result.seeds_needed is None


def test_two_optimizers_that_fail_always_show_no_difference() -> None:
    assert by_loss([None] * 5, [None] * 5).finding is Finding.NO_DIFFERENCE


def test_losses_too_large_to_average_are_compared_by_their_order() -> None:
    result = by_loss([1e308] * 8, [-1e308] * 8)
    assert result.interval is None
    assert result.finding is Finding.WORSE


def test_different_numbers_of_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        by_loss([1.0], [1.0, 2.0])


@settings(deadline=None, max_examples=100, derandomize=True)
@given(RESULTS, st.sampled_from(Measure))
def test_the_mirrored_comparison_shows_the_opposite(
    pairs: list[tuple[float | None, float | None]], measure: Measure
) -> None:
    first, second = [mine for mine, _ in pairs], [theirs for _, theirs in pairs]
    there = compare(first, second, measure=measure, confidence=0.95)
    back = compare(second, first, measure=measure, confidence=0.95)
    assert there.finding is MIRROR[back.finding]
    assert (there.wins, there.losses) == (back.losses, back.wins)
