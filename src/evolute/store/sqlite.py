"""SQLite: a store in one file of one machine, or in memory; opened, checked, brought up to date."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import StaticPool

from evolute.errors import StoreError
from evolute.store import schema
from evolute.store.checking import require_sound_rows
from evolute.store.faults import REPAIR, primary_code, translated
from evolute.store.revisions import WRITE_THAT_CHANGES_NOTHING, find_revision, require_newest

BUSY_TIMEOUT_SECONDS = 10.0
"""How long a call waits for another process that holds the store."""

SMALLEST_DATABASE_BYTES = 512
"""One page of the smallest size; SQLite takes a file of a single byte for an empty database."""

CHECKED_WHOLE_BYTES = 4 * 2**20
"""Up to this size, a file is checked whole when it is opened: a fifth of a second."""

SETTINGS = (
    "foreign_keys = ON",
    "synchronous = FULL",  # a commit outlives a power cut; in WAL mode less would not
    "trusted_schema = OFF",  # triggers and views in a stranger's file get no functions to call
    "cell_size_check = ON",  # a damaged page is refused as such, and its bytes are not believed
)
"""What SQLite forgets with each connection."""


def open_memory(name: str, *, read_only: bool) -> Engine:
    """Return the engine of a new store that is gone when it is let go of."""
    return _prepared(_engine("file::memory:"), name, path=None, read_only=read_only)


def open_file(path: Path, name: str, *, create: bool, read_only: bool) -> Engine:
    """Return the engine of a store in a file; see :func:`evolute.store.sql.open_store`.

    Raises
    ------
    StoreError
        If it cannot be opened; the file is then as it was.
    """
    check_path(path, name, must_exist=read_only or not create)
    address = path.absolute().as_uri()
    if read_only:
        return _opened_for_reading(path, address, name)
    return _prepared(_engine(f"{address}?mode=rwc"), name, path=path, read_only=False)


def check_path(path: Path, name: str, *, must_exist: bool) -> None:
    """Refuse what SQLite would answer with a riddle, or would take for an empty database.

    Raises
    ------
    StoreError
        If no store can be there, or none is where one must be.
    """
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


def _prepared(engine: Engine, name: str, *, path: Path | None, read_only: bool) -> Engine:
    """Check and prepare a database; let go of it if it is refused."""
    try:
        with translated(name), engine.connect() as connection:
            _prepare(connection, name, path=path, read_only=read_only)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _opened_for_reading(path: Path, address: str, name: str) -> Engine:
    """Open a file that nothing is written to.

    SQLite writes beside a file in WAL mode even to read it. Where the folder forbids that, and
    nothing waits there to be merged, the file is read as one that does not change.
    """
    try:
        return _prepared(_engine(f"{address}?mode=ro"), name, path=path, read_only=True)
    except StoreError as error:
        cause = getattr(error.__cause__, "orig", error.__cause__)
        if primary_code(cause) not in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
            raise
        if _waiting(path):
            raise
    return _prepared(_engine(f"{address}?immutable=1"), name, path=path, read_only=True)


def _waiting(path: Path) -> bool:
    """Tell whether there is something beside a file that is to be merged into it."""
    logs = (Path(f"{path}{suffix}") for suffix in ("-wal", "-journal"))
    return any(log.exists() and log.stat().st_size for log in logs)


def _prepare(connection: Connection, name: str, *, path: Path | None, read_only: bool) -> None:
    revision = find_revision(connection, name)
    if read_only:
        require_newest(revision, name)
    if path is not None and revision is not None:
        _require_sound(connection, path, name, revision=revision)
    if read_only:
        return
    connection.rollback()
    # Only now that the file is known to be ours or empty: this changes it.
    connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    revision = find_revision(connection, name)
    if revision == schema.REVISIONS[-1]:
        connection.exec_driver_sql(WRITE_THAT_CHANGES_NOTHING)
        connection.rollback()
        return
    if path is not None and revision is not None:
        copy = copy_of_older(path, revision)
        if not copy.exists():
            copy_file(path, copy)
    # Not at the top: Alembic takes long to load, and most stores need no migration.
    from evolute.store.migrations import migrate

    migrate(connection)
    connection.commit()


def _require_sound(connection: Connection, path: Path, name: str, *, revision: str) -> None:
    """Refuse a file that was cut short; check a small one whole.

    A large one is checked by ``evolute store check``, and each row when it is read.
    """
    size = path.stat().st_size
    pragma = {
        what: int(connection.exec_driver_sql(f"PRAGMA {what}").scalar() or 0)
        for what in ("page_count", "page_size")
    }
    # What waits in the log makes the file longer when it is merged.
    if size < pragma["page_count"] * pragma["page_size"] and not _waiting(path):
        raise StoreError(f"store {name} is damaged: it was cut short at {size} bytes; {REPAIR}")
    if size > CHECKED_WHOLE_BYTES:
        return
    found = str(connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar())
    if found != "ok":
        raise StoreError(f"store {name} is damaged ({found.splitlines()[-1]}): {REPAIR}")
    if revision == schema.REVISIONS[-1]:
        require_sound_rows(connection, name)


def require_store(path: Path, name: str) -> None:
    """Refuse a file that is no store, of whatever schema.

    Raises
    ------
    StoreError
        If it is none, or cannot be read.
    """
    engine = open_unchecked(path, name)
    try:
        with translated(name), engine.connect() as connection:
            if find_revision(connection, name) is None:
                require_newest(None, name)
    finally:
        engine.dispose()


def open_unchecked(path: Path, name: str) -> Engine:
    """Return an engine that reads a file, whatever is in it.

    Raises
    ------
    StoreError
        If there is no file.
    """
    check_path(path, name, must_exist=True)
    return _engine(f"{path.absolute().as_uri()}?mode=ro")


def copy_of_older(path: Path, revision: str) -> Path:
    """Return where a copy of a store of an older schema is kept when it is updated."""
    return Path(f"{path}.schema-{revision}")


def copy_file(path: Path, copy: Path) -> None:
    """Copy a store as it is at one moment, whoever writes to it meanwhile; whole or not at all."""
    unfinished = Path(f"{copy}.unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(unfinished)) as target,
        ):
            source.backup(target)
        unfinished.replace(copy)
    finally:
        unfinished.unlink(missing_ok=True)
