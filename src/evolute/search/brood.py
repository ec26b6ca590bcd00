"""Brood: a row of slots, each drawn again until it holds a candidate that was scored.

What a slot holds at its first, second … attempt does not depend on when results come in: the
attempts of all slots are drawn in one fixed order (row after row), each unlike all before it.

Attempts may be proposed several at once, ahead of need: a slot still takes the first that is
scored, so the same candidates win, sooner. What is proposed depends on results alone, not on their
pace: the next attempts follow when all that were proposed have failed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Set
from dataclasses import dataclass, field
from typing import Any

from evolute.search.base import Result
from evolute.search.candidate import Candidate
from evolute.search.state import (
    candidate_from_json,
    candidate_to_json,
    result_from_json,
    result_to_json,
)
from evolute.trial import OutcomeKind

MAX_ATTEMPTS = 100
"""Candidates for one slot, nearly all degenerate, before it stays empty."""

MAX_DUPLICATES = 30
"""Duplicates for one slot before it stays empty, where duplicates are drawn again."""

Draw = Callable[[int, int, Container[str]], Candidate | None]
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

    def to_json(self) -> Any:
        """Return plain data; :meth:`from_json` reverses it."""
        return [candidate_to_json(self.candidate), self.number, self.fitness]

    @classmethod
    def from_json(cls, data: Any) -> Scored:
        """Read what :meth:`to_json` wrote."""
        candidate, number, fitness = data
        return cls(candidate_from_json(candidate), int(number), float(fitness))


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

    def to_json(self) -> Any:
        """Return plain data; :meth:`from_json` reverses it. What scored stands among the rows."""
        return {
            "counts": [self.attempt, self.asked, self.failures, self.duplicates],
            "closed": self.closed,
            "scored": self.scored and [self.scored.number, self.scored.fitness],
            "results": [
                [attempt, result_to_json(result), number]
                for attempt, (result, number) in self.results.items()
            ],
        }

    @classmethod
    def from_json(cls, data: Any) -> _Slot:
        """Read what :meth:`to_json` wrote, but for what scored."""
        results = {
            int(attempt): (result_from_json(result), int(number))
            for attempt, result, number in data["results"]
        }
        attempt, asked, failures, duplicates = map(int, data["counts"])
        closed = bool(data["closed"])
        return cls(attempt, asked, failures, duplicates, closed=closed, results=results)


@dataclass(slots=True)
class _Taken(Container[str]):
    """Texts of all broods before, which are not copied for each, and of this one."""

    tried: Container[str]
    own: set[str] = field(default_factory=set)

    def __contains__(self, text: object) -> bool:
        return text in self.own or text in self.tried


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
        Texts that must not be drawn; none is added while the brood is drawn.
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
    tried: Container[str]
    tries: int
    redraw_duplicates: bool
    spares: int = 0
    fresh: bool = field(default=False, init=False)
    """Whether some result was new: neither degenerate nor a duplicate."""

    _slots: list[_Slot] = field(init=False)
    _rows: list[list[Candidate | None]] = field(default_factory=list, init=False)
    _taken: _Taken = field(init=False)

    def __post_init__(self) -> None:
        self._slots = [_Slot() for _ in range(self.size)]
        self._taken = _Taken(self.tried)

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

    def close(self) -> None:
        """Settle every slot, whatever is in it."""
        for slot in self._slots:
            slot.closed = True

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

    def state(self) -> Any:
        """Return what it holds as plain data; :meth:`load` takes it in."""
        return {
            "rows": [[candidate_to_json(each) for each in row] for row in self._rows],
            "slots": [slot.to_json() for slot in self._slots],
            "fresh": self.fresh,
        }

    def load(self, state: Any) -> None:
        """Come to a state; one of ``MALFORMED`` where it is none of a brood of this size."""
        self._rows = [
            [None if each is None else candidate_from_json(each) for each in row]
            for row in state["rows"]
        ]
        self._slots = [_Slot.from_json(data) for data in state["slots"]]
        self.fresh = bool(state["fresh"])
        if {len(self._slots), *map(len, self._rows)} != {self.size}:
            raise ValueError("a state of another number of slots")
        for index, (slot, data) in enumerate(zip(self._slots, state["slots"], strict=True)):
            if data["scored"] is not None:
                number, fitness = data["scored"]
                candidate = self._rows[slot.attempt][index]
                assert candidate is not None
                slot.scored = Scored(candidate, int(number), float(fitness))
        self._taken.own = {each.text for row in self._rows for each in row if each is not None}

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
            self._taken.own.add(candidate.text)
        return candidate
