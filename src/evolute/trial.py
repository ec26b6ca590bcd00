"""Trial, Outcome, Score, Provenance: one rule scored once under one protocol.

A trial is a pure function of its key; the store is a cache of that function. Everything here is
plain data, so that a trial can be written to a database and sent between processes as JSON.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

PROGRAM_VERSION = "1"
"""Raised whenever a change makes the same key give another score."""


class OutcomeKind(StrEnum):
    """How a trial ended."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    BELOW_THRESHOLD = "below threshold"
    DEGENERATE = "degenerate"
    DUPLICATE = "duplicate"
    TIMED_OUT = "timed out"
    CRASHED = "crashed"


RETRIED_KINDS = frozenset({OutcomeKind.TIMED_OUT, OutcomeKind.CRASHED})
"""Outcomes that say more about the machine and its hour than about the rule: a trial that ended so
is no function of its key, answers for no later one, and gives way to it in the store."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended, and a sentence for the user that says why."""

    kind: OutcomeKind
    sentence: str


@dataclass(frozen=True, slots=True)
class Score:
    """What a finished trial measured.

    Parameters
    ----------
    fitness
        What selection compares; higher is better, always finite (an accuracy, or minus a loss).
    learning_rate
        Peak learning rate of the training that was scored.
    loss
        Mean loss on the scored split, in the task's own unit.
    metric
        The task's metric on the scored split, higher is better; None for a task that has none.
    train_loss
        Mean training loss of the last epoch.
    steps
        Optimizer steps spent on the trial, its probes included.

    Raises
    ------
    ValueError
        If a figure is NaN or infinite: such a trial has an Outcome and no Score.
    """

    fitness: float
    learning_rate: float
    loss: float
    metric: float | None
    train_loss: float
    steps: int

    def __post_init__(self) -> None:
        figures = (self.fitness, self.learning_rate, self.loss, self.train_loss, self.metric or 0.0)
        if not all(math.isfinite(figure) for figure in figures):
            raise ValueError(f"a score must be finite, got {self}")


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One point of a learning curve, taken at the end of an epoch of the scored training."""

    step: int
    train_loss: float
    train_metric: float | None
    validation_loss: float
    validation_metric: float | None


@dataclass(frozen=True, slots=True)
class TrialKey:
    """Everything a trial's result depends on.

    Parameters
    ----------
    rule
        Canonical text of the rule, sign included.
    task, task_version
        Name and version of the task.
    protocol
        Canonical JSON of the protocol.
    seed
        Seed from which weights, batches and noise are derived.
    program_version
        Version of the scoring code.
    """

    rule: str
    task: str
    task_version: str
    protocol: str
    seed: int
    program_version: str = PROGRAM_VERSION

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of the canonical JSON of the key: the trial's name in the store."""
        key = {name: getattr(self, name) for name in self.__slots__}
        return hashlib.sha256(canonical_json(key).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a trial's figures come from: no part of the result, never compared.

    Parameters
    ----------
    seconds
        Wall-clock time spent.
    created_at
        UTC time of writing, ISO 8601; empty until the trial is stored.
    machine
        Processor and torch version that computed it.
    """

    seconds: float
    created_at: str = ""
    machine: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """One rule scored once under one protocol.

    ``score`` is there if and only if the outcome is *finished*. A duplicate is no trial of its own:
    it is an entry of a run that names the trial of its twin.
    """

    key: TrialKey
    outcome: Outcome
    score: Score | None
    curve: tuple[EpochRecord, ...] = ()
    provenance: Provenance = Provenance(seconds=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; :meth:`from_dict` reverses it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Trial:
        """Read what :meth:`to_dict` wrote."""
        score = data["score"]
        return cls(
            key=TrialKey(**data["key"]),
            outcome=Outcome(OutcomeKind(data["outcome"]["kind"]), data["outcome"]["sentence"]),
            score=None if score is None else Score(**score),
            curve=tuple(EpochRecord(**record) for record in data["curve"]),
            provenance=Provenance(**data["provenance"]),
        )


def canonical_json(data: object) -> str:
    """Write plain data as JSON that is equal for equal data: sorted keys, no spaces, no NaN."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
