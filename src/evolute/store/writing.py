"""What a store writes, as statements inside a transaction: trials, entries and their copies."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from evolute.store.base import RunEntry
from evolute.store.checksums import RESULT_COLUMNS, entry_checksum
from evolute.store.rows import KEY_COLUMNS
from evolute.store.schema import leases, protocols, run_entries, trials
from evolute.trial import RETRIED_KINDS

VALUES_PER_QUERY = 500
"""Below the number of parameters that any supported database takes in one statement."""

RETRIED = tuple(sorted(kind.value for kind in RETRIED_KINDS))

IN_TRIALS = ("digest", *(name for name in KEY_COLUMNS if name != "protocol"))


def insert_into(connection: Connection, table: Table) -> Any:
    """Return an INSERT that knows ON CONFLICT, in the dialect of the connection."""
    return _insert(connection.dialect.name, table)


def _insert(dialect: str, table: Table) -> Any:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


@cache
def _insert_or_replace(dialect: str) -> Any:
    """Return the statement that stores a trial; building it takes longer than running it."""
    statement = _insert(dialect, trials)
    return statement.on_conflict_do_update(
        # The row keeps its number, by which the entries of runs know it.
        index_elements=[trials.c.digest],
        set_={name: statement.excluded[name] for name in (*RESULT_COLUMNS, "checksum")},
        where=or_(*(trials.c.outcome == kind for kind in RETRIED)),
    )


def parts(values: Collection[Any]) -> Iterator[list[Any]]:
    """Cut a list that is too long for the parameters of one statement."""
    listed = list(values)
    for start in range(0, len(listed), VALUES_PER_QUERY):
        yield listed[start : start + VALUES_PER_QUERY]


def text_digest(text: str) -> str:
    """Return the hexadecimal SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def insert_trials(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert what is not there for good; the protocols first, which the trials point at."""
    numbers = _protocol_numbers(connection, {row["protocol"] for row in rows})
    names = (*IN_TRIALS, *RESULT_COLUMNS, "checksum")
    values = [
        {name: row[name] for name in names} | {"protocol_id": numbers[row["protocol"]]}
        for row in rows
    ]
    connection.execute(_insert_or_replace(connection.dialect.name), values)
    digests = list(dict.fromkeys(row["digest"] for row in values))
    _renew_copies(connection, digests)
    for part in parts(digests):
        connection.execute(delete(leases).where(leases.c.digest.in_(part)))


def _protocol_numbers(connection: Connection, texts: Collection[str]) -> dict[str, int]:
    """Return the numbers of these protocols, stored first where they are not there yet."""
    by_digest = {text_digest(text): text for text in texts}
    numbers = _known_protocols(connection, by_digest)
    if len(numbers) < len(by_digest):
        values = [{"text": by_digest[digest], "digest": digest} for digest in sorted(by_digest)]
        connection.execute(insert_into(connection, protocols).on_conflict_do_nothing(), values)
        numbers = _known_protocols(connection, by_digest)
    return numbers


def _known_protocols(connection: Connection, by_digest: Mapping[str, str]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for part in parts(by_digest):
        query = select(protocols.c.digest, protocols.c.id).where(protocols.c.digest.in_(part))
        numbers |= {by_digest[row.digest]: row.id for row in connection.execute(query)}
    return numbers


def _renew_copies(connection: Connection, digests: Sequence[str]) -> None:
    """Bring up to date what entries repeat of trials that gave way to these."""
    outdated = run_entries.c.outcome.in_(RETRIED) & (
        (run_entries.c.outcome != trials.c.outcome) | trials.c.fitness.is_not(None)
    )
    values: list[dict[str, Any]] = []
    for part in parts(digests):
        query = (
            select(trials.c.id, trials.c.outcome, trials.c.fitness)
            .join(run_entries, run_entries.c.trial_id == trials.c.id)
            .where(trials.c.digest.in_(part), outdated)
            .distinct()
        )
        values += [
            {"number": row.id, "now": row.outcome, "scored": row.fitness}
            for row in connection.execute(query)
        ]
    if values:
        statement = (
            update(run_entries)
            .where(run_entries.c.trial_id == bindparam("number"))
            .values(outcome=bindparam("now"), fitness=bindparam("scored"))
        )
        connection.execute(statement, values)


def recorded(
    connection: Connection, run_id: int, positions: Sequence[int]
) -> dict[int, tuple[str, str]]:
    """Return the digest and the facts of those positions of a run that are recorded."""
    held: dict[int, tuple[str, str]] = {}
    for part in parts(positions):
        query = select(run_entries.c.position, run_entries.c.trial, run_entries.c.facts).where(
            run_entries.c.run_id == run_id, run_entries.c.position.in_(part)
        )
        held |= {row.position: (row.trial, row.facts) for row in connection.execute(query)}
    return held


def known_trials(connection: Connection, digests: Collection[str]) -> dict[str, Mapping[Any, Any]]:
    """Return what entries repeat of these trials, as far as they are stored.

    What may give way to another is locked until the transaction ends: else its copy could be
    outdated before it is written.
    """
    known: dict[str, Mapping[Any, Any]] = {}
    columns = [trials.c[name] for name in ("id", "digest", "protocol_id", "outcome", "fitness")]
    for part in parts(sorted(digests)):
        query = select(*columns).where(trials.c.digest.in_(part))
        known |= {row["digest"]: row for row in connection.execute(query).mappings()}
    passing = sorted(digest for digest, row in known.items() if row["outcome"] in RETRIED)
    for part in parts(passing):
        query = select(*columns).where(trials.c.digest.in_(part)).order_by(trials.c.digest)
        locked = connection.execute(query.with_for_update(read=True)).mappings()
        known |= {row["digest"]: row for row in locked}
    return known


def entry_row(run_id: int, entry: RunEntry, facts: str, trial: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the row of an entry, with what it repeats of its trial."""
    row = {
        "run_id": run_id,
        "position": entry.position,
        "trial_id": trial["id"],
        "facts": facts,
        "trial": entry.trial,
        "protocol_id": trial["protocol_id"],
        "outcome": trial["outcome"],
        "fitness": trial["fitness"],
        "unsettled": trial["outcome"] in RETRIED,
    }
    return row | {"checksum": entry_checksum(row)}


def mark_entries(connection: Connection, run_id: int, positions: Collection[int]) -> None:
    """Mark these entries as unsettled, which is part of what their checksums are of."""
    for part in parts(positions):
        chosen = (run_entries.c.run_id == run_id) & run_entries.c.position.in_(part)
        for row in connection.execute(select(run_entries).where(chosen)).mappings().all():
            checksum = entry_checksum({**row, "unsettled": True})
            key = (run_entries.c.run_id == run_id) & (run_entries.c.position == row["position"])
            values = {"unsettled": True, "checksum": checksum}
            connection.execute(update(run_entries).where(key).values(values))


def delete_entries_from(
    connection: Connection, run_id: int, position: int, *, also: Collection[int]
) -> None:
    """Delete the entries of a run from a position on, and others."""
    places = [run_entries.c.position.in_(part) for part in parts(also)]
    for place in (run_entries.c.position >= position, *places):
        connection.execute(delete(run_entries).where(run_entries.c.run_id == run_id, place))
