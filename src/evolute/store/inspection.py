"""What can be said of a store: whether it is sound, and what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError

from evolute.errors import StoreError
from evolute.store import postgresql, schema, sqlite
from evolute.store.address import parse_address
from evolute.store.checking import checkpoint_faults, row_faults
from evolute.store.faults import translated
from evolute.store.revisions import find_revision, require_newest
from evolute.store.schema import documents, leases, run_entries, runs, trials

MOST_FAULTS = 1000
"""How many faults are told: a file that is damaged all over has one for each row."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a store is and holds.

    Parameters
    ----------
    store
        Its path, or its address without the password.
    kind
        ``sqlite`` or ``postgresql``.
    revision
        Revision of its schema; ``newest`` tells what today's is.
    newest
        Revision of today's schema.
    size_bytes
        Space it takes.
    trials, runs, entries, documents, leases
        How many rows it has of each.
    outcomes, tasks
        How many trials ended in each way, and are of each task.
    """

    store: str
    kind: str
    revision: str
    newest: str
    size_bytes: int
    trials: int
    runs: int
    entries: int
    documents: int
    leases: int
    outcomes: dict[str, int]
    tasks: dict[str, int]


def find_faults(path_or_url: str | Path) -> list[str]:
    """Read all of a store and return a sentence for each fault, the first thousand of them.

    An SQLite file is checked page by page (``PRAGMA integrity_check``), and in any database every
    trial is compared with the digest of its key, and every row with its checksum.

    Raises
    ------
    StoreError
        If there is no store, or it is of another schema.
    """
    with _connected(path_or_url) as (connection, name):
        faults: list[str] = []
        try:
            for fault in _faults(connection, name):
                faults.append(fault)
                if len(faults) == MOST_FAULTS:
                    break
        except DBAPIError as error:
            # The database gives up on the rest.
            try:
                with translated(name):
                    raise error
            except StoreError as refused:
                faults.append(str(refused))
        return faults


def take_inventory(path_or_url: str | Path) -> Inventory:
    """Return what a store is and holds.

    Raises
    ------
    StoreError
        If there is no store, or it cannot be read.
    """
    with _connected(path_or_url) as (connection, name), translated(name):
        revision = find_revision(connection, name)
        require_newest(revision, name)

        def rows_of(table: Any) -> int:
            return int(connection.scalar(select(func.count()).select_from(table)) or 0)

        def by(column: Any) -> dict[str, int]:
            query = select(column, func.count()).group_by(column).order_by(column)
            return {str(value): count for value, count in connection.execute(query)}

        return Inventory(
            store=name.strip("'"),
            kind=connection.dialect.name,
            revision=str(revision),
            newest=schema.REVISIONS[-1],
            size_bytes=_size(connection),
            trials=rows_of(trials),
            runs=rows_of(runs),
            entries=rows_of(run_entries),
            documents=rows_of(documents),
            leases=rows_of(leases),
            outcomes=by(trials.c.outcome),
            tasks=by(trials.c.task),
        )


def revision_of(path_or_url: str | Path) -> str | None:
    """Return the revision of a store's schema; None if the database is empty.

    Raises
    ------
    StoreError
        If there is no store, or it cannot be read.
    """
    with _connected(path_or_url) as (connection, name), translated(name):
        return find_revision(connection, name)


def _faults(connection: Connection, name: str) -> Iterator[str]:
    if connection.dialect.name == "sqlite":
        pragma = f"PRAGMA integrity_check({MOST_FAULTS})"
        for (line,) in connection.exec_driver_sql(pragma):
            if line != "ok":
                yield str(line).replace("\n", " ")
    require_newest(find_revision(connection, name), name)
    yield from row_faults(connection)
    yield from checkpoint_faults(connection)


@contextmanager
def _connected(path_or_url: str | Path) -> Iterator[tuple[Connection, str]]:
    """Open a store for reading, whatever state it is in."""
    address = parse_address(path_or_url)
    if address.url is not None:
        engine = postgresql.open_unchecked(address)
    elif address.path is not None:
        engine = sqlite.open_unchecked(address.path, address.name)
    else:
        raise StoreError("a store in memory holds nothing yet: give the path of a store")
    try:
        with translated(address.name, secrets=address.secrets), engine.connect() as connection:
            yield connection, address.name
    finally:
        engine.dispose()


def _size(connection: Connection) -> int:
    if connection.dialect.name == "sqlite":
        count, size = (
            int(connection.exec_driver_sql(f"PRAGMA {what}").scalar() or 0)
            for what in ("page_count", "page_size")
        )
        return count * size
    return int(connection.scalar(select(func.pg_database_size(func.current_database()))) or 0)
