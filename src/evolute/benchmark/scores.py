"""Scores over all tasks: ratios, profiles, speed-up, and the distance to the reference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from evolute.benchmark.comparison import Measure
from evolute.benchmark.config import BenchConfig
from evolute.benchmark.result import EntrantScore, TaskResult
from evolute.benchmark.statistics import Interval
from evolute.benchmark.statistics_aggregate import (
    Values,
    interquartile_mean,
    probability_of_improvement,
    stratified_bootstrap,
)
from evolute.benchmark.statistics_profiles import (
    LARGEST_RATIO,
    geometric_speed_up,
    performance_profile,
    profile_area,
    time_ratios,
)
from evolute.benchmark.verdicts import contender, reference
from evolute.seeds import derive

BASELINE = "adamw"
"""Speed-up is over this optimizer, tuned like all others."""

TAUS = tuple(1.0 + step / 20 for step in range(round((LARGEST_RATIO - 1) * 20) + 1))
"""The ratios at which profiles are given."""


def score_entrants(
    tasks: Sequence[TaskResult], *, seed: int, config: BenchConfig
) -> tuple[EntrantScore, ...]:
    """Score every optimizer over all tasks.

    Parameters
    ----------
    tasks
        The tasks; all have the same optimizers.
    seed
        Seed of the bootstrap.
    config
        Its confidence and number of resamples.
    """
    steps = _times(tasks, seconds=False)
    ratios, ratios_by_seconds = time_ratios(steps), time_ratios(_times(tasks, seconds=True))
    scores = []
    for entrant in tasks[0].entrants:
        name = entrant.name
        speed_up, count = None, 0
        if BASELINE in steps:
            speed_up, count = geometric_speed_up(steps[BASELINE], steps[name])
        scores.append(
            EntrantScore(
                entrant=name,
                side=entrant.side,
                ratios=tuple(each if math.isfinite(each) else None for each in ratios[name]),
                profile=performance_profile(ratios[name], TAUS),
                area=profile_area(ratios[name]),
                area_by_seconds=profile_area(ratios_by_seconds[name]),
                speed_up=speed_up,
                speed_up_tasks=count,
                relative=_relative(tasks, name, seed, config),
                probability_of_improvement=_improvement(tasks, name, seed, config),
            )
        )
    return tuple(scores)


def _times(tasks: Sequence[TaskResult], *, seconds: bool) -> dict[str, list[float]]:
    """Return each optimizer's median time to the target, task by task; infinite where never."""
    times: dict[str, list[float]] = {}
    for task in tasks:
        for entrant in task.entrants:
            time = None
            if entrant.tuned is not None:
                tuned = entrant.tuned
                time = tuned.seconds_to_target if seconds else tuned.steps_to_target
            times.setdefault(entrant.name, []).append(math.inf if time is None else time)
    return times


def _relative(
    tasks: Sequence[TaskResult], name: str, seed: int, config: BenchConfig
) -> Interval | None:
    """Interquartile mean of the gain by ratio: above 1 is better than the reference."""
    strata = []
    for task in tasks:
        best, mine = reference(task), contender(task, name)
        known = [] if best is None else [value for value in best.results if value is not None]
        if not known or not mine.results:
            return None
        center = sum(known) / len(known)
        ratios = [_ratio(value, center, task.measure) for value in mine.results]
        if any(ratio is None for ratio in ratios):
            return None
        strata.append([ratio for ratio in ratios if ratio is not None])
    return stratified_bootstrap(
        strata,
        lambda drawn: interquartile_mean(np.concatenate(list(drawn))),
        confidence=config.confidence,
        resamples=config.resamples,
        seed=derive(seed, "bootstrap relative"),
    )


def _ratio(value: float | None, center: float, measure: Measure) -> float | None:
    """Return the ratio that is above 1 for the better value; 0 for a run without a score."""
    if center <= 0 or (value is not None and value <= 0):
        return None
    if value is None:
        return 0.0
    return center / value if measure is Measure.LOSS else value / center


def _improvement(
    tasks: Sequence[TaskResult], name: str, seed: int, config: BenchConfig
) -> Interval | None:
    """P(better than the reference), the mean over tasks."""
    first, second = [], []
    for task in tasks:
        best, mine = reference(task), contender(task, name)
        if best is None or not mine.results:
            return None
        first.append(_signed(mine.results, task.measure))
        second.append(_signed(best.results, task.measure))

    def chance(drawn: Sequence[Values]) -> float:
        return probability_of_improvement(drawn[: len(first)], drawn[len(first) :])

    return stratified_bootstrap(
        [*first, *second],
        chance,
        confidence=config.confidence,
        resamples=config.resamples,
        seed=derive(seed, "bootstrap improvement"),
    )


def _signed(results: Sequence[float | None], measure: Measure) -> list[float]:
    """Return results so that higher is better, −∞ for a run without a score."""
    sign = -1.0 if measure is Measure.LOSS else 1.0
    return [-math.inf if value is None else sign * value for value in results]
