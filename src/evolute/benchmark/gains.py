"""Equation or schedule: how a discovered rule's gain splits up, from the cells of a cross table."""

from __future__ import annotations

from collections.abc import Sequence

from evolute.benchmark.comparison import Measure
from evolute.benchmark.crossing import PLAIN, WITHOUT_DECAYS
from evolute.benchmark.findings import Attribution, Cell, CrossTable
from evolute.benchmark.statistics import Interval, paired_interval
from evolute.benchmark.verdict import Side
from evolute.benchmark.words import numbers

COSINE = PLAIN["cosine"]

Term = tuple[float, Cell | None]
"""A weight, and the cell whose measure it multiplies."""


def reference_update(table: CrossTable) -> str | None:
    """Return the hand-made update that did best in tuning under warm-up cosine; None without."""
    best: tuple[float, str] | None = None
    for cell in table.cells:
        point = cell.tuning.best
        if cell.side is not Side.HAND_MADE or cell.schedule != COSINE or point is None:
            continue
        assert point.fitness is not None  # what makes it the best
        if best is None or point.fitness > best[0]:
            best = (point.fitness, cell.update)
    return None if best is None else best[1]


def attribute(
    table: CrossTable, entrant: str, *, measure: Measure, label: str, confidence: float
) -> Attribution | None:
    """Split the gain of a discovered rule over the best hand-made update under warm-up cosine.

    The equations are those of :class:`evolute.benchmark.findings.Attribution`.

    Parameters
    ----------
    table
        The cross table.
    entrant
        Name of the discovered rule.
    measure
        What is compared.
    label
        What the measure is called, such as ``test loss``.
    confidence
        Coverage of the intervals.

    Returns
    -------
    Attribution or None
        None if no hand-made update finished, or the rule has no row.
    """
    reference = reference_update(table)
    if reference is None or entrant not in table.updates:
        return None
    own = table.own_schedules[entrant]
    base, base_own = table.cell(reference, COSINE), table.cell(reference, own)
    rule, rule_own = table.cell(entrant, COSINE), table.cell(entrant, own)
    bare = table.cell(WITHOUT_DECAYS.format(entrant), own)

    def gain(*terms: Term) -> Interval | None:
        return _gain(terms, measure, confidence)

    total = gain((1.0, base), (-1.0, rule_own))
    equation, schedule = total, None
    if own != COSINE:
        equation = gain((0.5, base), (-0.5, rule), (0.5, base_own), (-0.5, rule_own))
        schedule = gain((0.5, base), (-0.5, base_own), (0.5, rule), (-0.5, rule_own))
    decays = gain((1.0, bare), (-1.0, rule_own))
    parts = (("the equation", equation), ("the schedule", schedule))
    return Attribution(
        entrant=entrant,
        reference=reference,
        total=total,
        equation=equation,
        schedule=schedule,
        decays=decays,
        sentence=_sentence(f"{entrant} over {reference}", label, total, parts, decays),
    )


def _gain(terms: Sequence[Term], measure: Measure, confidence: float) -> Interval | None:
    """Return the interval of a weighted sum of cells, seed by seed, counted as gain."""
    sign = 1.0 if measure is Measure.LOSS else -1.0
    rows = [
        (sign * weight, () if cell is None else cell.results(measure)) for weight, cell in terms
    ]
    if not all(values for _, values in rows):
        return None
    sums = []
    for seed in zip(*(values for _, values in rows), strict=True):
        known = [value for value in seed if value is not None]
        if len(known) == len(rows):
            sums.append(sum(w * v for (w, _), v in zip(rows, known, strict=True)))
    return paired_interval(sums, confidence=confidence)


def _sentence(
    subject: str,
    label: str,
    total: Interval | None,
    parts: Sequence[tuple[str, Interval | None]],
    decays: Interval | None,
) -> str:
    """Say how a gain splits up."""
    if total is None:
        return f"the gain of {subject} under warm-up cosine cannot be split: a cell did not finish"
    said = [f"{_figure(part)} of it is {name}" for name, part in parts if part is not None]
    if len(said) < len(parts):
        said.append("the rule carries no schedule of its own")
    if decays is not None:
        said.append(f"the inner decays are worth {_figure(decays)} of the equation's part")
    return (
        f"in {label}, {subject} under warm-up cosine gains {_figure(total)}: {'; '.join(said)} "
        "(a gain below zero is a loss)"
    )


def _figure(interval: Interval) -> str:
    """Write a mean with its interval: ``0.012 (0.004 to 0.020)``."""
    half_width = (interval.upper - interval.lower) / 2
    mean, lower, upper = numbers(
        (interval.mean, interval.lower, interval.upper), scale=half_width or abs(interval.mean)
    )
    return f"{mean} ({lower} to {upper})"
