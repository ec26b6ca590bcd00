"""PostgreSQL: a store that many machines share; opened, checked and brought up to date.

The only file that knows its driver, psycopg, which comes with ``evolute[postgresql]``.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.pool import QueuePool

from evolute.errors import StoreError
from evolute.store import schema
from evolute.store.address import Address
from evolute.store.faults import translated
from evolute.store.revisions import WRITE_THAT_CHANGES_NOTHING, find_revision, require_newest

CONNECT_SECONDS = 10
"""How long one attempt to connect may take."""

BUSY_TIMEOUT_SECONDS = 10.0
"""How long a statement waits for rows that another transaction holds."""

MIGRATION_LOCK = 0x65766F6C757465
"""Number of the lock under which a store is made or migrated: the letters of 'evolute'."""


def open_database(address: Address, *, create: bool, read_only: bool) -> Engine:
    """Return the engine of a store in a database; see :func:`evolute.store.sql.open_store`.

    Raises
    ------
    StoreError
        If it cannot be opened; the database is then as it was.
    """
    with translated(address.name, secrets=address.secrets):
        engine = _engine(address, read_only=read_only)
        try:
            with engine.begin() as connection:
                _prepare(connection, address.name, create=create, read_only=read_only)
        except BaseException:
            engine.dispose()
            raise
    return engine


def open_unchecked(address: Address) -> Engine:
    """Return an engine that reads a database, whatever is in it."""
    with translated(address.name, secrets=address.secrets):
        return _engine(address, read_only=True)


def _engine(address: Address, *, read_only: bool) -> Engine:
    assert address.url is not None  # an address of this kind has one
    url = address.url
    if "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": str(CONNECT_SECONDS)})
    engine = create_engine(
        url, poolclass=QueuePool, pool_size=1, max_overflow=0, hide_parameters=True
    )

    def prepare(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            milliseconds = f"{BUSY_TIMEOUT_SECONDS * 1e3:.0f}"
            cursor.execute(
                "SELECT set_config('lock_timeout', %s, false), "
                "set_config('default_transaction_isolation', 'read committed', false)",
                [milliseconds],
            )
            # Guaranteed to outlive a power cut, even where the server's default is not.
            cursor.execute(
                "SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') = 'off'"
            )
            if read_only:
                cursor.execute("SELECT set_config('default_transaction_read_only', 'on', false)")
        connection.commit()

    event.listen(engine, "connect", prepare)
    return engine


def _prepare(connection: Connection, name: str, *, create: bool, read_only: bool) -> None:
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise StoreError(
            f"store {name} is a database in {encoding}: make one in UTF8, which holds every rule"
        )
    if read_only:
        require_newest(find_revision(connection, name), name)
        return
    # Held to the end of the transaction: a second process waits, and finds the store made.
    connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": MIGRATION_LOCK})
    revision = find_revision(connection, name)
    if revision is None and not create:
        raise StoreError(f"store {name} does not exist: give the address of a store")
    if revision == schema.REVISIONS[-1]:
        connection.exec_driver_sql(WRITE_THAT_CHANGES_NOTHING)
        connection.rollback()
        return
    # Not at the top: Alembic takes long to load, and most stores need no migration.
    from evolute.store.migrations import migrate

    migrate(connection)
