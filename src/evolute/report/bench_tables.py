"""Tables of a benchmark: those of :mod:`evolute.benchmark.tables`, intervals in one cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeGuard

from evolute.benchmark.comparison import Measure
from evolute.benchmark.result import BenchResult, TaskResult
from evolute.benchmark.statistics import paired_interval
from evolute.benchmark.tables import (
    ResultTable,
    budget_table,
    cross_table_of,
    gain_table,
    optimizer_table,
    range_table,
    score_table,
    verdict_table,
)
from evolute.report.page import Between, Cell, Table
from evolute.report.wording import capitalised

_LOWER, _UPPER = "lower#", "upper#"
_ERROR = "± s.e.#"
_COST_COLUMNS = (
    *("good rates, decades#", "diverged#", "diverged in tuning#", "step µs#", "state bytes#"),
)
_SHOWN = {"budget": 4}
"""Rows of long tables that are shown at first."""


def page_table(table: ResultTable, name: str) -> Table:
    """Return a table for a page under a safe name, lower and upper ends joined to an interval.

    Parameters
    ----------
    table
        The table; its title may begin with a task's name and a colon.
    name
        What it is called in the page.
    """
    return Table(
        name=name,
        caption=capitalised(table.title),
        columns=tuple(_join_names(table.columns)),
        rows=tuple(tuple(_join_cells(table.columns, row)) for row in table.rows),
        shown=_SHOWN.get(name.rpartition("-")[2], 20),
    )


def scores_table(result: BenchResult) -> Table:
    """Return the scores over all tasks."""
    return page_table(score_table(result), "scores")


def verdicts_table(task: TaskResult, name: str) -> Table:
    """Return what is shown about each optimizer on a task; the reference says that it is it."""
    table = page_table(verdict_table(task), f"{name}-verdicts")
    place = table.columns.index("finding")
    rows = [
        (*row[:place], row[place] or _unjudged(task, str(row[0])), *row[place + 1 :])
        for row in table.rows
    ]
    return replace(table, rows=tuple(rows))


def _unjudged(task: TaskResult, entrant: str) -> str:
    """Say why nothing is found about an optimizer."""
    finished = any(each.name == entrant and each.tuned is not None for each in task.entrants)
    return "what others are compared with" if finished else "finished nowhere"


def results_table(task: TaskResult, name: str, *, confidence: float) -> Table:
    """Return what each optimizer measured on a task, best first, its loss with an interval."""
    table = page_table(optimizer_table(task), f"{name}-results")
    errors, kept = table.columns.index(_ERROR), _without(table.columns, _COST_COLUMNS)
    measured = {entrant.name: entrant.tuned for entrant in task.entrants}
    champion = task.best_at_defaults
    rows = []
    for row in table.rows:
        at_defaults = None if champion is None else champion.measurement
        found = measured.get(str(row[0]), at_defaults)
        losses = () if found is None else found.results(Measure.LOSS)
        seen = paired_interval([loss for loss in losses if loss is not None], confidence=confidence)
        cell = None if seen is None else Between(seen.lower, seen.upper)
        rows.append((*row[:errors], cell, *row[errors + 1 :]))
    return replace(
        table,
        columns=tuple("interval#" if at == errors else table.columns[at] for at in kept),
        rows=tuple(tuple(row[at] for at in kept) for row in rows),
    )


def cost_table(task: TaskResult, name: str) -> Table:
    """Return how hard each optimizer is to tune, and what a step of it alone costs."""
    table = optimizer_table(task)
    weights = {entrant.name: entrant.cost.parameters for entrant in task.entrants}
    kept = [table.columns.index(column) for column in ("optimizer", *_COST_COLUMNS)]
    rows: list[tuple[Cell, ...]] = []
    for row in table.rows:
        count = weights.get(str(row[0]))
        known = [cell if isinstance(cell, str | int | float) else None for cell in row]
        if count:
            *shown, micros, state = (known[at] for at in kept)
            each = [1e3 * float(micros or 0) / count, float(state or 0) / count]
            rows.append((*shown, micros, each[0], state, each[1]))
    return Table(
        name=f"{name}-cost-table",
        caption="How hard it is to tune, and what a step of it alone costs, for "
        f"{max(weights.values(), default=0):,} weights",
        columns=(
            *("optimizer", *_COST_COLUMNS[:-1]),
            *("ns per weight#", "state bytes#", "bytes per weight#"),
        ),
        rows=tuple(rows),
    )


def tuning_tables(task: TaskResult, name: str) -> tuple[Table, ...]:
    """Return the ranges of the tuning, and what so many trials reach."""
    return (
        page_table(range_table(task), f"{name}-ranges"),
        page_table(budget_table(task), f"{name}-budget"),
    )


def cross_tables(task: TaskResult, name: str) -> tuple[Table, ...]:
    """Return every update under every schedule, and how gains split up; none if not asked for."""
    if task.cross is None:
        return ()
    return (
        page_table(cross_table_of(task), f"{name}-cross-table"),
        page_table(gain_table(task), f"{name}-gains"),
    )


def _without(columns: Sequence[str], left_out: Sequence[str]) -> list[int]:
    return [at for at, name in enumerate(columns) if name not in left_out]


def _join_names(columns: Sequence[str]) -> Iterator[str]:
    for column in columns:
        if column.endswith(_LOWER):
            yield f"{column.removesuffix(_LOWER)}interval#"
        elif not column.endswith(_UPPER):
            yield column


def _are_numbers(ends: tuple[Cell, Cell]) -> TypeGuard[tuple[float, float]]:
    return all(isinstance(end, int | float) for end in ends)


def _join_cells(columns: Sequence[str], row: Sequence[object]) -> Iterator[Cell]:
    lower: Cell = None
    for column, value in zip(columns, row, strict=True):
        cell = value if isinstance(value, str | int | float) else None
        if column.endswith(_LOWER):
            lower = cell
        elif column.endswith(_UPPER):
            ends = (lower, cell)
            yield Between(*ends) if _are_numbers(ends) else None
        else:
            yield cell
