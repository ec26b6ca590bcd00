"""The tables of a store as they are today; :mod:`evolute.store.migrations` leads to them.

A trial stands once in ``trials`` under its digest. Entries of runs point at it by number, which
keeps them short and their joins quick. The protocol, a long text shared by nearly all trials,
stands once in ``protocols``.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

REVISIONS = ("0001",)
"""Every migration, oldest first: a revision that is not here was made by a newer version."""

VERSION_TABLE = "evolute_version"
"""Where Alembic keeps the revision; its name marks a database as ours."""

METADATA = MetaData()

# SQLite makes only a column of type INTEGER the row's own number.
ROW_NUMBER = BigInteger().with_variant(Integer, "sqlite")

protocols = Table(
    "protocols",
    METADATA,
    Column("id", ROW_NUMBER, primary_key=True),
    Column("text", Text, nullable=False, unique=True),
)

trials = Table(
    "trials",
    METADATA,
    Column("id", ROW_NUMBER, primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
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
    # A leaderboard walks one of these from its end and stops at its limit.
    Index("trials_by_fitness", "fitness"),
    Index("trials_by_task_and_fitness", "task", "fitness"),
)

runs = Table(
    "runs",
    METADATA,
    Column("id", ROW_NUMBER, primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("config_json", Text, nullable=False),
    Column("program_version", Text, nullable=False),
    Column("created_at", Text, nullable=False),
)

run_entries = Table(
    "run_entries",
    METADATA,
    Column("run_id", ROW_NUMBER, ForeignKey("runs.id"), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("trial_id", ROW_NUMBER, ForeignKey("trials.id"), nullable=False),
    Column("facts", Text, nullable=False),
    Index("run_entries_by_trial", "run_id", "trial_id", "position"),
)

documents = Table(
    "documents",
    METADATA,
    Column("run_id", ROW_NUMBER, ForeignKey("runs.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("body", Text, nullable=False),
)
