"""Search: which rule to try next. The interface, and the data that crosses it.

A search knows no tensors, no clock and no disk. The run drives it::

    while not search.finished:
        for proposal in search.ask():
            ...                        # screen and score it, now or later, anywhere
            search.tell(proposal.number, result)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from evolute.lang.rule import Rule
from evolute.trial import OutcomeKind


class Stage(StrEnum):
    """Which of a run's two protocols scores a proposal; a search may use only the second."""

    INITIAL = "initial"
    MAIN = "main"


class ProposalKind(StrEnum):
    """How a proposal came about: a draw, a mutation, or a candidate that won the initial stage."""

    RANDOM = "random"
    MUTATION = "mutation"
    PROMOTION = "promotion"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A rule that a search wants scored.

    Parameters
    ----------
    number
        0, 1, 2 … in the order of asking; the name by which its result is told.
    rule
        The candidate, its sign not yet found.
    stage
        Protocol that scores it.
    kind
        How it came about.
    particle
        Chain it belongs to, None outside particles.
    depth
        Time step, generation or batch, from 0.
    slot
        Place among the candidates of its depth, from 0.
    attempt
        How many earlier candidates for the same slot were thrown away.
    parent
        Number of the proposal it was mutated or promoted from.
    """

    number: int
    rule: Rule
    stage: Stage
    kind: ProposalKind
    particle: int | None = None
    depth: int = 0
    slot: int = 0
    attempt: int = 0
    parent: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return {
            "number": self.number,
            "rule": self.rule.to_json(),
            "stage": self.stage.value,
            "kind": self.kind.value,
            "particle": self.particle,
            "depth": self.depth,
            "slot": self.slot,
            "attempt": self.attempt,
            "parent": self.parent,
        }


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a proposal.

    Parameters
    ----------
    kind
        How it ended.
    fitness
        Higher is better, finite. There if and only if the proposal finished, or is a duplicate of
        one that did (then it is the twin's fitness).

    Raises
    ------
    ValueError
        If the fitness is NaN or infinite, missing where it finished, or present where it failed.
    """

    kind: OutcomeKind
    fitness: float | None = None

    def __post_init__(self) -> None:
        if self.fitness is not None and not math.isfinite(self.fitness):
            raise ValueError(
                f"the fitness of a result is {self.fitness}: it must be finite; tell a candidate "
                "without a finite fitness as diverged"
            )
        if self.fitness is None and self.kind is OutcomeKind.FINISHED:
            raise ValueError("a finished result has no fitness: give a finite number")
        if self.fitness is not None and self.kind not in _SCORED_KINDS:
            raise ValueError(f"a result that is {self.kind} has a fitness: only a finished or "
                             "duplicate one can have one")  # fmt: skip


_SCORED_KINDS = (OutcomeKind.FINISHED, OutcomeKind.DUPLICATE)


class Search(ABC):
    """A deterministic program that proposes rules and is told what became of them.

    Guarantees of every search:

    - *Determinism.* It is a function of its configuration, its space, its seed and what it is
      told. Results told between two calls of ``ask`` count as a set: their order changes nothing.
      So two searches that are asked at the same points and told the same are the same to the last
      number. Asked at other points (more workers, another pace), proposals may get other numbers
      and come in another order, but the same (stage, particle, depth, slot, attempt) holds the
      same rule and leads to the same best, as long as a rule's result does not depend on the pace.
    - *No waiting without need.* ``ask`` returns all that the algorithm can propose from what was
      told; where it works in batches, that is nothing until the batch is told.
    - *Nothing twice.* A proposal is asked once; no chain proposes two rules of one canonical text,
      a promotion apart.
    - *State.* ``restored(state())`` of a search made alike goes on as this one does, to the last
      number. The state is plain data that JSON can hold; it may be a stranger's when it is read.
    - *Failure.* A misuse (unknown number, a number told twice, a fitness that is not finite)
      raises ValueError and changes nothing. NaN never becomes best.
    - *Threads.* None of its own, and not safe to share between threads.
    - *Ownership.* What it returns is immutable; it keeps nothing that the caller could change.
    """

    @abstractmethod
    def ask(self) -> tuple[Proposal, ...]:
        """Return the proposals that follow from what was told, each once.

        Empty while results are awaited, and for ever once the search is finished. A proposal that
        fails the integrity check is told as *degenerate*: another takes its slot at the next call.

        Raises
        ------
        InputError
            If no candidate can be drawn from the search space: all are cyclic, or all decays
            leave [0, 1].
        """

    @abstractmethod
    def tell(self, number: int, result: Result) -> None:
        """Say what became of a proposal; the next ``ask`` acts on it.

        Raises
        ------
        ValueError
            If no such proposal was asked, or its result was told before.
        """

    def state(self) -> Any:
        """Return all that was asked and told so far, as plain data that JSON can hold.

        None of a search that cannot say it: a run of such a search is resumed by asking it anew.
        """
        return None

    def restored(self, state: Any) -> Search:
        """Return a search made like this one that has come to a state; this one stays as it is.

        Raises
        ------
        Exception
            One of :data:`evolute.search.state.MALFORMED`, if no search like this wrote the state.
        """
        raise ValueError(
            f"a {type(self).__name__} keeps no state that it could come to again, such as this "
            f"{type(state).__name__}: ask it anew"
        )

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether no proposal will follow; turns true in the ``ask`` that finds nothing left."""

    @property
    @abstractmethod
    def best(self) -> tuple[Proposal, Result] | None:
        """The fittest so far: of the main stage, as soon as one finished there.

        Ties go to the shorter text, then to the first in the alphabet.
        """

    @property
    @abstractmethod
    def phase(self) -> str:
        """What it is doing, in words for a progress display: ``"particles, step 2 of 5"``."""

    @property
    @abstractmethod
    def progress(self) -> float | None:
        """Settled share of the whole search, 0 to 1; None for one that ends with its budget."""

    @property
    @abstractmethod
    def proposed(self) -> int:
        """How many proposals were made so far."""

    @property
    @abstractmethod
    def expected_evaluations(self) -> int | None:
        """How many trials the whole search scores if none fails; None for one without end."""
