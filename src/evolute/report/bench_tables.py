"""Tables of a benchmark: those of :mod:`evolute.benchmark.tables`, intervals in one cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeGuard

from evolute.benchmark.result import BenchResult, TaskResult
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
    """Return what is shown about each optimizer on a task."""
    return page_table(verdict_table(task), f"{name}-verdicts")


def results_table(task: TaskResult, name: str) -> Table:
    """Return what each optimizer measured on a task."""
    return page_table(optimizer_table(task), f"{name}-results")


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
