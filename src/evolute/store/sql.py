"""open_store: from a path or an address to an SQL store of the newest schema, or one clear line."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.pool import StaticPool

from evolute.errors import StoreError, shorten
from evolute.store import schema
from evolute.store.faults import primary_code, translated
from evolute.store.sql_store import SqlStore

BUSY_TIMEOUT_SECONDS = 10.0
"""How long a call waits for another process that holds the store."""

SMALLEST_DATABASE_BYTES = 512
"""One page of the smallest size; SQLite takes a file of a single byte for an empty database."""

SETTINGS = (
    "foreign_keys = ON",
    "synchronous = FULL",  # a commit outlives a power cut; in WAL mode less would not
    "trusted_schema = OFF",  # triggers and views in a stranger's file get no functions to call
)
"""What SQLite forgets with each connection."""

MEMORY = ":memory:"

SCHEME = "sqlite://"


def open_store(
    path_or_url: str | Path, *, create: bool = True, read_only: bool = False
) -> SqlStore:
    """Open a store, made first if there is none, and brought to the newest schema if it is older.

    Parameters
    ----------
    path_or_url
        Path of an SQLite file; or ``sqlite:///relative/path``, ``sqlite:////absolute/path``; or
        ``:memory:`` for a store that is gone when it is closed.
    create
        Whether a store that is not there is made; its folder must be there.
    read_only
        Only read: nothing is made, migrated or written, and a read-only file or folder will do.

    Raises
    ------
    StoreError
        If it is no store, is locked, damaged, read-only, of a newer version, or not to be reached.
        The file is then as it was.

    Examples
    --------
    >>> with open_store(":memory:") as store:
    ...     store.runs()
    ()
    """
    path = _path(path_or_url)
    if path is None:
        return _opened(_engine("file::memory:"), MEMORY, read_only=read_only)
    name = repr(str(path_or_url))
    _check_path(path, name, must_exist=read_only or not create)
    address = path.absolute().as_uri()
    if read_only:
        return _opened_for_reading(path, address, name)
    return _opened(_engine(f"{address}?mode=rwc"), name, read_only=False)


def _path(path_or_url: str | Path) -> Path | None:
    """Return the path that was given, None for a store in memory."""
    given = str(path_or_url)
    if given in {MEMORY, SCHEME, f"{SCHEME}/{MEMORY}"}:
        return None
    scheme, separator, rest = given.partition("://")
    if not separator or isinstance(path_or_url, Path):
        return _at_home(Path(given))
    if f"{scheme}{separator}" == SCHEME and rest.startswith("/") and len(rest) > 1:
        return _at_home(Path(rest[1:]))
    # The address itself is not repeated: it can hold a password.
    raise StoreError(
        f"a store cannot be opened at an address of kind {shorten(scheme)!r}: give the path of a "
        "file, or sqlite:///path"
    )


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise StoreError(f"store {str(path)!r}: there is no such home folder; give it") from error


def _check_path(path: Path, name: str, *, must_exist: bool) -> None:
    """Refuse what SQLite would answer with a riddle, or would take for an empty database."""
    try:
        if "\0" in str(path):
            raise StoreError(f"store {name} cannot be made: no path holds a zero byte")
        if path.exists():
            if not path.is_file():
                raise StoreError(f"store {name} is no file: give the path of a file")
            if 0 < path.stat().st_size < SMALLEST_DATABASE_BYTES:
                raise StoreError(f"store {name} is not a database: give the path of a store")
        elif must_exist:
            raise StoreError(f"store {name} does not exist: give the path of a store")
        elif not path.absolute().parent.is_dir():
            raise StoreError(f"store {name} cannot be made: its folder does not exist; make it")
    except OSError as error:
        raise StoreError(f"store {name} cannot be opened: {error.strerror}") from error


def _engine(address: str) -> Engine:
    """Return an engine with a single connection, which leaves transactions to the store."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            address,
            uri=True,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            for setting in SETTINGS:
                connection.execute(f"PRAGMA {setting}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    return create_engine("sqlite://", creator=connect, poolclass=StaticPool)


def _opened(engine: Engine, name: str, *, read_only: bool) -> SqlStore:
    """Check and prepare a database; let go of it if it is refused."""
    try:
        with translated(name):
            _prepare(engine, name, read_only=read_only)
    except BaseException:
        engine.dispose()
        raise
    return SqlStore(engine, name)


def _opened_for_reading(path: Path, address: str, name: str) -> SqlStore:
    """Open a file that nothing is written to.

    SQLite writes beside a file in WAL mode even to read it. Where the folder forbids that, and
    nothing waits there to be merged, the file is read as one that does not change.
    """
    try:
        return _opened(_engine(f"{address}?mode=ro"), name, read_only=True)
    except StoreError as error:
        cause = getattr(error.__cause__, "orig", error.__cause__)
        if primary_code(cause) not in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
            raise
        logs = (Path(f"{path}{suffix}") for suffix in ("-wal", "-journal"))
        if any(log.exists() and log.stat().st_size for log in logs):
            raise
    return _opened(_engine(f"{address}?immutable=1"), name, read_only=True)


def _prepare(engine: Engine, name: str, *, read_only: bool) -> None:
    with engine.connect() as connection:
        revision = _revision(connection, name)
        if read_only:
            _require_newest(revision, name)
            return
        connection.rollback()
        # Only now that the file is known to be ours or empty: this changes it.
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        if _revision(connection, name) == schema.REVISIONS[-1]:
            # A write that changes nothing: a store that refuses it is refused before the training.
            connection.exec_driver_sql(
                f"UPDATE {schema.VERSION_TABLE} SET version_num = version_num"
            )
            connection.rollback()
            return
        # Not at the top: Alembic takes long to load, and most stores need no migration.
        from evolute.store.migrations import migrate

        migrate(connection)
        connection.commit()


def _revision(connection: Connection, name: str) -> str | None:
    """Return the revision of a store, None for an empty database.

    Raises
    ------
    StoreError
        If the database is something else, or of a revision that is not known here.
    """
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if schema.VERSION_TABLE not in tables:
        raise StoreError(
            f"store {name} is a database of something else: give the path of a store, or a new one"
        )
    found = connection.execute(text(f"SELECT version_num FROM {schema.VERSION_TABLE}")).scalar()
    revision = str(found)
    if revision not in schema.REVISIONS:
        raise StoreError(
            f"store {name} was written by a newer evolute (its schema is {shorten(revision)}, the "
            f"newest known here is {schema.REVISIONS[-1]}): update evolute, or give another store"
        )
    return revision


def _require_newest(revision: str | None, name: str) -> None:
    if revision is None:
        raise StoreError(f"store {name} is empty: give the path of a store that a search has made")
    if revision != schema.REVISIONS[-1]:
        raise StoreError(
            f"store {name} was written by an older evolute (its schema is {revision}): a search "
            "with this store updates it"
        )
