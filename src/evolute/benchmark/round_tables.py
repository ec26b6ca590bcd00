"""The tables of an elimination, as plain rows: for the terminal and for CSV files."""

from __future__ import annotations

from evolute.benchmark.elimination import EliminationResult, RungResult
from evolute.benchmark.tables import ResultTable, interval_cells

CONFIDENCE = 0.95
"""Coverage of the intervals of a round."""

ROUND_COLUMNS = (
    *("candidate", "fitness#", "lower#", "upper#", "failed#", "rate#", "stays", "rule"),
)


def round_tables(result: EliminationResult) -> tuple[ResultTable, ...]:
    """Return a table of each round: every candidate, best first."""
    return tuple(_round_table(number, rung) for number, rung in enumerate(result.rungs, 1))


def _round_table(number: int, rung: RungResult) -> ResultTable:
    stay = sum(each.stays for each in rung.standings)
    title = (
        f"Round {number} on {rung.task}: {len(rung.standings)} candidates, "
        f"{len(rung.seeds)} fresh seeds, {stay} stay (validation split)"
    )
    rows = tuple(
        (
            each.name,
            each.fitness,
            *interval_cells(each.interval(confidence=CONFIDENCE))[1:],
            each.failed,
            each.learning_rate,
            "yes" if each.stays else "no",
            each.rule,
        )
        for each in rung.standings
    )
    return ResultTable(f"round-{number}", title, ROUND_COLUMNS, rows)
