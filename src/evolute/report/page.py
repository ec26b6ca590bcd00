"""Page: what a report consists of, as data: a verdict, key figures, and sections of blocks.

Whoever shows a page escapes its texts; nothing in it is markup but :attr:`Typeset.mathml`, which
this package makes itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from evolute.report.pictures import Figure


@dataclass(frozen=True, slots=True)
class Typeset:
    """A rule: its text, and the same as MathML made by :mod:`evolute.report.mathml`, or nothing."""

    text: str
    mathml: str


@dataclass(frozen=True, slots=True)
class Between:
    """An interval in a cell."""

    lower: float
    upper: float


Cell = str | int | float | Typeset | Between | None
"""A cell of a table: text, a number, a rule, an interval, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table.

    Parameters
    ----------
    name
        Lower-case words joined by hyphens: its anchor in the page and its file name.
    caption
        What it shows.
    columns
        Names; a name that ends in ``#`` is of a column of numbers.
    rows
        One cell for each column.
    shown
        Rows shown at first; the others unfold.
    marked
        Numbers of the rows that stand out, from 0.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    shown: int = 20
    marked: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {self.name} has {len(row)} cells, not {self.columns}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Equation:
    """A rule as people read it.

    Parameters
    ----------
    title
        What it is.
    rule
        The rule, text and formula.
    facts
        Names and values beside it.
    """

    title: str
    rule: Typeset
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Notes:
    """Sentences, each for itself."""

    sentences: tuple[str, ...]


Block = Table | Figure | Equation | Notes


def present(blocks: Iterable[Block | None]) -> tuple[Block, ...]:
    """Return the blocks that there are."""
    return tuple(block for block in blocks if block is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page under a heading, with a sentence that leads into it."""

    title: str
    lead: str
    blocks: tuple[Block, ...]


class Tendency(StrEnum):
    """What the headline says, for its colour and sign."""

    GOOD = "good"
    BAD = "bad"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A whole report.

    Parameters
    ----------
    kicker, title
        What kind of report it is, and of what.
    badge
        The finding in a word or three.
    tendency
        Which way it points.
    verdict
        The finding in a sentence.
    evidence
        What that rests on, in a sentence.
    small_print
        What a reader should know beside it.
    figures
        Key figures: value, what it counts, and a remark.
    sections
        The parts, those without blocks left out by whoever shows it.
    provenance
        Where the figures come from: names and values.
    """

    kicker: str
    title: str
    badge: str
    tendency: Tendency
    verdict: str
    evidence: str
    small_print: tuple[str, ...]
    figures: tuple[tuple[str, str, str], ...]
    sections: tuple[Section, ...]
    provenance: tuple[tuple[str, str], ...]

    def tables(self) -> Iterator[Table]:
        """Yield every table, in the order of the page."""
        yield from (block for block in self._blocks() if isinstance(block, Table))

    def pictures(self) -> Iterator[Figure]:
        """Yield every figure, in the order of the page."""
        yield from (block for block in self._blocks() if isinstance(block, Figure))

    def _blocks(self) -> Iterator[Block]:
        for section in self.sections:
            yield from section.blocks
