"""What only a store on a server meets: restarts, refusals, and passwords that nobody repeats."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event, text

import evolute
from evolute.errors import StoreError
from evolute.store import inspection, postgresql, schema, session
from evolute.store.address import parse_address, shown
from evolute.store.sql import open_store
from evolute.store.sql_store import SqlStore
from evolute.testing.postgresql_server import PostgresqlServer
from evolute.testing.store_examples import RUN, example_entry, example_trial
from evolute.trial import OutcomeKind, canonical_json

WRITER = f"""
import sys, types
face = types.ModuleType("evolute")
face.__path__ = {list(evolute.__path__)!r}
sys.modules["evolute"] = face
from evolute.store.sql import open_store
from evolute.testing.store_examples import example_trial
from evolute.trial import canonical_json

with open_store(sys.argv[1]) as store:
    for number in range(int(sys.argv[2]), 10**9):
        held = store.put(example_trial(number, fitness=1 / (number + 1)))
        print(canonical_json(held.to_dict()), flush=True)
"""


@pytest.fixture
def address(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def store(address: str) -> Iterator[SqlStore]:
    with open_store(address) as opened:
        yield opened


def refusal(address: str, *, read_only: bool = False) -> str:
    with pytest.raises(StoreError) as caught:
        open_store(address, read_only=read_only)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_server_that_restarts_in_the_middle_costs_nothing(
    server: PostgresqlServer, store: SqlStore
) -> None:
    trials = [example_trial(number, fitness=0.5) for number in range(400)]
    store.open_run(RUN)
    restarted = threading.Event()

    def restart() -> None:
        server.stop()
        time.sleep(0.3)
        server.start()
        restarted.set()

    thread = threading.Thread(target=restart)
    held = []
    for number, trial in enumerate(trials):
        if number == 50:
            thread.start()
        held.append(store.put(trial))
        store.record_many(RUN.digest, [example_entry(number, trial)])
    thread.join()
    restarted.wait()
    assert store.get_many([trial.key.digest for trial in trials]) == {
        trial.key.digest: trial for trial in held
    }
    assert len(store.run_entries(RUN.digest)) == len(trials)


def test_a_server_that_stays_away_is_an_error_of_one_line_and_all_goes_on_once_it_is_back(
    server: PostgresqlServer, store: SqlStore, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "RECONNECT_SECONDS", 0.3)
    trial = store.put(example_trial(1))
    server.stop("fast")
    try:
        with pytest.raises(StoreError, match="cannot be reached: start its server") as caught:
            store.put(example_trial(2))
        assert "\n" not in str(caught.value)
        assert "cannot be reached: start its server" in refusal(address)
    finally:
        server.start()
    assert store.get(trial.key.digest) == trial
    store.put(example_trial(2))


def test_a_connection_that_is_ended_by_the_administrator_is_made_anew(
    store: SqlStore, address: str
) -> None:
    with open_store(address) as other:
        other.session.write(
            lambda connection: connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        )
        assert store.trials() == ()


def test_what_a_killed_process_was_told_is_stored_is_there(address: str) -> None:
    told: set[str] = set()
    for round_number, lines in enumerate((1, 60)):
        command = [sys.executable, "-c", WRITER, address, str(10**6 * round_number)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        told |= {writer.stdout.readline() for _ in range(lines)}
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        told |= {line for line in rest.splitlines(keepends=True) if line.endswith("\n")}
    with open_store(address) as store:
        held = {canonical_json(row.trial.to_dict()) + "\n" for row in store.trials()}
    assert told <= held


def test_many_may_make_the_same_store_at_once(server: PostgresqlServer) -> None:
    address = server.create("made_by_many")
    faults: list[Exception] = []
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        barrier.wait()
        try:
            with open_store(address) as store:
                store.put(example_trial(number))
        except Exception as fault:  # noqa: BLE001  # whatever a thread raises, the test must see
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with open_store(address, read_only=True) as store:
        assert len(store.trials()) == 4


def test_writers_that_stand_in_each_others_way_both_get_through(address: str) -> None:
    trials = [example_trial(number, fitness=0.5) for number in range(30)]
    faults: list[Exception] = []
    barrier = threading.Barrier(2)

    def work(order: int) -> None:
        try:
            with open_store(address) as store:
                barrier.wait()
                for start in range(0, 30, 10):
                    store.put_many(trials[start : start + 10][::order])
        except Exception as fault:  # noqa: BLE001  # whatever a thread raises, the test must see
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(order,)) for order in (1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_migrations_lead_to_the_schema_of_today(store: SqlStore) -> None:
    with store._engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": schema.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, schema.METADATA) == []


def test_listings_are_read_from_indexes(store: SqlStore) -> None:
    store.open_run(RUN)
    plans: list[str] = []

    def note(
        connection: object, cursor: object, statement: str, values: object, *_: object
    ) -> None:
        if statement.startswith("SELECT") and "ORDER BY" in statement:
            asked.append((statement, values))

    asked: list[tuple[str, object]] = []
    event.listen(store._engine, "before_cursor_execute", note)
    store.trials(limit=10)
    store.trials(run=RUN.digest, protocol="{}", outcomes=[OutcomeKind.FINISHED], limit=10)
    event.remove(store._engine, "before_cursor_execute", note)
    with store._engine.connect() as connection:
        # The tables are empty here: what the planner could do is asked, not what it prefers.
        connection.exec_driver_sql("SET enable_seqscan = off")
        connection.exec_driver_sql("SET enable_bitmapscan = off")
        for statement, values in asked:
            rows = connection.exec_driver_sql(f"EXPLAIN {statement}", values)  # type: ignore[arg-type]
            plans.append("\n".join(row[0] for row in rows))
    assert "trials_by_fitness" in plans[0]
    assert "run_entries_by_fitness" in plans[-1]


# Refusals


def test_no_message_repeats_a_password(server: PostgresqlServer, store: SqlStore) -> None:
    address, password = server.address("none"), server.password
    wrong = address.replace(password, "a-wrong-one")
    messages = [
        refusal(address),
        refusal(wrong),
        refusal(address.replace("127.0.0.1", "127.0.0.1.invalid")),
        refusal(f"{address}?password={password}"),
        refusal(f"{address}?nonsense={password}"),
        refusal(address.replace("postgresql+psycopg", "mysql")),
        refusal(address.replace("tester:", "tester:%zz")),
        refusal(address.replace("127.0.0.1:", "127.0.0.1:x")),
    ]
    assert "does not exist on its server" in messages[0]
    assert "refuses this user or password" in messages[1]
    with pytest.raises(StoreError) as caught:
        store.put(example_trial(2**63))
    messages += [str(caught.value), shown(address), repr(store), store.name]
    for message in messages:
        assert password not in message
        assert "a-wrong-one" not in message


def test_a_text_that_the_server_cannot_hold_is_refused_and_the_rest_goes_on(
    store: SqlStore,
) -> None:
    for task in ("\0", "\ud800"):
        with pytest.raises(StoreError, match=r"cannot (hold|be used)") as caught:
            store.put(example_trial(2, task=task))
        assert "\n" not in str(caught.value)
    store.put(example_trial(3))
    assert len(store.trials()) == 1


def test_a_store_opened_for_reading_is_never_written(address: str) -> None:
    with (
        open_store(address, read_only=True) as store,
        pytest.raises(StoreError, match="is read-only"),
    ):
        store.put(example_trial(1))


def test_a_database_that_is_empty_or_of_something_else_is_told(server: PostgresqlServer) -> None:
    address = server.create("of_something_else")
    assert "is empty" in refusal(address, read_only=True)
    with pytest.raises(StoreError, match="does not exist: give the address"):
        open_store(address, create=False)
    assert "is empty" in refusal(address, read_only=True)
    engine = postgresql.open_unchecked(parse_address(address))
    with engine.connect() as connection:
        connection.exec_driver_sql("SET default_transaction_read_only = off")
        connection.commit()
        connection.exec_driver_sql("CREATE TABLE mine (id integer)")
        connection.commit()
    engine.dispose()
    assert "is a database of something else" in refusal(address)


def test_rows_that_others_hold_for_too_long_are_an_error_of_one_line(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "BUSY_TIMEOUT_SECONDS", 0.05)
    with open_store(address) as store, open_store(address) as other:
        store.open_run(RUN)
        with other._engine.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE trials")
            with pytest.raises(StoreError, match="is locked by another process"):
                store.put(example_trial(1))
        store.put(example_trial(1))


def test_a_changed_row_is_found(store: SqlStore, address: str) -> None:
    trial = store.put(example_trial(1, fitness=0.5))
    store.session.write(
        lambda connection: connection.exec_driver_sql("UPDATE trials SET fitness = 0.75")
    )
    with pytest.raises(StoreError, match="damaged"):
        store.get(trial.key.digest)
    (fault,) = inspection.find_faults(address)
    assert fault.startswith("trial 1: ")


def test_a_store_on_a_server_is_described(store: SqlStore, address: str) -> None:
    store.put(example_trial(1, fitness=0.5))
    found = inspection.take_inventory(address)
    assert (found.kind, found.trials, found.outcomes) == ("postgresql", 1, {"finished": 1})
    assert found.store == shown(address)
