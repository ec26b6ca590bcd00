"""open_store: from a path or an address to an SQL store of the newest schema, or one clear line."""

from __future__ import annotations

from pathlib import Path

from evolute.store import postgresql, sqlite
from evolute.store.address import MEMORY, parse_address
from evolute.store.sql_store import SqlStore


def open_store(
    path_or_url: str | Path, *, create: bool = True, read_only: bool = False
) -> SqlStore:
    """Open a store, made first if there is none, and brought to the newest schema if it is older.

    Before an SQLite file is brought to a newer schema, a copy of it is put beside it.

    Parameters
    ----------
    path_or_url
        Path of an SQLite file; or ``sqlite:///relative/path``, ``sqlite:////absolute/path``; or
        ``:memory:`` for a store that is gone when it is closed; or
        ``postgresql+psycopg://user:password@host:port/database``, whose database must be there
        (needs the extra ``evolute[postgresql]``).
    create
        Whether a store that is not there is made; its folder or database must be there.
    read_only
        Only read: nothing is made, migrated or written, and a read-only file or folder will do.

    Raises
    ------
    StoreError
        If it is no store, is locked, damaged, read-only, of a newer version, or not to be reached.
        It is then as it was.

    Examples
    --------
    >>> with open_store(":memory:") as store:
    ...     store.runs()
    ()
    """
    address = parse_address(path_or_url)
    if address.url is not None:
        engine = postgresql.open_database(address, create=create, read_only=read_only)
    elif address.path is None:
        engine = sqlite.open_memory(MEMORY, read_only=read_only)
    else:
        engine = sqlite.open_file(address.path, address.name, create=create, read_only=read_only)
    return SqlStore(engine, address.name, secrets=address.secrets)
