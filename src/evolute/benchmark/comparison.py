"""Comparison: two optimizers on the same fresh seeds, and what that shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from evolute.benchmark.statistics import (
    Interval,
    estimate,
    paired_interval,
    paired_p_value,
    seeds_needed,
    sign_test,
)


class Measure(StrEnum):
    """What is compared on the test split: what the search selected by.

    Attributes
    ----------
    LOSS
        Lower is better.
    METRIC
        Higher is better.
    """

    LOSS = "loss"
    METRIC = "metric"


class Finding(StrEnum):
    """What a comparison shows about the first of the two."""

    BETTER = "better"
    NO_DIFFERENCE = "no difference shown"
    WORSE = "worse"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One optimizer beside another, seed by seed.

    Parameters
    ----------
    differences
        First minus second on each seed, in the unit of the measure; None where either run ended
        without a score.
    wins, losses
        Seeds on which the first was better, or worse; a run without a score loses to one with.
    failed, other_failed
        Runs without a score of the first, and of the second.
    interval
        Student's interval of the mean difference where both have a score; None for fewer than two.
    sign_p_value
        Two-sided p-value of the exact sign test over wins and losses.
    p_value
        Of Student's paired t test if every run has a score, else ``sign_p_value``.
    finding
        By the interval if every run has a score; else by the sign test, the only one of the two
        that a run without a score can enter.
    seeds_needed
        How many seeds would show the mean difference seen with a power of 80%; None if it is more
        than 10,000 or cannot be said.
    """

    differences: tuple[float | None, ...]
    wins: int
    losses: int
    failed: int
    other_failed: int
    interval: Interval | None
    sign_p_value: float
    p_value: float
    finding: Finding
    seeds_needed: int | None

    @property
    def finished(self) -> tuple[float, ...]:
        """The differences of the seeds on which both have a score."""
        return tuple(value for value in self.differences if value is not None)


def compare(
    first: Sequence[float | None],
    second: Sequence[float | None],
    *,
    measure: Measure,
    confidence: float,
) -> Comparison:
    """Compare two optimizers by their results on the same seeds.

    Parameters
    ----------
    first, second
        The measure of each run, in the order of the seeds; None for a run without a score.
    measure
        What the numbers are.
    confidence
        Coverage of the interval; 1 minus the level of the sign test.

    Raises
    ------
    ValueError
        If the two have different numbers of seeds.
    """
    pairs = list(zip(first, second, strict=True))
    gains = [_gain(mine, theirs, measure) for mine, theirs in pairs]
    wins, losses = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    differences = tuple(
        mine - theirs if mine is not None and theirs is not None else None for mine, theirs in pairs
    )
    finished = [value for value in differences if value is not None]
    interval = paired_interval(finished, confidence=confidence)
    by_signs = sign_test(wins, losses)
    student = paired_p_value(finished)
    if interval is None or student is None or len(finished) < len(pairs):
        p_value = by_signs
        finding = _by_sign_test(wins, losses, by_signs, confidence)
    else:
        p_value = student
        finding = _by_interval(interval, measure)
    return Comparison(
        differences=differences,
        wins=wins,
        losses=losses,
        failed=sum(mine is None for mine, _ in pairs),
        other_failed=sum(theirs is None for _, theirs in pairs),
        interval=interval,
        sign_p_value=by_signs,
        p_value=p_value,
        finding=finding,
        seeds_needed=_seeds_needed(finished, confidence),
    )


def _gain(mine: float | None, theirs: float | None, measure: Measure) -> float:
    """Positive where mine is better; a run without a score loses to one with, two of them tie."""
    if mine is None or theirs is None:
        return float((mine is not None) - (theirs is not None))
    return theirs - mine if measure is Measure.LOSS else mine - theirs


def _by_interval(interval: Interval, measure: Measure) -> Finding:
    if interval.lower <= 0.0 <= interval.upper:
        return Finding.NO_DIFFERENCE
    higher = interval.lower > 0.0
    return Finding.BETTER if higher is (measure is Measure.METRIC) else Finding.WORSE


def _by_sign_test(wins: int, losses: int, p_value: float, confidence: float) -> Finding:
    if p_value > 1 - confidence:
        return Finding.NO_DIFFERENCE
    return Finding.BETTER if wins > losses else Finding.WORSE


def _seeds_needed(differences: Sequence[float], confidence: float) -> int | None:
    center = estimate(differences)
    if center is None or center.standard_error is None:
        return None
    deviation = center.standard_error * math.sqrt(center.runs)
    return seeds_needed(center.mean, deviation, confidence=confidence)
