"""The finer grid: quarter decades around the best rate of the probes, the same for both sides.

Only the validation split is read here, so what is chosen here may be compared on the test split.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evolute.benchmark.config import VerdictConfig
from evolute.lang.rule import Rule
from evolute.runs.executors.base import TrialRequest
from evolute.train.protocol import Protocol
from evolute.trial import Trial

RATES_PER_DECADE = 4
"""A quarter decade between neighbouring rates."""

WIDENING_STEPS = 2
"""By how many rates a grid grows on the side of its edge where its best rate is its edge."""

Evaluate = Callable[[Sequence[TrialRequest]], Sequence[Trial]]
"""Answers a batch of requests with their trials, in order. It may raise to stop the verdict: what
was trained is in the store, so the same call later goes on from there."""


@dataclass(frozen=True, slots=True)
class RatePoint:
    """One rate of a grid.

    Parameters
    ----------
    learning_rate
        Peak learning rate.
    fitness
        Mean fitness over the tuning seeds; None if a run on any of them ended without a score.
    """

    learning_rate: float
    fitness: float | None


@dataclass(frozen=True, slots=True)
class Tuning:
    """What the finer grid found for one rule.

    Parameters
    ----------
    points
        All rates tried, ascending.
    widenings
        How often the grid grew because its best rate was its edge, or none finished.
    """

    points: tuple[RatePoint, ...]
    widenings: int

    @property
    def best(self) -> RatePoint | None:
        """The rate of highest mean fitness, the lower one of equals; None if none finished."""
        best: RatePoint | None = None
        for point in self.points:
            if point.fitness is None:
                continue
            if best is None or best.fitness is None or point.fitness > best.fitness:
                best = point
        return best

    @property
    def on_edge(self) -> bool:
        """Whether the best rate is the lowest or the highest tried: a better one may lie beyond."""
        return self.best is not None and self.best in (self.points[0], self.points[-1])


class _Grid:
    """The growing grid of one rule: fitness by steps of a quarter decade from the coarse rate."""

    def __init__(self, coarse_rate: float, half_width: int) -> None:
        self._coarse_rate = coarse_rate
        self._fitness: dict[int, float | None] = {}
        self.wanted = tuple(range(-half_width, half_width + 1))
        self.widenings = 0

    def rate(self, step: int) -> float:
        """coarse rate · 10^(step/4), to six digits so that it prints and is stored short."""
        return float(f"{self._coarse_rate * 10 ** (step / RATES_PER_DECADE):.6g}")

    def tell(self, fitness: Sequence[float | None]) -> None:
        self._fitness |= zip(self.wanted, fitness, strict=True)
        self.wanted = ()

    def widen(self) -> None:
        """Want two more rates beyond the edge if the best rate is the edge.

        Where no rate finished, a decade of lower ones is wanted: nearly all that fails grows too
        fast.
        """
        steps, tuning = sorted(self._fitness), self.tuning()
        if tuning.best is not None and not tuning.on_edge:
            return
        if tuning.best is None:
            self.wanted = tuple(range(steps[0] - RATES_PER_DECADE, steps[0]))
        elif tuning.best == tuning.points[0]:
            self.wanted = tuple(range(steps[0] - WIDENING_STEPS, steps[0]))
        else:
            self.wanted = tuple(range(steps[-1] + 1, steps[-1] + 1 + WIDENING_STEPS))
        self.widenings += 1

    def tuning(self) -> Tuning:
        points = (RatePoint(self.rate(step), self._fitness[step]) for step in sorted(self._fitness))
        return Tuning(tuple(points), self.widenings)


def tune(
    rules: Sequence[tuple[Rule, float]],
    *,
    evaluate: Evaluate,
    protocol: Protocol,
    seeds: Sequence[int],
    config: VerdictConfig,
) -> tuple[Tuning, ...]:
    """Score rules on the finer grid around their best coarse rates, all in a few large batches.

    Parameters
    ----------
    rules
        Each rule with the best learning rate of its probes.
    evaluate
        What scores trials.
    protocol
        The search's protocol; its validation split is read.
    seeds
        Tuning seeds, the same for every rule and rate.
    config
        Width of the grid and how far it may grow.
    """
    grids = [_Grid(rate, config.grid_half_width) for _, rate in rules]
    for growth in range(config.widenings + 1):
        if growth:
            for grid in grids:
                grid.widen()
        requests = [
            TrialRequest(rule, protocol.at_rate(grid.rate(step), split="validation"), seed)
            for (rule, _), grid in zip(rules, grids, strict=True)
            for step in grid.wanted
            for seed in seeds
        ]
        if not requests:
            break
        answers = _mean_fitness(evaluate(requests), len(seeds))
        for grid in grids:
            count = len(grid.wanted)
            grid.tell(answers[:count])
            answers = answers[count:]
    return tuple(grid.tuning() for grid in grids)


def _mean_fitness(trials: Sequence[Trial], group: int) -> list[float | None]:
    """Mean fitness of each group of consecutive trials; None where one of them has no score."""
    means: list[float | None] = []
    for first in range(0, len(trials), group):
        scores = [trial.score for trial in trials[first : first + group]]
        values = [score.fitness for score in scores if score is not None]
        mean = sum(values) / group
        means.append(mean if len(values) == group and math.isfinite(mean) else None)
    return means
