"""Brood: a row of slots, each drawn again until it holds a candidate that was scored.

What a slot holds at its first, second … attempt does not depend on when results come in: the
attempts of all slots are drawn in one fixed order (row after row), each unlike all before it.

Attempts may be proposed several at once, ahead of need: a slot still takes the first that is
scored, so the same candidates win, sooner. What is proposed depends on results alone, not on their
pace: the next attempts follow when all that were proposed have failed.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field

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


@dataclass(slots=True)
class _Slot:
    """What is known of a slot.

    Parameters
    ----------
    attempt
        The attempt whose result is looked at next; of a closed slot, the last one that counted.
    asked
        How many attempts were proposed.
    results
        Results, with the number of the proposal, of attempts not yet looked at.
    """

    attempt: int = 0
    asked: int = 0
    failures: int = 0
    duplicates: int = 0
    closed: bool = False
    scored: Scored | None = None
    results: dict[int, tuple[Result, int]] = field(default_factory=dict)


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
    spares
        Attempts proposed beside the first one, ahead of need.
    """

    draw: Draw
    size: int
    tried: Set[str]
    tries: int
    redraw_duplicates: bool
    spares: int = 0
    fresh: bool = field(default=False, init=False)
    """Whether some result was new: neither degenerate nor a duplicate."""

    _slots: list[_Slot] = field(init=False)
    _rows: list[list[Candidate | None]] = field(default_factory=list, init=False)
    _taken: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self._slots = [_Slot() for _ in range(self.size)]
        self._taken = set(self.tried)

    @property
    def closed(self) -> int:
        """How many slots are settled."""
        return sum(slot.closed for slot in self._slots)

    @property
    def complete(self) -> bool:
        """Whether every slot is settled."""
        return self.closed == self.size

    @property
    def scored(self) -> tuple[Scored, ...]:
        """The candidates that have a fitness, by slot."""
        return tuple(slot.scored for slot in self._slots if slot.scored is not None)

    @property
    def counted(self) -> Set[str]:
        """Texts of the candidates whose results counted: spares that were not needed are none."""
        held = (
            self._rows[attempt][index]
            for index, slot in enumerate(self._slots)
            for attempt in range(min(slot.attempt + 1, slot.asked))
        )
        return {candidate.text for candidate in held if candidate is not None}

    def due(self) -> list[Draft]:
        """Return the candidates that are to be proposed now, by slot, each once."""
        drafts = []
        for index, slot in enumerate(self._slots):
            if slot.closed or slot.asked > slot.attempt:
                continue
            end = slot.attempt + 1 + min(self.spares, self.tries - slot.failures - 1)
            for attempt in range(slot.attempt, end):
                candidate = self._candidate(index, attempt)
                if candidate is None:
                    break
                slot.asked = attempt + 1
                drafts.append(Draft(index, attempt, candidate))
            slot.closed = slot.asked == slot.attempt  # nothing is left to draw
        return drafts

    def settle(self, index: int, result: Result, *, attempt: int, number: int) -> None:
        """Take in the result of the proposal, with this number, for an attempt of a slot."""
        slot = self._slots[index]
        slot.results[attempt] = (result, number)
        while not slot.closed and slot.attempt in slot.results:
            self._look_at(index, *slot.results.pop(slot.attempt))

    def _look_at(self, index: int, result: Result, number: int) -> None:
        """Close a slot with the result of its present attempt, or turn to the next attempt."""
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
        slot.closed = not again

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
