"""Checksums of rows: a byte changed inside a value is noticed, which no database does by itself.

The keys of trials and the texts of protocols need none: their SHA-256 stands beside them.
CRC-32 finds every change of up to 32 neighbouring bits (W. W. Peterson and D. T. Brown, 1961). It
is no defence against somebody who computes it anew.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

RESULT_COLUMNS = (
    "outcome",
    "sentence",
    "fitness",
    "learning_rate",
    "loss",
    "metric",
    "train_loss",
    "steps",
    "curve",
    "seconds",
    "created_at",
    "machine",
)
"""What a trial brings along beside its key, in the order in which it is summed."""

RUN_COLUMNS = ("digest", "name", "config_json", "program_version", "created_at")


def trial_checksum(row: Mapping[Any, Any]) -> int:
    """Return the checksum of a trial's row: of its digest and of all that is no part of its key."""
    return _sum([row["digest"], *(row[name] for name in RESULT_COLUMNS)])


def run_checksum(row: Mapping[Any, Any]) -> int:
    """Return the checksum of a run's row."""
    return _sum([row[name] for name in RUN_COLUMNS])


def entry_checksum(row: Mapping[Any, Any]) -> int:
    """Return the checksum of a run entry's row: of what it says itself, not of its copies."""
    names = ("run_id", "position", "trial", "facts")
    return _sum([*(row[name] for name in names), bool(row["unsettled"])])


def document_checksum(row: Mapping[Any, Any]) -> int:
    """Return the checksum of a document's row."""
    return _sum([row["run_id"], row["name"], row["body"]])


def require_sum(checksum: int, row: Mapping[Any, Any]) -> None:
    """Refuse a row that carries another checksum than this.

    Raises
    ------
    ValueError
        If it is.
    """
    if checksum != row["checksum"]:
        raise ValueError("its content and its checksum do not belong together")


def _sum(values: list[Any]) -> int:
    try:
        return zlib.crc32(json.dumps(values).encode())
    except TypeError:  # bytes, which no store has written: no sum belongs to them
        return -1
