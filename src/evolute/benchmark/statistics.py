"""The statistics of a verdict: pure functions of plain numbers.

Paired differences between two optimizers on the same seeds are taken as independent draws.
Student's paired t gives their interval and p-value (Student 1908); where runs without a score leave
no difference, the exact sign test (Arbuthnott 1710) needs only who won; how many seeds would show a
difference follows from the power of the t test (Cohen 1988); several p-values are corrected for
their number by the step-down method (Holm 1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

POWER = 0.8
"""Chance of showing a difference of the size seen, by convention (Cohen 1988)."""

MOST_SEEDS = 10_000
"""Above this number of seeds a difference is of no practical interest."""

_LARGEST_NONCENTRALITY = 50.0
"""From here on the power is 1 to four digits, and scipy's noncentral t would overflow."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over independent runs.

    Parameters
    ----------
    mean
        x̄ = Σxᵢ/n
    standard_error
        s/√n with s² = Σ(xᵢ−x̄)²/(n−1); None for a single run.
    runs
        n
    """

    mean: float
    standard_error: float | None
    runs: int


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval around a mean."""

    mean: float
    lower: float
    upper: float


def estimate(values: Sequence[float]) -> Estimate | None:
    """Return the mean of values with its standard error; None if there are none, or on overflow.

    >>> estimate([1.0, 2.0, 3.0, 4.0])
    Estimate(mean=2.5, standard_error=0.6454972243679028, runs=4)
    """
    if not values:
        return None
    sample = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(sample.mean())
        error = float(sample.std(ddof=1)) / math.sqrt(sample.size) if sample.size > 1 else None
    if not math.isfinite(mean) or not math.isfinite(error or 0.0):
        return None
    return Estimate(mean, error, sample.size)


def paired_interval(differences: Sequence[float], *, confidence: float) -> Interval | None:
    """Return x̄ ± t₍ₙ₋₁₎·s/√n, Student's interval for the mean of paired differences.

    Parameters
    ----------
    differences
        One per pair.
    confidence
        Coverage, between 0 and 1.

    Returns
    -------
    Interval | None
        None for fewer than two differences, or if they overflow. Without variance the interval has
        no width.
    """
    center = estimate(differences)
    if center is None or center.standard_error is None:
        return None
    quantile = float(special.stdtrit(center.runs - 1, (1 + confidence) / 2))
    half_width = quantile * center.standard_error
    if not math.isfinite(abs(center.mean) + half_width):
        return None
    return Interval(center.mean, center.mean - half_width, center.mean + half_width)


def paired_p_value(differences: Sequence[float]) -> float | None:
    """Return the two-sided p-value of Student's paired t test: P(|T| ≥ |x̄|·√n/s), n − 1 degrees.

    Parameters
    ----------
    differences
        One per pair.

    Returns
    -------
    float | None
        None for fewer than two differences, or if they overflow. Without variance 0, and 1 if all
        differences are 0.

    Examples
    --------
    >>> round(paired_p_value([1.0, 2.0, 3.0]) or 0.0, 4)
    0.0742
    """
    center = estimate(differences)
    if center is None or center.standard_error is None:
        return None
    if center.standard_error == 0.0:
        return 0.0 if center.mean else 1.0
    t = abs(center.mean) / center.standard_error
    return min(1.0, 2 * float(special.stdtr(center.runs - 1, -t)))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values corrected for their number so that any false finding has probability ≤ α.

    With p₍₁₎ ≤ … ≤ p₍ₘ₎ the corrected p₍ᵢ₎ is max over j ≤ i of min(1, (m − j + 1)·p₍ⱼ₎)
    (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return tuple(corrected)


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of the exact sign test: wins ~ Binomial(wins + losses, ½).

    >>> sign_test(9, 1)
    0.021484375
    >>> sign_test(0, 0)
    1.0
    """
    if wins + losses == 0:
        return 1.0
    return min(1.0, 2 * float(special.bdtr(min(wins, losses), wins + losses, 0.5)))


def seeds_needed(mean: float, deviation: float, *, confidence: float) -> int | None:
    """Return how many pairs show a mean difference with a power of 80% in a two-sided t test.

    Parameters
    ----------
    mean, deviation
        Mean and standard deviation of the paired differences, in the same unit.
    confidence
        1 − α of the test.

    Returns
    -------
    int | None
        None if it is more than 10,000.

    Examples
    --------
    >>> seeds_needed(0.5, 1.0, confidence=0.95)
    34
    """
    if deviation == 0.0:
        return 2 if mean else None
    effect = abs(mean) / deviation
    normal = special.ndtri((1 + confidence) / 2) + special.ndtri(POWER)
    if effect * math.sqrt(MOST_SEEDS) < normal:
        return None
    # The t test needs a few pairs more than the normal approximation from which we start.
    pairs = max(2, math.floor((normal / effect) ** 2))
    while _power(effect, pairs, confidence) < POWER:
        pairs += 1
    return pairs if pairs <= MOST_SEEDS else None


def _power(effect: float, pairs: int, confidence: float) -> float:
    """P(|T| > t₍ₙ₋₁₎) for T noncentral t with n−1 degrees of freedom and noncentrality d·√n."""
    quantile = special.stdtrit(pairs - 1, (1 + confidence) / 2)
    noncentrality = min(effect * math.sqrt(pairs), _LARGEST_NONCENTRALITY)
    upper = 1 - special.nctdtr(pairs - 1, noncentrality, quantile)
    lower = special.nctdtr(pairs - 1, noncentrality, -quantile)
    return float(upper + lower)
