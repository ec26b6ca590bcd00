"""How long optimizers take on several tasks: ratios, performance profiles, speed-up.

As AlgoPerf scores (Dahl et al. 2023, Benchmarking Neural Network Training Algorithms, arXiv
2306.07179, section 4), after Dolan and Moré (2002). A time is infinite where the target is never
reached.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

LARGEST_RATIO = 4.0
"""Up to this ratio a profile is drawn and its area taken."""


def time_ratios(times: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, ...]]:
    """Return each optimizer's time on each task by the shortest: r = t / min over optimizers of t.

    Parameters
    ----------
    times
        Time to the target of each optimizer, task by task, above 0; infinite where it is never
        reached.

    Returns
    -------
    dict
        Infinite on a task where the optimizer, or none, reaches the target.

    Examples
    --------
    >>> time_ratios({"a": [10.0, math.inf], "b": [20.0, 5.0]})
    {'a': (1.0, inf), 'b': (2.0, 1.0)}
    """
    best = [min(column) for column in zip(*times.values(), strict=True)]
    return {
        name: tuple(
            time / shortest if math.isfinite(time) else math.inf
            for time, shortest in zip(row, best, strict=True)
        )
        for name, row in times.items()
    }


def performance_profile(ratios: Sequence[float], taus: Sequence[float]) -> tuple[float, ...]:
    """Return ρ(τ), the part of the tasks whose ratio is at most τ, for each τ.

    >>> performance_profile([1.0, 2.0, math.inf], [1.0, 2.0, 4.0])
    (0.3333333333333333, 0.6666666666666666, 0.6666666666666666)
    """
    return tuple(sum(ratio <= tau for ratio in ratios) / len(ratios) for tau in taus)


def profile_area(ratios: Sequence[float], *, largest: float = LARGEST_RATIO) -> float:
    """Return the area under the profile: 1/(R − 1) ∫₁ᴿ ρ(τ) dτ = mean of max(0, R − r)/(R − 1).

    >>> profile_area([1.0, 2.5, math.inf])
    0.5
    """
    areas = [max(0.0, largest - ratio) / (largest - 1) for ratio in ratios]
    return sum(areas) / len(areas)


def geometric_speed_up(
    reference: Sequence[float], own: Sequence[float]
) -> tuple[float | None, int]:
    """Return the geometric mean of the reference's time by one's own, and over how many tasks.

    Tasks on which either never reaches the target are left out; None if that is all of them.

    >>> geometric_speed_up([8.0, 32.0, 7.0], [8.0, 8.0, math.inf])
    (2.0, 2)
    """
    pairs = list(zip(reference, own, strict=True))
    logs = [math.log(a / b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    if not logs:
        return None, 0
    return math.exp(sum(logs) / len(logs)), len(logs)
