"""SqlStore: a store in an SQL database, by SQLAlchemy Core. Every value is a bound parameter."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, get_args

from sqlalchemy import Connection, Engine, RowMapping, Select, delete, func, or_, select
from sqlalchemy.dialects.sqlite import insert

from evolute.errors import InputError, StoreError, UnknownNameError, shorten
from evolute.store.base import Order, RunEntry, RunRecord, Store, StoredTrial
from evolute.store.faults import translated
from evolute.store.rows import DAMAGE, KEY_COLUMNS, row_to_trial, trial_to_row
from evolute.store.schema import documents, protocols, run_entries, runs, trials
from evolute.trial import RETRIED_KINDS, OutcomeKind, Trial, canonical_json

VALUES_PER_QUERY = 500
"""Below the number of parameters that any supported database takes in one statement."""

TRIALS = select(
    *(column for column in trials.c if column.name != "protocol_id"),
    protocols.c.text.label("protocol"),
).join(protocols, protocols.c.id == trials.c.protocol_id)

RESULT_COLUMNS = tuple(
    name
    for name in trials.c.keys()  # noqa: SIM118  # columns are not iterated as their names
    if name not in {"id", "digest", "protocol_id", *KEY_COLUMNS}
)
"""What a later trial of the same key brings along."""


class SqlStore(Store):
    """A store in an SQL database; made by :func:`evolute.store.sql.open_store`.

    Parameters
    ----------
    engine
        Engine of a database that has the newest schema; the store owns it from now on.
    name
        What messages call the store: its path.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._lock = threading.RLock()
        self._closed = False

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        """Hold the connection for one transaction, undone if anything is raised in it."""
        with self._lock, translated(self._name):
            if self._closed:
                raise StoreError(f"store {self._name} is closed: open it again")
            with self._engine.begin() as connection:
                connection.exec_driver_sql(begin)
                yield connection

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._transaction("BEGIN")

    def _writing(self) -> AbstractContextManager[Connection]:
        # The write lock is taken at once: a reader that turns writer may find its view outdated.
        return self._transaction("BEGIN IMMEDIATE")

    def close(self) -> None:
        with self._lock, translated(self._name):
            self._closed = True
            self._engine.dispose()

    # Trials

    def put_many(self, trials: Sequence[Trial]) -> list[Trial]:
        if not trials:
            return []
        rows = [trial_to_row(_stamped(trial)) for trial in trials]
        digests = [row["digest"] for row in rows]
        with self._writing() as connection:
            _insert_trials(connection, rows)
            held = self._held(connection, digests)
        return [held[digest] for digest in digests]

    def get_many(self, digests: Collection[str]) -> Mapping[str, Trial]:
        with self._reading() as connection:
            return self._held(connection, digests)

    def _held(self, connection: Connection, digests: Collection[str]) -> dict[str, Trial]:
        """Return those of the trials that are there, in the order of their digests given."""
        rows: dict[str, RowMapping] = {}
        for part in _parts(digests):
            found = connection.execute(TRIALS.where(trials.c.digest.in_(part))).mappings()
            rows |= {row["digest"]: row for row in found}
        return {digest: self._trial(rows[digest]) for digest in digests if digest in rows}

    def find_trial(self, prefix: str) -> Trial:
        if not re.fullmatch("[0-9a-fA-F]{1,64}", prefix):
            raise InputError(
                f"{shorten(prefix)!r} names no trial: give the first of its 64 hexadecimal digits"
            )
        start = prefix.lower()
        within = (trials.c.digest >= start) & (trials.c.digest < start + "g")
        with self._reading() as connection:
            query = TRIALS.where(within).order_by(trials.c.digest).limit(4)
            rows = connection.execute(query).mappings().all()
        if not rows:
            raise InputError(
                f"no trial in store {self._name} begins with {prefix!r}: see its leaderboard"
            )
        if len(rows) > 1:
            length = len(prefix) + 6
            several = ", ".join(str(row["digest"])[:length] for row in rows)
            raise InputError(f"{prefix!r} begins several trials ({several}): give more digits")
        return self._trial(rows[0])

    def trials(
        self,
        *,
        run: str | None = None,
        task: str | None = None,
        outcomes: Collection[OutcomeKind] | None = None,
        limit: int | None = None,
        order: Order = "fitness",
    ) -> tuple[StoredTrial, ...]:
        _check_listing(run=run, limit=limit, order=order)
        query = TRIALS
        if task is not None:
            query = query.where(trials.c.task == task)
        if outcomes is not None:
            query = query.where(trials.c.outcome.in_([kind.value for kind in outcomes]))
        with self._reading() as connection:
            if run is not None:
                query = _of_run(query, self._run_id(connection, run))
            query = _ordered(query, order, within_run=run is not None).limit(limit)
            rows = connection.execute(query).mappings().all()
        return tuple(
            StoredTrial(self._trial(row), None if run is None else self._entry(row)) for row in rows
        )

    def _trial(self, row: RowMapping) -> Trial:
        with self._undamaged(f"trial {shorten(str(row['digest']))}"):
            return row_to_trial(row)

    # Runs

    def open_run(self, record: RunRecord) -> RunRecord:
        with self._plain_data(f"the configuration of run {record.name!r}"):
            config_json = canonical_json(json.loads(record.config_json))
        stamped = replace(
            record, config_json=config_json, created_at=record.created_at or utc_now()
        )
        with self._writing() as connection:
            connection.execute(insert(runs).on_conflict_do_nothing(), [asdict(stamped)])
            held = _run_record(
                connection.execute(select(runs).where(runs.c.digest == record.digest))
                .mappings()
                .one()
            )
        if (held.config_json, held.program_version) != (config_json, record.program_version):
            raise StoreError(
                f"run {record.digest[:12]} in store {self._name} has another configuration or "
                "program version: give another store"
            )
        return held

    def runs(self) -> tuple[RunRecord, ...]:
        with self._reading() as connection:
            rows = connection.execute(select(runs).order_by(runs.c.id)).mappings().all()
        return tuple(_run_record(row) for row in rows)

    def record_many(self, run: str, entries: Sequence[RunEntry]) -> None:
        with self._plain_data(f"what is known of the proposals of run {run[:12]}"):
            texts = [canonical_json(dict(entry.facts)) for entry in entries]
        with self._writing() as connection:
            run_id = self._run_id(connection, run)
            trial_ids = self._trial_ids(connection, {entry.trial for entry in entries})
            held = _recorded(connection, run_id, [entry.position for entry in entries])
            fresh = []
            for entry, facts in zip(entries, texts, strict=True):
                content = (trial_ids[entry.trial], facts)
                if entry.position not in held:
                    held[entry.position] = content
                    fresh.append((run_id, entry.position, *content))
                elif held[entry.position] != content:
                    raise StoreError(
                        f"position {entry.position} of run {run[:12]} in store {self._name} holds "
                        "another proposal: a search must propose the same again; give another store"
                    )
            if fresh:
                names = run_entries.c.keys()
                rows = [dict(zip(names, values, strict=True)) for values in fresh]
                connection.execute(insert(run_entries), rows)

    def forget_entries(self, run: str) -> None:
        with self._writing() as connection:
            run_id = self._run_id(connection, run)
            connection.execute(delete(run_entries).where(run_entries.c.run_id == run_id))

    def run_entries(self, run: str) -> tuple[RunEntry, ...]:
        with self._reading() as connection:
            query = (
                select(run_entries.c.position, run_entries.c.facts, trials.c.digest)
                .join(trials, trials.c.id == run_entries.c.trial_id)
                .where(run_entries.c.run_id == self._run_id(connection, run))
                .order_by(run_entries.c.position)
            )
            rows = connection.execute(query).mappings().all()
        return tuple(self._entry(row) for row in rows)

    def counts(self, run: str) -> Mapping[OutcomeKind, int]:
        with self._reading() as connection:
            query = (
                select(trials.c.outcome, func.count(), func.count(trials.c.id.distinct()))
                .join(run_entries, run_entries.c.trial_id == trials.c.id)
                .where(run_entries.c.run_id == self._run_id(connection, run))
                .group_by(trials.c.outcome)
            )
            rows = connection.execute(query).all()
        found = dict.fromkeys(OutcomeKind, 0)
        for outcome, positions, distinct in rows:
            with self._undamaged(f"an outcome of run {run[:12]}"):
                kind = OutcomeKind(outcome)
            own = positions if kind is OutcomeKind.DEGENERATE else distinct
            found[kind] += own
            found[OutcomeKind.DUPLICATE] += positions - own
        return {kind: count for kind, count in found.items() if count}

    def put_document(self, run: str, name: str, document: object) -> None:
        with self._plain_data(f"document {name!r}"):
            body = canonical_json(document)
        with self._writing() as connection:
            row = {"run_id": self._run_id(connection, run), "name": name, "body": body}
            statement = insert(documents).values(row)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[documents.c.run_id, documents.c.name],
                    set_={"body": statement.excluded.body},
                )
            )

    def document(self, run: str, name: str) -> Any:
        with self._reading() as connection:
            run_id = self._run_id(connection, run)
            body = connection.scalar(
                select(documents.c.body).where(
                    documents.c.run_id == run_id, documents.c.name == name
                )
            )
        with self._undamaged(f"document {name!r} of run {run[:12]}"):
            return None if body is None else json.loads(body)

    def _run_id(self, connection: Connection, run: str) -> int:
        number: int | None = connection.scalar(select(runs.c.id).where(runs.c.digest == run))
        if number is None:
            raise StoreError(f"store {self._name} holds no run {shorten(run)!r}: open it first")
        return number

    def _trial_ids(self, connection: Connection, digests: Collection[str]) -> dict[str, int]:
        numbers: dict[str, int] = {}
        for part in _parts(digests):
            query = select(trials.c.digest, trials.c.id).where(trials.c.digest.in_(part))
            numbers |= {row.digest: row.id for row in connection.execute(query)}
        for digest in digests:
            if digest not in numbers:
                raise StoreError(
                    f"store {self._name} holds no trial {shorten(digest)!r}: put it there before "
                    "an entry of a run names it"
                )
        return numbers

    def _entry(self, row: RowMapping) -> RunEntry:
        with self._undamaged(f"position {row['position']} of a run"):
            return RunEntry(row["position"], row["digest"], dict(json.loads(row["facts"])))

    # Faults

    @contextmanager
    def _undamaged(self, what: str) -> Iterator[None]:
        try:
            yield
        except DAMAGE as error:
            raise StoreError(
                f"{what} in store {self._name} is damaged ({shorten(str(error))}): restore the "
                "file from a copy, or give another"
            ) from error

    @contextmanager
    def _plain_data(self, what: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreError(
                f"{what} cannot be stored in {self._name}: it must be what JSON can hold "
                f"({shorten(str(error))})"
            ) from error


def utc_now() -> str:
    """Return the time of day as the store stamps it: UTC, ISO 8601, in milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _stamped(trial: Trial) -> Trial:
    if trial.provenance.created_at:
        return trial
    return replace(trial, provenance=replace(trial.provenance, created_at=utc_now()))


def _parts(values: Collection[Any]) -> Iterator[list[Any]]:
    listed = list(values)
    for start in range(0, len(listed), VALUES_PER_QUERY):
        yield listed[start : start + VALUES_PER_QUERY]


def _insert_trials(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert what is not there for good; the protocols first, which the trials point at."""
    texts = list(dict.fromkeys(row["protocol"] for row in rows))
    connection.execute(
        insert(protocols).on_conflict_do_nothing(), [{"text": text} for text in texts]
    )
    numbers: dict[str, int] = {}
    for part in _parts(texts):
        query = select(protocols.c.text, protocols.c.id).where(protocols.c.text.in_(part))
        numbers |= {row.text: row.id for row in connection.execute(query)}
    columns = [name for name in trials.c.keys() if name not in {"id", "protocol_id"}]  # noqa: SIM118
    statement = insert(trials)
    connection.execute(
        # The row keeps its number, by which the entries of runs know it.
        statement.on_conflict_do_update(
            index_elements=[trials.c.digest],
            set_={name: statement.excluded[name] for name in RESULT_COLUMNS},
            where=or_(*(trials.c.outcome == kind.value for kind in RETRIED_KINDS)),
        ),
        [
            {name: row[name] for name in columns} | {"protocol_id": numbers[row["protocol"]]}
            for row in rows
        ],
    )


def _recorded(
    connection: Connection, run_id: int, positions: Sequence[int]
) -> dict[int, tuple[int, str]]:
    """Return the trial's number and the facts of those positions that are recorded."""
    held: dict[int, tuple[int, str]] = {}
    for part in _parts(positions):
        query = select(run_entries).where(
            run_entries.c.run_id == run_id, run_entries.c.position.in_(part)
        )
        held |= {row.position: (row.trial_id, row.facts) for row in connection.execute(query)}
    return held


def _check_listing(*, run: str | None, limit: int | None, order: str) -> None:
    if order not in get_args(Order):
        raise UnknownNameError("order", order, get_args(Order))
    if order == "position" and run is None:
        raise InputError("order 'position' is that of one run: name the run, or order by fitness")
    if limit is not None and limit < 0:
        raise InputError(f"a limit of {limit} trials cannot be: give 0 or more")


def _of_run(query: Select[Any], run_id: int) -> Select[Any]:
    """Keep the trials of a run, each with the first of its entries."""
    first = (
        select(func.min(run_entries.c.position))
        .where(run_entries.c.run_id == run_id)
        .group_by(run_entries.c.trial_id)
    )
    return (
        query.add_columns(run_entries.c.position, run_entries.c.facts)
        .join(run_entries, run_entries.c.trial_id == trials.c.id)
        .where(run_entries.c.run_id == run_id, run_entries.c.position.in_(first))
    )


def _ordered(query: Select[Any], order: Order, *, within_run: bool) -> Select[Any]:
    tie = run_entries.c.position if within_run else trials.c.id
    match order:
        case "fitness":
            return query.order_by(trials.c.fitness.desc().nulls_last(), tie)
        case "position":
            return query.order_by(run_entries.c.position)
        case "stored":
            return query.order_by(trials.c.id)


def _run_record(row: RowMapping) -> RunRecord:
    return RunRecord(**{name: value for name, value in row.items() if name != "id"})
