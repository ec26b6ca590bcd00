"""Statistics over several tasks: interquartile mean, probability of improvement, their intervals.

As Agarwal et al. (2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice,
arXiv 2108.13264) recommend for few runs: the tasks are strata, the seeds are drawn anew in each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from evolute.benchmark.statistics import Interval

TRIMMED = 0.25
"""Part of the values that is cut off at each end of an interquartile mean."""

Values = npt.NDArray[np.float64]


def interquartile_mean(values: Sequence[float] | Values) -> float:
    """Return the mean of the middle half: of the ordered values without ⌊n/4⌋ at each end.

    Raises
    ------
    ValueError
        If there are no values.

    Examples
    --------
    >>> interquartile_mean([100.0, 1.0, 2.0, 3.0])
    2.5
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if not ordered.size:
        raise ValueError("an interquartile mean needs at least one value")
    cut = math.floor(TRIMMED * ordered.size)
    return float(ordered[cut : ordered.size - cut].mean())


def probability_of_improvement(
    first: Sequence[Sequence[float] | Values], second: Sequence[Sequence[float] | Values]
) -> float:
    """Return P(X > Y), ties counted half, the mean over tasks (Mann and Whitney 1947).

    For runs x₁ … xₙ of one optimizer and y₁ … yₘ of another on a task::

        P(X > Y) = 1/(n·m) Σᵢⱼ [xᵢ > yⱼ] + ½[xᵢ = yⱼ]

    Parameters
    ----------
    first, second
        For each task the values of the runs, higher is better; −∞ for a run without a score.

    Raises
    ------
    ValueError
        If the two have different numbers of tasks, or none.

    Examples
    --------
    >>> probability_of_improvement([[1.0, 3.0]], [[2.0, 3.0]])
    0.375
    """
    if not first:
        raise ValueError("a probability of improvement needs at least one task")
    chances = []
    for mine, theirs in zip(first, second, strict=True):
        x, y = np.asarray(mine)[:, None], np.asarray(theirs)[None, :]
        chances.append(float(((x > y) + 0.5 * (x == y)).mean()))
    return sum(chances) / len(chances)


def stratified_bootstrap(
    strata: Sequence[Sequence[float]],
    statistic: Callable[[Sequence[Values]], float],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> Interval | None:
    """Return a statistic with its percentile bootstrap interval (Efron 1979), drawn per stratum.

    Each resample draws as many values as a stratum has, with replacement, in every stratum; the
    interval reaches from the (1 − c)/2 to the (1 + c)/2 quantile of the statistic over resamples.

    Parameters
    ----------
    strata
        The values of each stratum, such as the runs of each task.
    statistic
        Maps the strata to a number.
    confidence
        c, between 0 and 1.
    resamples
        Number of resamples.
    seed
        Seed of the draws.

    Returns
    -------
    Interval | None
        ``mean`` is the statistic of the strata themselves. None where it, or a bound, is not
        finite.
    """
    arrays = [np.asarray(stratum, dtype=np.float64) for stratum in strata]
    generator = np.random.default_rng(seed)
    drawn = [
        array[generator.integers(array.size, size=(resamples, array.size))] for array in arrays
    ]
    with np.errstate(invalid="ignore"):  # of infinite values: told by what comes out
        center = statistic(arrays)
        values = [statistic([stratum[index] for stratum in drawn]) for index in range(resamples)]
        bounds = ((1 - confidence) / 2, (1 + confidence) / 2)
        lower, upper = (float(bound) for bound in np.quantile(values, bounds))
    if not all(map(math.isfinite, (center, lower, upper))):
        return None
    return Interval(center, lower, upper)
