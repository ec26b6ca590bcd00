"""Listener: who hears how a search goes, and the forecast that it hears first."""

from __future__ import annotations

from dataclasses import dataclass

from evolute.runs.run import Progress


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a search is going to cost, estimated from the hand-made optimizers' trials.

    Parameters
    ----------
    workers
        Trials that run at the same time.
    seconds_per_candidate
        Time of one trial with its probes, on one worker.
    candidates
        Candidates to be trained at most; None if only the budget of time ends the search.
    search_seconds
        Time of the trainings of the search phase, less where candidates fail and end early.
    verdict_trials, verdict_seconds
        Trainings and time of the verdict, 0 without one.
    """

    workers: int
    seconds_per_candidate: float
    candidates: int | None
    search_seconds: float | None
    verdict_trials: int
    verdict_seconds: float


class Listener:
    """Hears how a search goes; each method does nothing unless overridden."""

    def choosing(self) -> None:
        """Hear that it is looked for how many copies of a network are trained side by side."""

    def baselines(self, done: int, expected: int) -> None:
        """Hear how many hand-made optimizers are scored."""

    def forecast(self, forecast: Forecast) -> None:
        """Hear what it is going to cost, before it begins."""

    def progress(self, progress: Progress) -> None:
        """Hear where the search stands."""

    def verdict(self, done: int, expected: int) -> None:
        """Hear how many trainings of the verdict have ended, of at least how many."""
