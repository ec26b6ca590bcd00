"""Verdict: what the comparison of discovered with hand-made optimizers found, as data.

It holds what was measured; comparisons, table and words are computed from that. The interval covers
the chance of initial weights, batches and noise on this test split, not the choice of another test
split or task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from evolute.benchmark.comparison import Comparison, Finding, Measure, compare
from evolute.benchmark.plain import from_plain, to_plain
from evolute.benchmark.statistics import Estimate, estimate
from evolute.benchmark.tuning import Tuning


class Side(StrEnum):
    """Where a finalist comes from."""

    DISCOVERED = "discovered"
    HAND_MADE = "hand-made"


@dataclass(frozen=True, slots=True)
class FreshRun:
    """One training at the tuned rate on a fresh seed, measured on the test split.

    Parameters
    ----------
    seed
        The seed, the same for all finalists.
    loss, metric
        Mean loss and metric; None for a run without a score, and the metric of a task without one.
    sentence
        How the run ended.
    """

    seed: int
    loss: float | None
    metric: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Finalist:
    """An optimizer that was tuned on the finer grid.

    Parameters
    ----------
    name
        Unique in the verdict.
    side
        Discovered or hand-made.
    rule
        Text of the rule.
    has_schedule
        Whether the rule carries a learning-rate schedule factor of its own.
    coarse_rate
        Best learning rate of the probes.
    search_fitness
        Fitness of the search's own trial.
    tuning
        What the finer grid found.
    runs
        The fresh runs; none if no rate of the grid finished.
    """

    name: str
    side: Side
    rule: str
    has_schedule: bool
    coarse_rate: float
    search_fitness: float
    tuning: Tuning
    runs: tuple[FreshRun, ...]

    @property
    def tuned_fitness(self) -> float:
        """Mean fitness at the tuned rate; −∞ if no rate of the grid finished."""
        best = self.tuning.best
        return -math.inf if best is None or best.fitness is None else best.fitness

    def results(self, measure: Measure) -> tuple[float | None, ...]:
        """Return the measure of each fresh run, None where a run has no score."""
        return tuple(run.loss if measure is Measure.LOSS else run.metric for run in self.runs)

    def estimate(self, measure: Measure) -> Estimate | None:
        """Return mean and standard error over the fresh runs that have a score."""
        return estimate([value for value in self.results(measure) if value is not None])


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the verdict's table.

    Parameters
    ----------
    finalist
        Whose line it is.
    loss, metric
        Mean over the fresh seeds on the test split.
    versus_reference
        Comparison with the best hand-made optimizer; None for itself, or without one.
    """

    finalist: Finalist
    loss: Estimate | None
    metric: Estimate | None
    versus_reference: Comparison | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, and all that it rests on.

    Parameters
    ----------
    measure
        What is compared on the test split.
    metric
        Name of the task's metric, None for a task without one.
    confidence
        Coverage of the intervals.
    finalists
        Every optimizer that was tuned.
    unfinished
        Name and ending of each hand-made optimizer whose trial with probes gave no score.
    """

    measure: Measure
    metric: str | None
    confidence: float
    finalists: tuple[Finalist, ...]
    unfinished: tuple[tuple[str, str], ...] = ()

    def champion(self, side: Side) -> Finalist | None:
        """Return the finalist of a side that did best in tuning, where no test data is read.

        The first of equals; None if the side has no tuned finalist.
        """
        return max(self.of_side(side), key=lambda finalist: finalist.tuned_fitness, default=None)

    def compare(self, first: Finalist, second: Finalist) -> Comparison:
        """Compare two finalists that have fresh runs, seed by seed."""
        return compare(
            first.results(self.measure),
            second.results(self.measure),
            measure=self.measure,
            confidence=self.confidence,
        )

    def of_side(self, side: Side) -> tuple[Finalist, ...]:
        """Return the finalists of one side that finished a rate of the grid, so have fresh runs."""
        return tuple(f for f in self.finalists if f.side is side and f.runs)

    @property
    def finding(self) -> Finding | None:
        """What is shown about the discovered champion; None where one side has no champion.

        Better means better than *every* hand-made optimizer: each single comparison must show it,
        so that no correction for their number is needed (intersection-union test, Berger 1982).
        Worse means worse than the hand-made champion.
        """
        champion, reference = self.champion(Side.DISCOVERED), self.champion(Side.HAND_MADE)
        if champion is None or reference is None:
            return None
        first = self.compare(champion, reference).finding
        if first is not Finding.BETTER:
            return first
        others = [self.compare(champion, other).finding for other in self.of_side(Side.HAND_MADE)]
        return first if set(others) == {Finding.BETTER} else Finding.NO_DIFFERENCE

    @property
    def table(self) -> tuple[Row, ...]:
        """One row per finalist: the best in tuning first, those that finished no rate last."""
        reference = self.champion(Side.HAND_MADE)
        rows = []
        for finalist in sorted(self.finalists, key=lambda f: f.tuned_fitness, reverse=True):
            versus = None
            if reference is not None and finalist != reference and finalist.runs:
                versus = self.compare(finalist, reference)
            loss, metric = finalist.estimate(Measure.LOSS), finalist.estimate(Measure.METRIC)
            rows.append(Row(finalist, loss, metric, versus))
        return tuple(rows)

    @property
    def sentence(self) -> str:
        """What was found, in one sentence."""
        from evolute.benchmark.words import sentence  # words.py reads verdicts

        return sentence(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know beside it: grids that grew, runs that failed, schedules."""
        from evolute.benchmark.words import notes  # words.py reads verdicts

        return notes(self)

    def to_json(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; :meth:`from_json` reverses it.

        The words are written for readers of the JSON, and computed again on reading.
        """
        data = to_plain(_ADAPTER, self)
        return data | {"sentence": self.sentence, "notes": list(self.notes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        InputError
            If it is no verdict.
        """
        return from_plain(_ADAPTER, data, what="a verdict")


_ADAPTER = TypeAdapter(Verdict)
