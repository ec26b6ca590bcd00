"""Whether what a store holds is what was written: every row against its checksum and digest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Select, Table, select, tuple_

from evolute.errors import StoreError
from evolute.store.checkpoints import checkpoint_checksum
from evolute.store.checksums import (
    document_checksum,
    entry_checksum,
    require_sum,
    run_checksum,
)
from evolute.store.faults import REPAIR
from evolute.store.listing import TRIALS
from evolute.store.rows import DAMAGE, row_to_trial
from evolute.store.schema import checkpoints, documents, protocols, run_entries, runs, trials
from evolute.store.writing import text_digest

ROWS_AT_ONCE = 1000

Check = Callable[[Mapping[Any, Any]], object]
"""Looks at a row and raises one of DAMAGE if it is not what was written."""


def require_sound_rows(connection: Connection, name: str) -> None:
    """Refuse a store of which a row is not what was written.

    Raises
    ------
    StoreError
        That names the first such row.
    """
    for fault in row_faults(connection):
        raise StoreError(f"store {name} is damaged ({fault}): {REPAIR}")


def checkpoint_faults(connection: Connection) -> Iterator[str]:
    """Yield a sentence for each damaged piece of a checkpoint: nothing is lost with it but time."""
    return _faults_of("checkpoint", select(checkpoints), checkpoints, connection=connection,
                      check=_summed(checkpoint_checksum), at_once=1)  # fmt: skip


def row_faults(connection: Connection) -> Iterator[str]:
    """Yield a sentence for each row that is not what was written."""
    for what, query, table, check in (
        ("protocol", select(protocols), protocols, _check_protocol),
        ("trial", TRIALS, trials, row_to_trial),
        ("run", select(runs), runs, _summed(run_checksum)),
        ("entry", _ENTRIES_AND_TRIALS, run_entries, _check_entry),
        ("document", select(documents), documents, _summed(document_checksum)),
    ):
        yield from _faults_of(what, query, table, connection=connection, check=check)


def _faults_of(
    what: str,
    query: Select[Any],
    table: Table,
    *,
    connection: Connection,
    check: Check,
    at_once: int = ROWS_AT_ONCE,
) -> Iterator[str]:
    for row in pages(connection, query, table, at_once=at_once):
        try:
            check(row)
        except DAMAGE as error:
            key = " ".join(str(row[column.name]) for column in table.primary_key)
            yield f"{what} {key}: {error}"


def pages(
    connection: Connection, query: Select[Any], table: Table, *, at_once: int = ROWS_AT_ONCE
) -> Iterator[Mapping[Any, Any]]:
    """Yield the rows of a query in the order of a table's primary key, some at a time."""
    key = list(table.primary_key.columns)
    page = query.order_by(*key).limit(at_once)
    rows = connection.execute(page).mappings().all()
    while rows:
        yield from rows
        last = tuple(rows[-1][column.name] for column in key)
        rows = connection.execute(page.where(tuple_(*key) > last)).mappings().all()


_ENTRIES_AND_TRIALS = select(
    *run_entries.c,
    trials.c.digest.label("its_digest"),
    trials.c.protocol_id.label("its_protocol_id"),
    trials.c.outcome.label("its_outcome"),
    trials.c.fitness.label("its_fitness"),
).join(trials, trials.c.id == run_entries.c.trial_id, isouter=True)


def _check_protocol(row: Mapping[Any, Any]) -> None:
    if text_digest(str(row["text"])) != row["digest"]:
        raise ValueError("its text and its digest do not belong together")


def _check_entry(row: Mapping[Any, Any]) -> None:
    _summed(entry_checksum)(row)
    for name, own in (
        ("trial", "its_digest"),
        ("protocol_id", "its_protocol_id"),
        ("outcome", "its_outcome"),
        ("fitness", "its_fitness"),
    ):
        if row[name] != row[own]:
            raise ValueError(f"it repeats the {name} of its trial wrongly")


def _summed(checksum: Callable[[Mapping[Any, Any]], int]) -> Check:
    def check(row: Mapping[Any, Any]) -> None:
        require_sum(checksum(row), row)

    return check
