"""Progress: where a run stands, and why it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from evolute.trial import OutcomeKind, Trial


class Ending(StrEnum):
    """Why a run ended."""

    COMPLETE = "the search is complete"
    BUDGET = "the budget is used up"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands; handed to the observer after every change.

    Parameters
    ----------
    phase
        What the search is doing, in words.
    sampled
        Rules proposed.
    degenerate, duplicate
        Proposals that cost no training: unsound ones, and repetitions of a trained rule.
    trained
        Distinct candidates scored, the failed ones included.
    failed
        Of these, how many diverged, stayed below a threshold, timed out or crashed.
    reused
        Of these, how many the store already held.
    best_rule, best_fitness
        The best so far.
    seconds
        Time spent on the search phase, earlier sittings included.
    fraction
        Part of the budget or of the search that is done, 0 to 1; None if unknown.
    under_way
        Trials that workers have, trained side by side.
    """

    phase: str = ""
    sampled: int = 0
    degenerate: int = 0
    duplicate: int = 0
    trained: int = 0
    failed: int = 0
    reused: int = 0
    best_rule: str | None = None
    best_fitness: float | None = None
    seconds: float = 0.0
    fraction: float | None = None
    under_way: int = 0

    @property
    def seconds_left(self) -> float | None:
        """Time left at the pace so far; None while it cannot be told."""
        if not self.fraction:
            return None
        return self.seconds * (1 - self.fraction) / self.fraction

    def changes_by(self, trial: Trial) -> dict[str, object]:
        """Return the figures of failures and of the best that a trial changes."""
        if trial.score is None:
            return {"failed": self.failed + 1}
        if self.best_fitness is not None and trial.score.fitness <= self.best_fitness:
            return {}
        return {"best_rule": trial.key.rule, "best_fitness": trial.score.fitness}


def commonest_first(
    failures: Mapping[OutcomeKind, tuple[int, str]],
) -> tuple[tuple[OutcomeKind, int, str], ...]:
    """Return kinds of failure, how often each came, and the sentence of the first."""
    kinds = ((kind, count, first) for kind, (count, first) in failures.items())
    return tuple(sorted(kinds, key=lambda each: -each[1]))


Observer = Callable[[Progress], None]

KEPT_FIGURES = ("sampled", "degenerate", "duplicate", "trained", "failed", "best_rule",
                "best_fitness")  # fmt: skip
"""Figures that a checkpoint keeps; the others say how a sitting goes."""
