"""The table of an ablation, as plain rows: for the terminal, for CSV files, for a report."""

from __future__ import annotations

from evolute.benchmark.comparison import Measure
from evolute.benchmark.explained import ExplainResult, PartResult
from evolute.benchmark.tables import ResultTable, Row, interval_cells

PART_COLUMNS = (
    *("part", "kind", "difference#", "lower#", "upper#", "corrected p#", "finding", "not worse"),
    *("rate#", "rule"),
)


def by_cost(result: ExplainResult) -> tuple[PartResult, ...]:
    """Return the parts, those whose change costs most first."""
    sign = -1.0 if result.measure is Measure.LOSS else 1.0

    def place(part: PartResult) -> tuple[bool, float]:
        interval = None if part.comparison is None else part.comparison.interval
        return interval is not None, 0.0 if interval is None else sign * interval.mean

    return tuple(sorted(result.parts, key=place))


def part_table(result: ExplainResult) -> ResultTable:
    """Return one row per part, those that cost most first."""
    title = (
        f"{result.task}: each part changed, {result.measure} beside the rule's own "
        f"{result.own.mean:.4g} on {result.own.runs} seeds (validation split); {corrected(result)}"
    )
    rows = tuple(_row(part, result) for part in by_cost(result))
    return ResultTable(f"{result.task}-parts", title, PART_COLUMNS, rows)


def corrected(result: ExplainResult) -> str:
    """Say what of the table is corrected, and for how many comparisons."""
    tested = sum(part.adjusted_p_value is not None for part in result.parts)
    return f"p, and what costs or is better, are corrected for {tested} comparisons (Holm)"


def finding_of(part: PartResult, result: ExplainResult) -> str:
    """Say in a word or two what is shown about a part, after correction for their number."""
    return "finishes nowhere" if part.comparison is None else result.shown(part).value


def _row(part: PartResult, result: ExplainResult) -> Row:
    found = part.comparison
    return (
        part.part,
        part.kind.value,
        *interval_cells(None if found is None else found.interval),
        part.adjusted_p_value,
        finding_of(part, result),
        "yes" if part.not_worse else "no",
        part.learning_rate,
        part.rule,
    )
