"""Intervals: differences with their intervals, one optimizer a line, coloured by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evolute.benchmark.statistics import Interval
from evolute.benchmark.verdict import Side
from evolute.report.palette import Tone
from evolute.report.pictures import Intervals

_TONES = {Side.DISCOVERED: Tone.BLUE, Side.HAND_MADE: Tone.VERMILION}


@dataclass(frozen=True, slots=True)
class Difference:
    """An optimizer's difference to a reference.

    Parameters
    ----------
    name, side
        The optimizer.
    finding
        What it shows, in words.
    interval
        The mean difference with its ends.
    wins, seeds
        Seeds on which it was better, of how many.
    """

    name: str
    side: Side
    finding: str
    interval: Interval
    wins: int
    seeds: int

    @property
    def hover(self) -> str:
        """What the pointer reads."""
        seen = self.interval
        return (
            f"{self.name}: {self.finding}\n{seen.mean:+.4g} ({seen.lower:+.4g} to "
            f"{seen.upper:+.4g})\nbetter on {self.wins} of {self.seeds} seeds"
        )


def difference_marks(rows: Sequence[Difference]) -> tuple[Intervals, ...]:
    """Return a mark for each side; the first row stands at height 0, the next at 1, and so on."""
    marks = []
    for side, tone in _TONES.items():
        chosen = [(float(place), row) for place, row in enumerate(rows) if row.side is side]
        if chosen:
            marks.append(interval_mark(str(side), [row.interval for _, row in chosen], tone=tone,
                                       heights=[place for place, _ in chosen],
                                       hover=[row.hover for _, row in chosen]))  # fmt: skip
    return tuple(marks)


def interval_mark(
    name: str,
    intervals: Sequence[Interval],
    *,
    tone: Tone,
    heights: Sequence[float],
    hover: Sequence[str],
) -> Intervals:
    """Return intervals as one mark."""
    return Intervals(
        name=name,
        x=tuple(interval.mean for interval in intervals),
        lower=tuple(interval.lower for interval in intervals),
        upper=tuple(interval.upper for interval in intervals),
        y=tuple(heights),
        tone=tone,
        hover=tuple(hover),
    )
