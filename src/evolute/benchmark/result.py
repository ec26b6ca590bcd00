"""BenchResult: what a benchmark measured and what follows from it, as a frozen tree of plain data.

``to_dict`` gives what JSON can hold, ``from_dict`` reads it back to the letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from evolute.benchmark.comparison import Measure
from evolute.benchmark.config import BenchConfig
from evolute.benchmark.findings import Attribution, CrossTable, EntrantVerdict
from evolute.benchmark.measured import DefaultsChampion, EntrantResult
from evolute.benchmark.plain import from_plain, to_plain
from evolute.benchmark.statistics import Interval
from evolute.benchmark.verdict import Side


@dataclass(frozen=True, slots=True)
class Target:
    """What a training has to reach, on the validation split.

    Parameters
    ----------
    value
        Median over the fresh seeds of the best value on the curve of ``source``.
    measure
        Loss, or the metric.
    source
        The tuned hand-made optimizer of the best median.
    """

    value: float
    measure: Measure
    source: str


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task of the benchmark.

    Parameters
    ----------
    task, version
        Its name and version.
    metric
        Name of its metric, None without one.
    measure
        What is compared.
    protocol
        JSON of the protocol of the measurements, without the learning rate.
    steps
        Optimizer steps of a training.
    target
        None if no hand-made optimizer finished.
    entrants
        One result per optimizer, in the order given.
    best_at_defaults
        None if none finished.
    cross
        The cross table; None if it was not asked for.
    attributions
        One per discovered rule, with a cross table.
    verdicts
        One per optimizer.
    notes
        What a reader should know, one sentence each.
    """

    task: str
    version: str
    metric: str | None
    measure: Measure
    protocol: str
    steps: int
    target: Target | None
    entrants: tuple[EntrantResult, ...]
    best_at_defaults: DefaultsChampion | None
    cross: CrossTable | None
    attributions: tuple[Attribution, ...]
    verdicts: tuple[EntrantVerdict, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EntrantScore:
    """One optimizer over all tasks.

    Parameters
    ----------
    entrant, side
        Its name and side.
    ratios
        Steps to the target by those of the best optimizer, task by task; None: never reached.
    profile
        Part of the tasks whose ratio is at most τ, for each τ of the benchmark's ``taus``.
    area
        Area under the profile from τ = 1 to 4, by its length: in [0, 1].
    area_by_seconds
        The same with seconds to the target.
    speed_up
        Geometric mean over tasks of AdamW's steps to the target by its own; None without AdamW or
        without a task on which both reach it.
    speed_up_tasks
        Number of those tasks.
    relative
        Interquartile mean over tasks and seeds of its measure by the mean of the reference of the
        task, with a stratified bootstrap interval; None where a mean is not positive.
    probability_of_improvement
        P(it is better than the reference), mean over tasks, with its interval.
    """

    entrant: str
    side: Side
    ratios: tuple[float | None, ...]
    profile: tuple[float, ...]
    area: float
    area_by_seconds: float
    speed_up: float | None
    speed_up_tasks: int
    relative: Interval | None
    probability_of_improvement: Interval | None


@dataclass(frozen=True, slots=True)
class BenchResult:
    """A benchmark.

    Parameters
    ----------
    name, digest
        Its name and digest in the store.
    preset
        The preset whose protocol it used.
    seed
        From which tuning seeds and fresh seeds are derived.
    config
        How much work it did.
    tasks
        Task by task.
    taus
        The ratios τ at which profiles are given.
    scores
        One per optimizer, in the order given.
    sentence
        What was found, in a sentence or two.
    """

    name: str
    digest: str
    preset: str
    seed: int
    config: BenchConfig
    tasks: tuple[TaskResult, ...]
    taus: tuple[float, ...]
    scores: tuple[EntrantScore, ...]
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; :meth:`from_dict` reverses it."""
        return to_plain(_ADAPTER, self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BenchResult:
        """Read what :meth:`to_dict` wrote.

        Raises
        ------
        InputError
            If it is no benchmark.
        """
        return from_plain(_ADAPTER, data, what="a benchmark")


_ADAPTER = TypeAdapter(BenchResult)
