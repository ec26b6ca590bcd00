"""What a database can refuse, in one line each: what happened and what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError

from evolute.errors import StoreError, shorten

REPAIR = "run 'evolute store repair', which saves what can be read, or give another"
LOCKED = "is locked by another process: wait until that has ended, or give another"
FULL = (
    "has no space left on its disk: free some, then run the same command again; all that was "
    "stored is kept"
)

SENTENCES: dict[int | str, str] = {
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: "is in use by another connection: close that, or give another store",
    sqlite3.SQLITE_READONLY: "is read-only: make the file and its folder writable, or give another",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: its file and folder must be there and be readable "
    "and writable",
    sqlite3.SQLITE_NOTADB: "is not a database: give the path of a store, or of a new file",
    sqlite3.SQLITE_CORRUPT: f"is damaged: {REPAIR}",
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_IOERR: "cannot be read or written: its disk reports an error",
    "25006": "is read-only: open it with a user and on a server that may write, or give another",
    "28": "refuses this user or password: mend the address",
    "3D": "does not exist on its server: make it with 'createdb', or mend the address",
    "42501": "does not allow this to its user: grant it, or give another",
    "53100": FULL,
    "53": "is on a server without resources left (memory or connections): free some, then run the "
    "same command again; all that was stored is kept",
    "55P03": LOCKED,
    "XX": f"is damaged: {REPAIR}",
}
"""Sentence of each primary result code of SQLite (https://sqlite.org/rescode.html), and of each
SQLSTATE of PostgreSQL (its manual, appendix A): the whole code, or its class of two characters."""

LOST = "cannot be reached: start its server, or mend the address"
REFUSED = {"password": "28", "does not exist": "3D"}
"""Words of a server that refuses a connection, and what they mean."""

LOST_STATES = ("08", "57P")
"""How the SQLSTATE of a connection that broke begins, and of a server that stops or starts."""

COLLISIONS = frozenset({"40001", "40P01"})
"""SQLSTATEs of transactions that stood in each other's way, of which one was undone."""


@contextmanager
def translated(store: str, *, secrets: Sequence[str] = ()) -> Iterator[None]:
    """Turn whatever the database refuses into a StoreError about the store of this name."""
    try:
        yield
    except DBAPIError as error:
        sentence = _without(_sentence(error), secrets)
        # The chain would repeat the address where there is something to hide.
        raise StoreError(f"store {store} {sentence}") from (None if secrets else error)
    except sqlite3.Error as error:
        raise StoreError(f"store {store} {_sqlite_sentence(error)}") from error
    except ModuleNotFoundError as error:
        raise StoreError(
            f"store {store} needs the package {error.name}: run pip install 'evolute[postgresql]'"
        ) from None
    except (SQLAlchemyError, NoSuchModuleError, UnicodeError, OverflowError) as error:
        sentence = _without(shorten(str(error)), secrets)
        raise StoreError(f"store {store} cannot be used: {sentence}") from (
            None if secrets else error
        )


def primary_code(error: BaseException | None) -> int | None:
    """Return SQLite's primary result code of an error, None where it has none."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_lost(error: DBAPIError) -> bool:
    """Tell whether the connection to a server broke, or could not be made for now."""
    if _is_sqlite(error):
        return False
    state = _state(error)
    if state is not None:
        return state.startswith(LOST_STATES)
    return error.connection_invalidated or type(error.orig).__name__ == "OperationalError"


def is_collision(error: DBAPIError) -> bool:
    """Tell whether a transaction was undone because it stood in the way of another."""
    return _state(error) in COLLISIONS


def _is_sqlite(error: DBAPIError) -> bool:
    return isinstance(error.orig, sqlite3.Error)


def _state(error: DBAPIError) -> str | None:
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state


def _sentence(error: DBAPIError) -> str:
    orig, said = error.orig, shorten(str(error.orig))
    if _is_sqlite(error):
        return _sqlite_sentence(orig)
    state = _state(error) or ""
    known = SENTENCES.get(state) or SENTENCES.get(state[:2])
    if known is None and is_lost(error):
        # A refused connection has no SQLSTATE, but the server's words at the end.
        words = shorten(str(orig).rpartition(" failed: ")[2])
        refused = next((code for text, code in REFUSED.items() if text in words), None)
        known = f"{LOST} ({words})" if refused is None else SENTENCES[refused]
    if type(orig).__name__ == "DataError":
        known = f"cannot hold this: {said}"
    return known or f"is damaged or was not written by evolute: {said}"


def _sqlite_sentence(error: BaseException | None) -> str:
    known = SENTENCES.get(primary_code(error) or 0)
    return known or f"is damaged or was not written by evolute: {shorten(str(error))}"


def _without(sentence: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        sentence = sentence.replace(secret, "…")
    return sentence
