"""The schema: that migrations lead to it, and that listings are read from its indexes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event

from evolute.store import migrations, schema
from evolute.store.base import Order
from evolute.store.sql import open_store
from evolute.store.sql_store import SqlStore
from evolute.testing.store_examples import RUN
from evolute.trial import OutcomeKind


@pytest.fixture
def store() -> Iterator[SqlStore]:
    with open_store(":memory:") as opened:
        opened.open_run(RUN)
        yield opened


def test_migrations_lead_to_the_schema_of_today(store: SqlStore) -> None:
    with store._engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": schema.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, schema.METADATA) == []
        assert context.get_current_revision() == schema.REVISIONS[-1]


def test_the_known_revisions_are_the_migrations_there_are() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    found = [script.revision for script in scripts.walk_revisions()]
    assert tuple(reversed(found)) == schema.REVISIONS


def test_opening_a_new_store_says_nothing(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    open_store(":memory:").close()
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def plan_of(store: SqlStore, order: Order, **choice: object) -> str:
    """How SQLite goes about a listing."""

    def ask() -> object:
        return store.trials(order=order, limit=20, **choice)  # type: ignore[arg-type]  # as in each case below

    return plan(store, ask)


def plan(store: SqlStore, ask: Callable[[], object]) -> str:
    sent: list[tuple[str, object]] = []

    def note(_c: object, _k: object, statement: str, values: object, *_: object) -> None:
        sent.append((statement, values))

    event.listen(store._engine, "before_cursor_execute", note)
    ask()
    event.remove(store._engine, "before_cursor_execute", note)
    with store._engine.connect() as connection:
        plans = [
            connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)  # type: ignore[arg-type]
            for statement, values in sent
            if statement.startswith("SELECT")
        ]
        return "\n".join(row[-1] for rows in plans for row in rows)


def test_a_leaderboard_is_read_from_an_index_and_not_sorted(store: SqlStore) -> None:
    plan = plan_of(store, "fitness")
    assert "INDEX trials_by_fitness" in plan
    assert "FOR ORDER BY" not in plan


def test_a_leaderboard_of_a_task_is_read_from_an_index_and_not_sorted(store: SqlStore) -> None:
    plan = plan_of(store, "fitness", task="digits", outcomes=[OutcomeKind.FINISHED])
    assert "INDEX trials_by_task_and_fitness (task=?" in plan
    assert "FOR ORDER BY" not in plan


def test_a_leaderboard_of_a_run_is_read_from_an_index_and_not_sorted(store: SqlStore) -> None:
    choice = {"run": RUN.digest, "protocol": "{}", "outcomes": [OutcomeKind.FINISHED]}
    plan = plan_of(store, "fitness", **choice)
    assert "INDEX run_entries_by_fitness (run_id=? AND protocol_id=? AND fitness>?)" in plan
    assert "B-TREE" not in plan


def test_no_listing_of_a_run_reads_all_trials(store: SqlStore) -> None:
    orders: tuple[Order, ...] = ("fitness", "position", "stored")
    for order in orders:
        assert "SCAN trials" not in plan_of(store, order, run=RUN.digest)


def test_whether_a_run_is_settled_and_its_counts_are_read_from_indexes(store: SqlStore) -> None:
    assert "run_entries_unsettled" in plan(store, lambda: store.unsettled(RUN.digest))
    counting = plan(store, lambda: store.counts(RUN.digest))
    assert "COVERING INDEX run_entries_by_outcome (run_id=?)" in counting
    assert "B-TREE FOR DISTINCT" not in counting
