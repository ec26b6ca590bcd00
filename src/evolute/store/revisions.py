"""Which schema a database has, and what is said of one that is not today's."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

from evolute.errors import StoreError, shorten
from evolute.store import schema

WRITE_THAT_CHANGES_NOTHING = f"UPDATE {schema.VERSION_TABLE} SET version_num = version_num"
"""A store that refuses it is refused when it is opened, not after the first training."""


def find_revision(connection: Connection, name: str) -> str | None:
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
    query = text(f"SELECT version_num FROM {schema.VERSION_TABLE}")
    revision = str(connection.execute(query).scalar())
    if revision not in schema.REVISIONS:
        raise StoreError(
            f"store {name} was written by a newer evolute (its schema is {shorten(revision)}, the "
            f"newest known here is {schema.REVISIONS[-1]}): update evolute, or give another store"
        )
    return revision


def require_newest(revision: str | None, name: str) -> None:
    """Refuse to read what is not of the newest schema.

    Raises
    ------
    StoreError
        If it is empty, or older.
    """
    if revision is None:
        raise StoreError(f"store {name} is empty: give the path of a store that a search has made")
    if revision != schema.REVISIONS[-1]:
        raise StoreError(
            f"store {name} was written by an older evolute (its schema is {revision}): run "
            f'"evolute store migrate {name}", or a search with this store, which updates it'
        )
