"""The tables of a store as they are today; :mod:`evolute.store.migrations` leads to them.

A trial stands once in ``trials`` under its digest. Entries of runs point at it by number, which
keeps their joins quick, and repeat what listings ask of it (digest, outcome, fitness): a run of a
million entries is then listed from an index. The protocol, a long text shared by nearly all trials,
stands once in ``protocols``. Each row that a run needs carries a checksum, as no database notices a
byte that was changed inside a value.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

REVISIONS = ("0001", "0002", "0003")
"""Every migration, oldest first: a revision that is not here was made by a newer version."""

VERSION_TABLE = "evolute_version"
"""Where Alembic keeps the revision; its name marks a database as ours."""

METADATA = MetaData()

# SQLite makes only a column of type INTEGER the row's own number.
ROW_NUMBER = BigInteger().with_variant(Integer, "sqlite")

# Digits sort by their bytes, whatever language the database was made for.
DIGEST = String(64).with_variant(String(64, collation="C"), "postgresql")


def _checksum() -> Column[int]:
    return Column("checksum", BigInteger, nullable=False)


protocols = Table(
    "protocols",
    METADATA,
    Column("id", ROW_NUMBER, primary_key=True),
    Column("text", Text, nullable=False),
    Column("digest", DIGEST, nullable=False),
    # By digest, because PostgreSQL has no index over a long text.
    Index("protocols_by_digest", "digest", unique=True),
)

trials = Table(
    "trials",
    METADATA,
    Column("id", ROW_NUMBER, primary_key=True),
    Column("digest", DIGEST, nullable=False, unique=True),
    Column("rule", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("task_version", Text, nullable=False),
    Column("protocol_id", ROW_NUMBER, ForeignKey("protocols.id"), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("program_version", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("fitness", Double),
    Column("learning_rate", Double),
    Column("loss", Double),
    Column("metric", Double),
    Column("train_loss", Double),
    Column("steps", BigInteger),
    Column("curve", Text, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("machine", Text, nullable=False),
    _checksum(),
    # A leaderboard walks one of these from its end and stops at its limit.
    Index("trials_by_fitness", "fitness"),
    Index("trials_by_task_and_fitness", "task", "fitness"),
)

runs = Table(
    "runs",
    METADATA,
    Column("id", ROW_NUMBER, primary_key=True),
    Column("digest", DIGEST, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("config_json", Text, nullable=False),
    Column("program_version", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    _checksum(),
)

run_entries = Table(
    "run_entries",
    METADATA,
    Column("run_id", ROW_NUMBER, ForeignKey("runs.id"), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("trial_id", ROW_NUMBER, ForeignKey("trials.id"), nullable=False),
    Column("facts", Text, nullable=False),
    Column("trial", DIGEST, nullable=False),
    Column("protocol_id", ROW_NUMBER, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("fitness", Double),
    # Whether the trial had timed out or crashed when it was recorded.
    Column("unsettled", Boolean, nullable=False),
    _checksum(),
    Index("run_entries_by_trial", "trial_id", "run_id", "position"),
    Index("run_entries_by_outcome", "run_id", "outcome", "trial_id"),
    # All that resuming reads, so that it does not go through the facts of a million entries.
    Index("run_entries_in_short", "run_id", "position", "trial", "outcome", "fitness"),
    Index(
        "run_entries_unsettled",
        "run_id",
        sqlite_where=text("unsettled = 1"),
        postgresql_where=text("unsettled"),
    ),
)
# A run's leaderboard walks this and stops at its limit.
Index(
    "run_entries_by_fitness",
    run_entries.c.run_id,
    run_entries.c.protocol_id,
    run_entries.c.fitness.desc(),
    run_entries.c.position,
)

documents = Table(
    "documents",
    METADATA,
    Column("run_id", ROW_NUMBER, ForeignKey("runs.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("body", Text, nullable=False),
    _checksum(),
)

checkpoints = Table(
    "checkpoints",
    METADATA,
    Column("run_id", ROW_NUMBER, ForeignKey("runs.id"), primary_key=True),
    Column("part", BigInteger, primary_key=True, autoincrement=False),
    # How many parts there are, and how many entries the run had recorded before: in each row.
    Column("parts", BigInteger, nullable=False),
    Column("entries", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    _checksum(),
)

leases = Table(
    "leases",
    METADATA,
    Column("digest", DIGEST, primary_key=True),
    Column("owner", Text, nullable=False),
    # Rises with each sign of life; watchers compare it, and no clocks.
    Column("beat", BigInteger, nullable=False),
    Column("seconds", Double, nullable=False),
)
