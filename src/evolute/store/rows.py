"""Trials and run entries to rows and back, exactly; a row that cannot be one is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

from evolute.store.checksums import trial_checksum
from evolute.trial import (
    EpochRecord,
    Outcome,
    OutcomeKind,
    Provenance,
    Score,
    Trial,
    TrialKey,
    canonical_json,
)

KEY_COLUMNS = ("rule", "task", "task_version", "protocol", "seed", "program_version")
SCORE_COLUMNS = ("fitness", "learning_rate", "loss", "metric", "train_loss", "steps")
FLOATS = ("fitness", "learning_rate", "loss", "metric", "train_loss")
TYPES = {
    "sentence": str,
    "created_at": str,
    "machine": str,
    "steps": int | None,
    "seconds": float,
}
"""What a stranger, who can compute a checksum, must have written where nothing else looks."""

KINDS = {kind.value: kind for kind in OutcomeKind}

DAMAGE = (ValueError, TypeError, KeyError, RecursionError)
"""What reading a row can raise whose content no store has written."""


def trial_to_row(trial: Trial) -> dict[str, Any]:
    """Return the columns of a trial; ``protocol`` holds the text that its own table keeps."""
    key, score, provenance = trial.key, trial.score, trial.provenance
    row: dict[str, Any] = {name: getattr(key, name) for name in KEY_COLUMNS}
    row["digest"] = key.digest
    row["outcome"] = trial.outcome.kind.value
    row["sentence"] = trial.outcome.sentence
    for name in FLOATS:
        value = None if score is None else getattr(score, name)
        # SQLite stores -0.0 as 0.0: doing so here makes every writer hold what a reader gets.
        row[name] = None if value is None else float(value) + 0.0
    row["steps"] = None if score is None else score.steps
    row["curve"] = _curve_to_text(trial.curve)
    row["seconds"] = float(provenance.seconds) + 0.0
    row["created_at"] = provenance.created_at
    row["machine"] = provenance.machine
    row["checksum"] = trial_checksum(row)
    return row


def row_to_trial(row: Mapping[Any, Any]) -> Trial:
    """Read what :func:`trial_to_row` wrote.

    Raises
    ------
    ValueError, TypeError, KeyError, RecursionError
        If the row was damaged, or written by a stranger (see :data:`DAMAGE`).
    """
    key = TrialKey(**{name: row[name] for name in KEY_COLUMNS})
    if key.digest != row["digest"]:
        raise ValueError("its key and its digest do not belong together")
    if trial_checksum(row) != row["checksum"]:
        raise ValueError("its figures and its checksum do not belong together")
    for name, kind in TYPES.items():
        if not isinstance(row[name], kind):
            raise TypeError(f"{name} is of another type than it was written in")
    return Trial(
        key=key,
        outcome=Outcome(OutcomeKind(row["outcome"]), row["sentence"]),
        score=_row_to_score(row),
        curve=_text_to_curve(row["curve"]),
        provenance=Provenance(row["seconds"], row["created_at"], row["machine"]),
    )


def _row_to_score(row: Mapping[Any, Any]) -> Score | None:
    if row["fitness"] is None:
        return None
    return Score(**{name: row[name] for name in SCORE_COLUMNS})


def _curve_to_text(curve: tuple[EpochRecord, ...]) -> str:
    return canonical_json([[_to_json(value) for value in astuple(record)] for record in curve])


def _text_to_curve(text: str) -> tuple[EpochRecord, ...]:
    records: list[list[Any]] = json.loads(text)
    return tuple(EpochRecord(*map(_from_json, record)) for record in records)


def _to_json(value: float | None) -> float | str | None:
    """Write NaN and infinities, which the curve of a diverged trial can hold, as text."""
    return value if value is None or math.isfinite(value) else str(value)


def _from_json(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value
