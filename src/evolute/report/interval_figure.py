"""A figure of intervals, one a line: means on an axis that what is far off does not squeeze."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from evolute.benchmark.statistics import Interval
from evolute.report.axes import fenced_axis, name_axis
from evolute.report.intervals import interval_mark
from evolute.report.palette import Tone
from evolute.report.pictures import Axis, Dash, Dots, Figure, Line, Mark, Symbol

_FEW_ROWS = 8
"""So many rows stand further apart."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A line of the figure.

    Parameters
    ----------
    label
        What stands beside it.
    interval
        The mean and its ends; all three the same where there is no interval.
    group
        Which of the colours it has.
    hover
        What the pointer reads.
    """

    label: str
    interval: Interval
    group: str
    hover: str


def interval_figure(
    rows: Sequence[Shown],
    *,
    name: str,
    title: str,
    caption: str,
    axis: str,
    tones: Mapping[str, Tone],
    bounds: Mapping[str, float] | None = None,
) -> Figure:
    """Show intervals, the first on top, coloured by their groups.

    A mean far from the others stands as a triangle on the edge that it lies beyond.

    Parameters
    ----------
    rows
        What is shown.
    name, title, caption
        Of the figure.
    axis
        What the intervals are of.
    tones
        Colour of each group, in the order of the legend.
    bounds
        Values that are marked by a line, by their names; with any, zero is marked too.
    """
    marked = bounds or {}
    seen = _axis(rows, axis, marked)
    placed = [(float(place), row) for place, row in enumerate(rows)]
    marks: list[Mark] = [
        Line(name=label, x=(value, value), y=(-0.6, len(rows) - 0.4), tone=Tone.MUTED,
             dash=Dash.DASHED, width=1.2)
        for label, value in marked.items()
    ]  # fmt: skip
    for group, tone in tones.items():
        marks += _group([each for each in placed if each[1].group == group], group, tone, seen)
    return Figure(
        name=name,
        title=title,
        caption=caption,
        x=seen,
        y=name_axis([row.label for row in rows]),
        marks=tuple(marks),
        height=130 + (40 if len(rows) <= _FEW_ROWS else 24) * len(rows),
    )


def _axis(rows: Sequence[Shown], title: str, bounds: Mapping[str, float]) -> Axis:
    """Return the axis: means that are not far off, and of these the ends that are not."""
    always = [*bounds.values(), *([0.0] if bounds else [])]
    means = [row.interval.mean for row in rows]
    low, high = fenced_axis(title, means, always=always).span or (-math.inf, math.inf)
    near = [row.interval for row in rows if low <= row.interval.mean <= high]
    ends = [end for interval in near for end in (interval.lower, interval.upper)]
    always += [interval.mean for interval in near]
    return replace(fenced_axis(title, ends, always=always), zero_line=bool(bounds))


def _group(
    placed: Sequence[tuple[float, Shown]], name: str, tone: Tone, axis: Axis
) -> Iterator[Mark]:
    """Yield the intervals of a group, and a triangle for each that lies beyond an end."""
    low, high = axis.span or (-math.inf, math.inf)
    within = [each for each in placed if low <= each[1].interval.mean <= high]
    if within:
        yield interval_mark(
            name,
            [row.interval for _, row in within],
            tone=tone,
            heights=[place for place, _ in within],
            hover=[row.hover for _, row in within],
        )
    room = 0.015 * (high - low)
    sides = (
        (Symbol.LEFT, low + room, [each for each in placed if each[1].interval.mean < low]),
        (Symbol.RIGHT, high - room, [each for each in placed if each[1].interval.mean > high]),
    )
    for symbol, edge, beyond in sides:
        if beyond:
            yield Dots(
                name=name,
                x=(edge,) * len(beyond),
                y=tuple(place for place, _ in beyond),
                tone=tone,
                hover=tuple(row.hover for _, row in beyond),
                symbol=symbol,
                size=11.0,
                legend=not within,
            )
