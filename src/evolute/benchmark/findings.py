"""What a benchmark finds by comparing optimizers on one task: cross table, gains, verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evolute.benchmark.comparison import Comparison, Measure
from evolute.benchmark.statistics import Estimate, Interval
from evolute.benchmark.tuning import Tuning
from evolute.benchmark.verdict import FreshRun, Side


def schedule_label(owner: str) -> str:
    """Return the label of the schedule that a rule carries.

    >>> schedule_label("opt6")
    'that of opt6'
    """
    return f"that of {owner}"


@dataclass(frozen=True, slots=True)
class ScheduleColumn:
    """A schedule of the cross table.

    Parameters
    ----------
    label
        ``warm-up cosine``, …, or ``that of NAME``.
    shape
        Shape of the base schedule after the warm-up.
    factor
        Text of the factor that multiplies it; None for a plain base schedule.
    side
        Hand-made, or discovered for a schedule that a discovered rule carries.
    """

    label: str
    shape: str
    factor: str | None
    side: Side


@dataclass(frozen=True, slots=True)
class Cell:
    """One update under one schedule; its learning rate is tuned on a grid of quarter decades.

    Parameters
    ----------
    update
        Name of the entrant whose update it is; ``NAME without decays`` where its inner decays are
        taken out.
    schedule
        Label of the column.
    side
        Side of the update.
    rule
        Text of the rule.
    tuning
        The grid.
    runs
        The fresh runs at its best rate; none if no rate finished.
    loss, metric
        Mean and standard error over the runs that have a score.
    """

    update: str
    schedule: str
    side: Side
    rule: str
    tuning: Tuning
    runs: tuple[FreshRun, ...]
    loss: Estimate | None
    metric: Estimate | None

    def results(self, measure: Measure) -> tuple[float | None, ...]:
        """Return the measure of each fresh run, None where a run has no score."""
        return tuple(run.loss if measure is Measure.LOSS else run.metric for run in self.runs)


@dataclass(frozen=True, slots=True)
class CrossTable:
    """Every update under every schedule.

    Parameters
    ----------
    updates
        Names of the rows.
    schedules
        The columns.
    own_schedules
        For each row the label of the column under which the rule stands as it is.
    cells
        Row by row; a row without decays has the cell of its own schedule alone.
    best_hand_made
        Update and schedule of the best cell in tuning that is hand-made in both; None if none
        finished.
    """

    updates: tuple[str, ...]
    schedules: tuple[ScheduleColumn, ...]
    own_schedules: Mapping[str, str]
    cells: tuple[Cell, ...]
    best_hand_made: tuple[str, str] | None

    def cell(self, update: str, schedule: str) -> Cell | None:
        """Return a cell; None if the table has none there."""
        for cell in self.cells:
            if (cell.update, cell.schedule) == (update, schedule):
                return cell
        return None

    def own_cell(self, update: str) -> Cell | None:
        """Return the cell of a rule as it is; None if the table has no such row."""
        return self.cell(update, self.own_schedules.get(update, ""))


@dataclass(frozen=True, slots=True)
class Attribution:
    """How much of a discovered rule's gain is its equation, its schedule, its inner decays.

    With L(update, schedule) the measure, gains counted positive, R the reference update (the
    hand-made one best in tuning under warm-up cosine), C warm-up cosine, D and S the rule's own
    update and schedule, D′ its update without inner decays::

        total    = L(R, C) − L(D, S)
        equation = ½[L(R, C) − L(D, C)] + ½[L(R, S) − L(D, S)]
        schedule = ½[L(R, C) − L(R, S)] + ½[L(D, C) − L(D, S)]
        decays   = L(D′, S) − L(D, S), a part of the equation's

    so total = equation + schedule (Shapley 1953). Each is a mean over paired seeds with Student's
    interval.

    Parameters
    ----------
    entrant
        The discovered rule.
    reference
        R.
    total, equation, schedule, decays
        The gains; None where a cell is missing or unfinished, ``schedule`` also for a rule
        without one, ``decays`` for one without inner decays.
    sentence
        The same in words.
    """

    entrant: str
    reference: str
    total: Interval | None
    equation: Interval | None
    schedule: Interval | None
    decays: Interval | None
    sentence: str


@dataclass(frozen=True, slots=True)
class EntrantVerdict:
    """What is shown about one optimizer on one task.

    Parameters
    ----------
    entrant
        Its name.
    reference
        What it is compared with: the best hand-made update and schedule.
    comparison
        Seed by seed; None for the reference itself and for what never finished.
    adjusted_p_value
        Corrected by Holm over all comparisons of the benchmark.
    finding
        ``better``, ``worse`` or ``no difference shown`` at the corrected level; None as above.
    seeds_needed
        How many seeds would show the difference seen; None if it was shown, or cannot be said.
    sentence
        The same in words.
    """

    entrant: str
    reference: str
    comparison: Comparison | None
    adjusted_p_value: float | None
    finding: str | None
    seeds_needed: int | None
    sentence: str
