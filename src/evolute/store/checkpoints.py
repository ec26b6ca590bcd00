"""Checkpoints of runs: what a run would otherwise have to work out anew from all its entries.

A cache, written whole and read whole: columns of bytes, cut into pieces. What is not what was
written, or goes with entries that are gone, counts as not there.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, select

from evolute.store.schema import checkpoints, run_entries
from evolute.store.writing import insert_into

PIECE_BYTES = 8 * 2**20
"""Bytes of a row: small beside what a database takes for one value."""


def write_checkpoint(
    connection: Connection, run_id: int, columns: Mapping[str, bytes], *, entries: int
) -> None:
    """Store the checkpoint of a run in place of the one before."""
    forget_checkpoint(connection, run_id)
    pieces = [
        (name, content[start : start + PIECE_BYTES])
        for name, content in columns.items()
        for start in range(0, max(len(content), 1), PIECE_BYTES)
    ]
    statement = insert_into(connection, checkpoints)
    for part, (name, content) in enumerate(pieces):
        row = {"run_id": run_id, "part": part, "parts": len(pieces), "entries": entries,
               "name": name, "content": content}  # fmt: skip
        connection.execute(statement, row | {"checksum": checkpoint_checksum(row)})


def read_checkpoint(connection: Connection, run_id: int) -> dict[str, bytes] | None:
    """Return the checkpoint of a run; None if there is none that can be believed."""
    rows = _rows(connection, run_id)
    if not rows or [row["part"] for row in rows] != list(range(rows[0]["parts"])):
        return None
    columns: dict[str, list[bytes]] = {}
    for row in rows:
        if checkpoint_checksum(row) != row["checksum"]:
            return None
        columns.setdefault(row["name"], []).append(row["content"])
    counted = select(func.count()).select_from(run_entries).where(run_entries.c.run_id == run_id)
    if int(connection.scalar(counted) or 0) < rows[0]["entries"]:
        return None
    return {name: b"".join(pieces) for name, pieces in columns.items()}


def _rows(connection: Connection, run_id: int) -> Sequence[Mapping[Any, Any]]:
    query = select(checkpoints).where(checkpoints.c.run_id == run_id).order_by(checkpoints.c.part)
    if connection.dialect.name != "postgresql":
        return connection.execute(query).mappings().all()
    driver: Any = connection.connection.driver_connection
    compiled = query.compile(connection)
    names = [column.name for column in checkpoints.c]
    # In binary: as text, bytes come as digits, twice as many, which takes three times as long.
    with driver.cursor(binary=True) as cursor:
        cursor.execute(str(compiled), compiled.params)
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def forget_checkpoint(connection: Connection, run_id: int) -> None:
    """Remove the checkpoint of a run."""
    connection.execute(delete(checkpoints).where(checkpoints.c.run_id == run_id))


def checkpoint_checksum(row: Mapping[Any, Any]) -> int:
    """Return the checksum of a piece of a checkpoint."""
    facts = [row[name] for name in ("run_id", "part", "parts", "entries", "name")]
    try:
        return zlib.crc32(row["content"], zlib.crc32(json.dumps(facts).encode()))
    except TypeError:  # text, which no store has written
        return -1
