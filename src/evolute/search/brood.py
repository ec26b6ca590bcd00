"""Brood: a row of slots, each drawn again until it holds a candidate that was scored.

What a slot holds at its first, second … attempt does not depend on when results come in: the
attempts of all slots are drawn in one fixed order (row after row), each unlike all before it.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from enum import Enum, auto

from evolute.search.base import Result
from evolute.search.candidate import Candidate
from evolute.trial import OutcomeKind

MAX_ATTEMPTS = 100
"""Candidates for one slot, nearly all degenerate, before it stays empty."""

MAX_DUPLICATES = 30
"""Duplicates for one slot before it stays empty, where duplicates are drawn again."""

Draw = Callable[[int, int, Set[str]], Candidate | None]
"""Draws the candidate of (slot, attempt) with a text that is not taken; None if there is none."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A candidate that is to be proposed for a slot."""

    slot: int
    attempt: int
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate that has a fitness, and the number of its proposal."""

    candidate: Candidate
    number: int
    fitness: float


class _State(Enum):
    DUE = auto()
    ASKED = auto()
    CLOSED = auto()


@dataclass(slots=True)
class _Slot:
    state: _State = _State.DUE
    attempt: int = 0
    failures: int = 0
    duplicates: int = 0
    scored: Scored | None = None


@dataclass(slots=True)
class Brood:
    """Candidates that are drawn and scored side by side.

    Parameters
    ----------
    draw
        Draws the candidate of a slot and attempt.
    size
        Number of slots.
    tried
        Texts that must not be drawn.
    tries
        Failures (diverged, below threshold, timed out, crashed, duplicate of such) for one slot
        before it stays empty. Degenerate candidates are no failures: they cost no training.
    redraw_duplicates
        Whether a duplicate of a scored candidate is drawn again; else it has its twin's fitness.
    """

    draw: Draw
    size: int
    tried: Set[str]
    tries: int
    redraw_duplicates: bool
    fresh: bool = field(default=False, init=False)
    """Whether some result was new: neither degenerate nor a duplicate."""

    _slots: list[_Slot] = field(init=False)
    _rows: list[list[Candidate | None]] = field(default_factory=list, init=False)
    _taken: set[str] = field(init=False)
    _proposed: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._slots = [_Slot() for _ in range(self.size)]
        self._taken = set(self.tried)

    @property
    def closed(self) -> int:
        """How many slots are settled."""
        return sum(slot.state is _State.CLOSED for slot in self._slots)

    @property
    def complete(self) -> bool:
        """Whether every slot is settled."""
        return self.closed == self.size

    @property
    def scored(self) -> tuple[Scored, ...]:
        """The candidates that have a fitness, by slot."""
        return tuple(slot.scored for slot in self._slots if slot.scored is not None)

    @property
    def proposed(self) -> Set[str]:
        """Texts of all candidates that were proposed."""
        return self._proposed

    def due(self) -> list[Draft]:
        """Return the candidates that are to be proposed now, by slot, each once."""
        drafts = []
        for index, slot in enumerate(self._slots):
            if slot.state is not _State.DUE:
                continue
            candidate = self._candidate(index, slot.attempt)
            if candidate is None:
                slot.state = _State.CLOSED
                continue
            slot.state = _State.ASKED
            self._proposed.add(candidate.text)
            drafts.append(Draft(index, slot.attempt, candidate))
        return drafts

    def settle(self, index: int, result: Result, *, number: int) -> None:
        """Take in the result of the proposal, with this number, that stands for a slot."""
        slot = self._slots[index]
        is_duplicate = result.kind is OutcomeKind.DUPLICATE
        if result.kind is OutcomeKind.DEGENERATE:
            again = True
        elif is_duplicate and self.redraw_duplicates:
            slot.duplicates += 1
            again = slot.duplicates < MAX_DUPLICATES
        elif result.fitness is not None:
            again = False
            candidate = self._candidate(index, slot.attempt)
            assert candidate is not None
            slot.scored = Scored(candidate, number, result.fitness)
        else:
            slot.failures += 1
            again = slot.failures < self.tries
        self.fresh |= not is_duplicate and result.kind is not OutcomeKind.DEGENERATE
        slot.attempt += again
        slot.state = _State.DUE if again else _State.CLOSED

    def _candidate(self, slot: int, attempt: int) -> Candidate | None:
        """Return what a slot holds at an attempt, drawing all rows up to it."""
        if attempt >= MAX_ATTEMPTS:
            return None
        while len(self._rows) <= attempt:
            self._rows.append([self._draw_new(index) for index in range(self.size)])
        return self._rows[attempt][slot]

    def _draw_new(self, slot: int) -> Candidate | None:
        candidate = self.draw(slot, len(self._rows), self._taken)
        if candidate is not None:
            self._taken.add(candidate.text)
        return candidate
