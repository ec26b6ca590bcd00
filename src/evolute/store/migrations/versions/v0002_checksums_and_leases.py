"""Checksums of rows, what listings ask of a trial beside each entry that names it, and leases."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from evolute.store.checksums import (
    document_checksum,
    entry_checksum,
    run_checksum,
    trial_checksum,
)

revision = "0002"
down_revision = "0001"

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
DIGEST = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
ROWS_AT_ONCE = 1000
TABLES_WITH_CHECKSUMS = ("trials", "runs", "run_entries", "documents")


def upgrade() -> None:
    _add_columns()
    op.create_table(
        "leases",
        sa.Column("digest", DIGEST, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
    )
    _name_protocols()
    _copy_to_entries()
    _sum("trials", trial_checksum)
    _sum("runs", run_checksum)
    _sum("run_entries", entry_checksum, key=("run_id", "position"))
    _sum("documents", document_checksum, key=("run_id", "name"))
    _create_indexes()


def _add_columns() -> None:
    def add(table: str, name: str, kind: Any, default: str | None = None) -> None:
        column = sa.Column(name, kind, nullable=default is None, server_default=default)
        op.add_column(table, column)

    for table in TABLES_WITH_CHECKSUMS:
        add(table, "checksum", sa.BigInteger, "0")
    add("protocols", "digest", DIGEST, "")
    add("run_entries", "trial", DIGEST, "")
    add("run_entries", "protocol_id", ROW_NUMBER, "0")
    add("run_entries", "outcome", sa.Text, "")
    add("run_entries", "fitness", sa.Double)
    add("run_entries", "unsettled", sa.Boolean, sa.false())  # type: ignore[arg-type]  # as text of each dialect


def _name_protocols() -> None:
    connection = op.get_bind()
    for number, text in connection.execute(sa.text("SELECT id, text FROM protocols")).all():
        values = {"number": number, "digest": hashlib.sha256(_bytes(text)).hexdigest()}
        update = sa.text("UPDATE protocols SET digest = :digest WHERE id = :number")
        connection.execute(update, values)


def _bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()


def _copy_to_entries() -> None:
    """Repeat beside each entry what its trial says; what it said when recorded is in the facts."""
    copies = ", ".join(
        f"{name} = (SELECT trials.{column} FROM trials WHERE trials.id = run_entries.trial_id)"
        for name, column in (
            ("trial", "digest"),
            ("protocol_id", "protocol_id"),
            ("outcome", "outcome"),
            ("fitness", "fitness"),
        )
    )
    connection = op.get_bind()
    connection.execute(sa.text(f"UPDATE run_entries SET {copies}"))
    for kind in ("timed out", "crashed"):
        connection.execute(
            sa.text(
                "UPDATE run_entries SET unsettled = true WHERE outcome = :kind OR facts LIKE :said"
            ),
            {"kind": kind, "said": f'%"outcome":"{kind}"%'},
        )


def _sum(
    table: str,
    checksum: Callable[[Mapping[Any, Any]], int],
    *,
    key: Sequence[str] = ("id",),
) -> None:
    """Give each row of a table its checksum, some at a time."""
    connection = op.get_bind()
    same = " AND ".join(f"{name} = :key_{name}" for name in key)
    update = sa.text(f"UPDATE {table} SET checksum = :checksum WHERE {same}")
    order = ", ".join(key)
    after = ", ".join(f":key_{name}" for name in key)
    first = sa.text(f"SELECT * FROM {table} ORDER BY {order} LIMIT {ROWS_AT_ONCE}")
    later = sa.text(
        f"SELECT * FROM {table} WHERE ({order}) > ({after}) ORDER BY {order} LIMIT {ROWS_AT_ONCE}"
    )
    rows = connection.execute(first).mappings().all()
    while rows:
        keys = [{f"key_{name}": row[name] for name in key} for row in rows]
        sums = [keyed | {"checksum": checksum(row)} for keyed, row in zip(keys, rows, strict=True)]
        connection.execute(update, sums)
        rows = connection.execute(later, keys[-1]).mappings().all()


def _create_indexes() -> None:
    op.create_index("protocols_by_digest", "protocols", ["digest"], unique=True)
    op.drop_index("run_entries_by_trial", "run_entries")
    op.create_index("run_entries_by_trial", "run_entries", ["trial_id", "run_id", "position"])
    op.create_index("run_entries_by_outcome", "run_entries", ["run_id", "outcome", "trial_id"])
    op.create_index(
        "run_entries_in_short",
        "run_entries",
        ["run_id", "position", "trial", "outcome", "fitness"],
    )
    op.create_index(
        "run_entries_unsettled",
        "run_entries",
        ["run_id"],
        sqlite_where=sa.text("unsettled = 1"),
        postgresql_where=sa.text("unsettled"),
    )
    op.create_index(
        "run_entries_by_fitness",
        "run_entries",
        ["run_id", "protocol_id", sa.text("fitness DESC"), "position"],
    )
