"""Where a store is: a file, or a database on a server; and its name, which holds no password."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from evolute.errors import StoreError, shorten

MEMORY = ":memory:"
SQLITE = "sqlite"
POSTGRESQL = frozenset({"postgresql", "postgresql+psycopg", "postgres"})
DRIVER = "postgresql+psycopg"
ALLOWED = (
    "give the path of a file, sqlite:///path, or postgresql+psycopg://user:password@host/database"
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a store is.

    Parameters
    ----------
    name
        What messages call it; never holds a password.
    path
        The SQLite file; None for a store in memory or on a server.
    url
        The PostgreSQL database; None for SQLite.
    """

    name: str
    path: Path | None = None
    url: URL | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no message may repeat."""
        if self.url is None:
            return ()
        values = [self.url.password, *self.url.query.values()]
        return tuple(str(value) for value in values if value and len(str(value)) > 1)


def parse_address(path_or_url: str | Path) -> Address:
    """Return where a store is, from what a user gave.

    Raises
    ------
    StoreError
        If it is an address of another kind, or cannot be read; the address itself is not repeated.
    """
    given = str(path_or_url)
    if given in {MEMORY, f"{SQLITE}://", f"{SQLITE}:///{MEMORY}"}:
        return Address(MEMORY)
    scheme, separator, rest = given.partition("://")
    if not separator or isinstance(path_or_url, Path):
        return Address(repr(given), path=_at_home(Path(given)))
    if scheme == SQLITE and rest.startswith("/") and len(rest) > 1:
        return Address(repr(given), path=_at_home(Path(rest[1:])))
    if scheme not in POSTGRESQL:
        raise StoreError(
            f"a store cannot be opened at an address of kind {shorten(scheme)!r}: {ALLOWED}"
        )
    try:
        url = make_url(given).set(drivername=DRIVER)
    except (ArgumentError, ValueError):
        # Without the cause, which repeats the address.
        raise StoreError(f"the address of a store cannot be read: {ALLOWED}") from None
    return Address(repr(_without_secrets(url)), url=url)


def shown(path_or_url: str | Path) -> str:
    """Return what a user gave, for printing: an address without its password and options.

    >>> shown("postgresql+psycopg://me:secret@host/trials")
    'postgresql+psycopg://me@host/trials'
    >>> shown("evolute.sqlite")
    'evolute.sqlite'
    """
    address = parse_address(path_or_url)
    return str(path_or_url) if address.url is None else _without_secrets(address.url)


def _without_secrets(url: URL) -> str:
    plain = URL.create(
        url.drivername, url.username, host=url.host, port=url.port, database=url.database
    )
    return plain.render_as_string()


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise StoreError(f"store {str(path)!r}: there is no such home folder; give it") from error
