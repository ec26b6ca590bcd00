"""Pictures: what a figure shows, as data, without a word on how it is drawn.

Every figure of a report is made once of these marks and drawn twice: in the page, where it answers
the pointer, and by Matplotlib for a paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from evolute.report.palette import Tone


class Dash(StrEnum):
    """Pattern of a line: it tells series apart where colours cannot."""

    SOLID = "solid"
    DASHED = "dash"
    DOTTED = "dot"
    MIXED = "dashdot"


class Symbol(StrEnum):
    """Shape of a dot."""

    CIRCLE = "circle"
    RING = "circle-open"
    CROSS = "x-thin-open"
    DIAMOND = "diamond"
    DOWN = "triangle-down"
    LEFT = "triangle-left"
    RIGHT = "triangle-right"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis.

    Parameters
    ----------
    title
        What is shown, with its unit.
    log
        Whether it is logarithmic.
    span
        Lowest and highest value shown, in the unit of the data; None: all of it.
    ticks
        Value and text of each tick; empty: as the drawer likes.
    zero_line
        Whether zero is marked.
    """

    title: str
    log: bool = False
    span: tuple[float, float] | None = None
    ticks: tuple[tuple[float, str], ...] = ()
    zero_line: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line through points; ``stepped`` lines stay level up to the next point.

    None in ``y`` is a gap. ``legend`` is whether the name stands in the legend.
    """

    name: str
    x: tuple[float | None, ...]
    y: tuple[float | None, ...]
    tone: Tone
    dash: Dash = Dash.SOLID
    width: float = 2.0
    stepped: bool = False
    legend: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Dots:
    """Points, each with what the pointer reads off it; lines of it are parted by newlines."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    tone: Tone
    hover: tuple[str, ...] = ()
    symbol: Symbol = Symbol.CIRCLE
    size: float = 7.0
    opacity: float = 1.0
    legend: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The area between two lines that belong to the line of the same name."""

    name: str
    x: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    tone: Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Horizontal bars at heights ``y`` that begin at ``starts``."""

    name: str
    y: tuple[float, ...]
    starts: tuple[float, ...]
    lengths: tuple[float, ...]
    tone: Tone
    hover: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Points with an interval along x, at heights ``y``."""

    name: str
    x: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    y: tuple[float, ...]
    tone: Tone
    hover: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """A table of cells, coloured by value: rows from the top; None is an empty cell.

    ``texts`` stand in the cells. Low values are the good ones where ``low_is_good``.
    """

    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    low_is_good: bool = True


Mark = Line | Dots | Band | Bars | Intervals | Heat


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure.

    Parameters
    ----------
    name
        Lower-case words joined by hyphens: its anchor in the page and its file name.
    title
        What it shows, as a heading.
    caption
        How to read it, in a sentence or two.
    x, y
        The axes.
    marks
        What is drawn, the lowest layer first.
    height
        In pixels of the page.
    """

    name: str
    title: str
    caption: str
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    height: int = 420

    @property
    def layered(self) -> bool:
        """Whether marks lie over each other, so that a legend begins with the topmost."""
        return not any(isinstance(mark, Bars | Intervals) for mark in self.marks)

    @property
    def has_legend(self) -> bool:
        """Whether a legend tells something: a lone mark other than a line needs none."""
        named = [mark for mark in self.marks if getattr(mark, "legend", True)]
        drawn = [mark for mark in named if not isinstance(mark, Band | Heat)]
        return len(drawn) > 1 or all(isinstance(mark, Line) for mark in self.marks)
