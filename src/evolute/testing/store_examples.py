"""Example trials, entries and a run, for tests of stores."""

from __future__ import annotations

from dataclasses import replace

from evolute.store.base import RunEntry, RunRecord
from evolute.trial import Outcome, OutcomeKind, Score, Trial, TrialKey

RUN = RunRecord(digest="ab" * 32, name="first", config_json='{"seed":0}', program_version="1")

AWKWARD_FLOATS = (0.1, 1 / 3, 1e-310, 5e-324, -1.7976931348623157e308, 2.0**53 + 1, 1.0)
"""Floats that a detour over decimal digits or single precision would change."""


def example_trial(number: int = 0, *, fitness: float | None = None, task: str = "digits") -> Trial:
    """Return a trial of its own key per number and task; without a fitness, a diverged one."""
    key = TrialKey(f"none: g*{number}", task, "1", '{"batch_size":128}', seed=number)
    if fitness is None:
        return Trial(key, Outcome(OutcomeKind.DIVERGED, "the loss became NaN at step 3"), None)
    score = Score(fitness, 0.1, loss=-fitness, metric=None, train_loss=0.3, steps=900)
    return Trial(key, Outcome(OutcomeKind.FINISHED, "trained to its end"), score)


def example_entry(position: int, trial: Trial) -> RunEntry:
    """Return an entry of a run that names this trial."""
    return RunEntry(position, trial.key.digest, {"stage": "initial", "parent": None})


def without_time(trial: Trial) -> Trial:
    """Return the trial as it was before a store stamped it."""
    return replace(trial, provenance=replace(trial.provenance, created_at=""))
