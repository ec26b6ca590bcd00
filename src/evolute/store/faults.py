"""What a database can refuse, in one line each: what happened and what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from evolute.errors import StoreError, shorten

SENTENCES = {
    sqlite3.SQLITE_BUSY: "is locked by another process: wait until that has ended, or give another",
    sqlite3.SQLITE_LOCKED: "is in use by another connection: close that, or give another store",
    sqlite3.SQLITE_READONLY: "is read-only: make the file and its folder writable, or give another",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: its file and folder must be there and be readable "
    "and writable",
    sqlite3.SQLITE_NOTADB: "is not a database: give the path of a store, or of a new file",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore the file from a copy, or give another",
    sqlite3.SQLITE_FULL: "has no space left on its disk: free some, then run the same command "
    "again; all that was stored is kept",
    sqlite3.SQLITE_IOERR: "cannot be read or written: its disk reports an error",
}
"""Sentence of each primary result code of SQLite (https://sqlite.org/rescode.html)."""


@contextmanager
def translated(store: str) -> Iterator[None]:
    """Turn whatever the database refuses into a StoreError about the store of this name."""
    try:
        yield
    except DBAPIError as error:
        raise StoreError(f"store {store} {_sentence(error.orig)}") from error
    except (SQLAlchemyError, UnicodeError, OverflowError) as error:
        raise StoreError(f"store {store} cannot be used: {shorten(str(error))}") from error


def primary_code(error: BaseException | None) -> int | None:
    """Return SQLite's primary result code of an error, None where it has none."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _sentence(error: BaseException | None) -> str:
    sentence = SENTENCES.get(primary_code(error) or 0)
    return sentence or f"is damaged or was not written by evolute: {shorten(str(error))}"
