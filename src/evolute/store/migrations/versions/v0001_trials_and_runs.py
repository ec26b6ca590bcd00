"""Trials, the runs that asked for them, and documents of runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
DIGEST = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "protocols",
        sa.Column("id", ROW_NUMBER, primary_key=True),
        # PostgreSQL has no index over a long text; no store of this revision was ever there.
        sa.Column(
            "text", sa.Text, nullable=False, unique=op.get_context().dialect.name == "sqlite"
        ),
    )
    _create_trials()
    _create_runs()


def _is_sqlite() -> bool:
    return op.get_context().dialect.name == "sqlite"


def _create_trials() -> None:
    op.create_table(
        "trials",
        sa.Column("id", ROW_NUMBER, primary_key=True),
        sa.Column("digest", DIGEST, nullable=False, unique=True),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("task_version", sa.Text, nullable=False),
        sa.Column("protocol_id", ROW_NUMBER, sa.ForeignKey("protocols.id"), nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("program_version", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("fitness", sa.Double),
        sa.Column("learning_rate", sa.Double),
        sa.Column("loss", sa.Double),
        sa.Column("metric", sa.Double),
        sa.Column("train_loss", sa.Double),
        sa.Column("steps", sa.BigInteger),
        sa.Column("curve", sa.Text, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("machine", sa.Text, nullable=False),
    )
    op.create_index("trials_by_fitness", "trials", ["fitness"])
    op.create_index("trials_by_task_and_fitness", "trials", ["task", "fitness"])


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", ROW_NUMBER, primary_key=True),
        sa.Column("digest", DIGEST, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("config_json", sa.Text, nullable=False),
        sa.Column("program_version", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
    )
    op.create_table(
        "run_entries",
        sa.Column("run_id", ROW_NUMBER, sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("trial_id", ROW_NUMBER, sa.ForeignKey("trials.id"), nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
    )
    op.create_index("run_entries_by_trial", "run_entries", ["run_id", "trial_id", "position"])
    op.create_table(
        "documents",
        sa.Column("run_id", ROW_NUMBER, sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
