"""SqlStore: a store in an SQL database, by SQLAlchemy Core. Every value is a bound parameter."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, delete, select

from evolute.errors import InputError, StoreError, shorten
from evolute.store import checksums, leases
from evolute.store.base import Order, RunEntry, RunRecord, RunResults, Store, StoredTrial
from evolute.store.checkpoints import forget_checkpoint, read_checkpoint, write_checkpoint
from evolute.store.faults import REPAIR
from evolute.store.listing import (
    ENTRIES,
    TRIALS,
    Choice,
    entry_rows,
    outcome_counts,
    result_columns,
    trial_rows,
)
from evolute.store.rows import DAMAGE, KINDS, row_to_trial, trial_to_row
from evolute.store.schema import documents, run_entries, runs, trials
from evolute.store.session import Session
from evolute.store.writing import (
    delete_entries_from,
    entry_row,
    insert_into,
    insert_trials,
    known_trials,
    mark_entries,
    parts,
    recorded,
)
from evolute.trial import OutcomeKind, Trial, canonical_json


class SqlStore(Store):
    """A store in an SQL database; made by :func:`evolute.store.sql.open_store`.

    Parameters
    ----------
    engine
        Engine with one connection to a database of the newest schema; the store owns it from now
        on.
    name
        What messages call the store: its path, or its address without the password.
    secrets
        Texts that no message may repeat.
    """

    def __init__(self, engine: Engine, name: str, *, secrets: Sequence[str] = ()) -> None:
        self._engine = engine
        self._name = name
        self._session = Session(engine, name, secrets=secrets)
        self._watch = leases.Watch()

    def close(self) -> None:
        self._session.close()

    @property
    def name(self) -> str:
        """What messages call the store."""
        return self._name

    @property
    def session(self) -> Session:
        """The connection, for what reads or writes rows as a whole: checks, copies, repairs."""
        return self._session

    # Trials

    def put_many(self, trials: Sequence[Trial]) -> list[Trial]:
        if not trials:
            return []
        rows = [trial_to_row(_stamped(trial)) for trial in trials]
        digests = [row["digest"] for row in rows]

        def work(connection: Connection) -> dict[str, Trial]:
            insert_trials(connection, rows)
            return self._held(connection, digests)

        held = self._session.write(work)
        return [held[digest] for digest in digests]

    def get_many(self, digests: Collection[str]) -> Mapping[str, Trial]:
        return self._session.read(lambda connection: self._held(connection, digests))

    def _held(self, connection: Connection, digests: Collection[str]) -> dict[str, Trial]:
        """Return those of the trials that are there, in the order of their digests given."""
        rows: dict[str, RowMapping] = {}
        for part in parts(digests):
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
        query = TRIALS.where(within).order_by(trials.c.digest).limit(4)
        rows = self._session.read(lambda connection: connection.execute(query).mappings().all())
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
        protocol: str | None = None,
        outcomes: Collection[OutcomeKind] | None = None,
        limit: int | None = None,
        skip: int = 0,
        order: Order = "fitness",
    ) -> tuple[StoredTrial, ...]:
        choice = Choice(run, task, protocol, outcomes, limit, skip, order)

        def work(connection: Connection) -> tuple[StoredTrial, ...]:
            if run is None:
                rows = trial_rows(connection, choice)
                return tuple(StoredTrial(self._trial(row), None) for row in rows)
            rows = entry_rows(connection, choice, self._run_id(connection, run))
            held = self._held(connection, [row["trial"] for row in rows])
            return tuple(self._stored_entry(row, held) for row in rows)

        return self._session.read(work)

    def _trial(self, row: RowMapping) -> Trial:
        with self._undamaged(f"trial {shorten(str(row['digest']))}"):
            return row_to_trial(row)

    def _stored_entry(self, row: RowMapping, held: Mapping[str, Trial]) -> StoredTrial:
        entry = self._entry(row)
        with self._undamaged(f"position {entry.position} of a run"):
            trial = held[entry.trial]
            fitness = None if trial.score is None else trial.score.fitness
            if (row["outcome"], row["fitness"]) != (trial.outcome.kind.value, fitness):
                raise ValueError("it repeats its trial wrongly")
        return StoredTrial(trial, entry)

    # Runs

    def open_run(self, record: RunRecord) -> RunRecord:
        with self._plain_data(f"the configuration of run {record.name!r}"):
            config_json = canonical_json(json.loads(record.config_json))
        stamped = replace(
            record, config_json=config_json, created_at=record.created_at or utc_now()
        )
        row = asdict(stamped)
        row["checksum"] = checksums.run_checksum(row)

        def work(connection: Connection) -> RunRecord:
            connection.execute(insert_into(connection, runs).on_conflict_do_nothing(), [row])
            query = select(runs).where(runs.c.digest == record.digest)
            return self._run_record(connection.execute(query).mappings().one())

        held = self._session.write(work)
        if (held.config_json, held.program_version) != (config_json, record.program_version):
            raise StoreError(
                f"run {record.digest[:12]} in store {self._name} has another configuration or "
                "program version: give another store"
            )
        return held

    def runs(self) -> tuple[RunRecord, ...]:
        query = select(runs).order_by(runs.c.id)
        rows = self._session.read(lambda connection: connection.execute(query).mappings().all())
        return tuple(self._run_record(row) for row in rows)

    def record_many(self, run: str, entries: Sequence[RunEntry]) -> None:
        with self._plain_data(f"what is known of the proposals of run {run[:12]}"):
            texts = [canonical_json(dict(entry.facts)) for entry in entries]

        def work(connection: Connection) -> None:
            run_id = self._run_id(connection, run, lock=True)
            known = self._known_trials(connection, {entry.trial for entry in entries})
            held = recorded(connection, run_id, [entry.position for entry in entries])
            fresh = []
            for entry, facts in zip(entries, texts, strict=True):
                content = (entry.trial, facts)
                if entry.position not in held:
                    held[entry.position] = content
                    fresh.append(entry_row(run_id, entry, facts, known[entry.trial]))
                elif held[entry.position] != content:
                    raise StoreError(
                        f"position {entry.position} of run {run[:12]} in store {self._name} holds "
                        "another proposal: a search must propose the same again; give another store"
                    )
            if fresh:
                connection.execute(insert_into(connection, run_entries), fresh)

        self._session.write(work)

    def mark_unsettled(self, run: str, positions: Sequence[int]) -> None:
        """Mark entries that were copied from a store where their trials had not ended by itself."""

        def work(connection: Connection) -> None:
            mark_entries(connection, self._run_id(connection, run), positions)

        self._session.write(work)

    def forget_entries(self, run: str) -> None:
        def work(connection: Connection) -> None:
            run_id = self._run_id(connection, run, lock=True)
            forget_checkpoint(connection, run_id)
            connection.execute(delete(run_entries).where(run_entries.c.run_id == run_id))

        self._session.write(work)

    def forget_entries_from(self, run: str, position: int, *, also: Collection[int]) -> None:
        def work(connection: Connection) -> None:
            run_id = self._run_id(connection, run, lock=True)
            delete_entries_from(connection, run_id, position, also=also)

        self._session.write(work)

    def run_entries(self, run: str) -> tuple[RunEntry, ...]:
        def work(connection: Connection) -> Sequence[RowMapping]:
            query = ENTRIES.where(run_entries.c.run_id == self._run_id(connection, run))
            return connection.execute(query.order_by(run_entries.c.position)).mappings().all()

        return tuple(self._entry(row) for row in self._session.read(work))

    def results(self, run: str) -> RunResults:
        def work(connection: Connection) -> RunResults:
            positions, digests, outcomes, fitnesses = result_columns(
                connection, self._run_id(connection, run)
            )
            with self._undamaged(f"an outcome of run {run[:12]}"):
                kinds = tuple([KINDS[outcome] for outcome in outcomes])
            return RunResults(positions, digests, kinds, fitnesses)

        return self._session.read(work)

    def unsettled(self, run: str) -> bool:
        def work(connection: Connection) -> bool:
            run_id = self._run_id(connection, run)
            query = select(run_entries.c.position).where(
                run_entries.c.run_id == run_id, run_entries.c.unsettled
            )
            return connection.execute(query.limit(1)).first() is not None

        return self._session.read(work)

    def counts(self, run: str) -> Mapping[OutcomeKind, int]:
        rows = self._session.read(
            lambda connection: outcome_counts(connection, self._run_id(connection, run))
        )
        found = dict.fromkeys(OutcomeKind, 0)
        for outcome, positions, distinct in rows:
            with self._undamaged(f"an outcome of run {run[:12]}"):
                kind = OutcomeKind(outcome)
            own = positions if kind is OutcomeKind.DEGENERATE else distinct
            found[kind] += int(own)
            found[OutcomeKind.DUPLICATE] += int(positions - own)
        return {kind: count for kind, count in found.items() if count}

    def put_document(self, run: str, name: str, document: object) -> None:
        with self._plain_data(f"document {name!r}"):
            body = canonical_json(document)

        def work(connection: Connection) -> None:
            row = {"run_id": self._run_id(connection, run), "name": name, "body": body}
            row["checksum"] = checksums.document_checksum(row)
            statement = insert_into(connection, documents).values(row)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[documents.c.run_id, documents.c.name],
                    set_={name: statement.excluded[name] for name in ("body", "checksum")},
                )
            )

        self._session.write(work)

    def document(self, run: str, name: str) -> Any:
        def work(connection: Connection) -> RowMapping | None:
            run_id = self._run_id(connection, run)
            query = select(documents).where(documents.c.run_id == run_id, documents.c.name == name)
            return connection.execute(query).mappings().first()

        row = self._session.read(work)
        if row is None:
            return None
        with self._undamaged(f"document {name!r} of run {run[:12]}"):
            checksums.require_sum(checksums.document_checksum(row), row)
            return json.loads(row["body"])

    def put_checkpoint(self, run: str, columns: Mapping[str, bytes], *, entries: int) -> None:
        def work(connection: Connection) -> None:
            run_id = self._run_id(connection, run, lock=True)
            write_checkpoint(connection, run_id, columns, entries=entries)

        self._session.write(work)

    def checkpoint(self, run: str) -> Mapping[str, bytes] | None:
        return self._session.read(
            lambda connection: read_checkpoint(connection, self._run_id(connection, run))
        )

    # Leases

    def claim(self, digests: Collection[str], *, owner: str, seconds: float) -> frozenset[str]:
        return self._session.write(
            lambda connection: leases.claim(
                connection, digests, owner=owner, seconds=seconds, watch=self._watch
            )
        )

    def renew(self, digests: Collection[str], *, owner: str, seconds: float) -> frozenset[str]:
        return self._session.write(
            lambda connection: leases.renew(connection, digests, owner=owner, seconds=seconds)
        )

    def release(self, digests: Collection[str], *, owner: str) -> None:
        self._session.write(lambda connection: leases.release(connection, digests, owner=owner))

    def held(self, digests: Collection[str]) -> Mapping[str, str]:
        return self._session.read(lambda connection: leases.held(connection, digests))

    # Rows

    def _run_id(self, connection: Connection, run: str, *, lock: bool = False) -> int:
        query = select(runs.c.id).where(runs.c.digest == run)
        number: int | None = connection.scalar(query.with_for_update() if lock else query)
        if number is None:
            raise StoreError(f"store {self._name} holds no run {shorten(run)!r}: open it first")
        return number

    def _known_trials(
        self, connection: Connection, digests: Collection[str]
    ) -> dict[str, Mapping[Any, Any]]:
        known = known_trials(connection, digests)
        for digest in digests:
            if digest not in known:
                raise StoreError(
                    f"store {self._name} holds no trial {shorten(digest)!r}: put it there before "
                    "an entry of a run names it"
                )
        return known

    def _run_record(self, row: RowMapping) -> RunRecord:
        with self._undamaged(f"run {shorten(str(row['digest']), limit=12)}"):
            checksums.require_sum(checksums.run_checksum(row), row)
            names = [name for name in row if name not in {"id", "checksum"}]
            return RunRecord(**{name: row[name] for name in names})

    def _entry(self, row: RowMapping) -> RunEntry:
        with self._undamaged(f"position {row['position']} of a run"):
            checksums.require_sum(checksums.entry_checksum(row), row)
            return RunEntry(row["position"], row["trial"], dict(json.loads(row["facts"])))

    # Faults

    @contextmanager
    def _undamaged(self, what: str) -> Iterator[None]:
        try:
            yield
        except DAMAGE as error:
            raise StoreError(
                f"{what} in store {self._name} is damaged ({shorten(str(error))}): {REPAIR}"
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
