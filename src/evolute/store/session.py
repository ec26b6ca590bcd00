"""Session: the one connection of a store, a transaction at a time, each whole or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from evolute.errors import StoreError
from evolute.store.faults import is_collision, is_lost, translated

RECONNECT_SECONDS = 60.0
"""How long a call waits for a server that went away to come back."""

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

MOST_COLLISIONS = 20
"""How often a transaction is begun again that stood in the way of another; far above the need."""

T = TypeVar("T")

READING = {"sqlite": "BEGIN", "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"}
"""How a transaction begins that reads: what it sees does not change until it ends."""

WRITING = {
    # The write lock is taken at once: a reader that turns writer may find its view outdated.
    "sqlite": "BEGIN IMMEDIATE",
    # Each statement sees what others have committed, as connections are set to; rows are locked
    # where that matters.
    "postgresql": None,
}


class Session:
    """Runs pieces of work in transactions over one connection.

    A piece of work may run several times: where the connection to a server is lost, it runs again
    on a new one, and where two transactions stood in each other's way. All that a store does can
    be done twice, so not knowing whether a lost commit was carried out does no harm.

    Parameters
    ----------
    engine
        Engine with a single connection; the session owns it from now on.
    name
        What messages call the store.
    secrets
        Texts that no message may repeat.
    """

    def __init__(self, engine: Engine, name: str, *, secrets: Sequence[str] = ()) -> None:
        self.engine = engine
        self.name = name
        self._secrets = secrets
        self._lock = threading.RLock()
        self._closed = False

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return what the work returns; it sees the store as it was at its beginning."""
        return self._run(work, READING[self.engine.dialect.name])

    def write(self, work: Callable[[Connection], T]) -> T:
        """Return what the work returns, once all it wrote is on the disk."""
        return self._run(work, WRITING[self.engine.dialect.name])

    def close(self) -> None:
        """Let go of the connection; every later call raises StoreError."""
        with self._lock, translated(self.name, secrets=self._secrets):
            self._closed = True
            self.engine.dispose()

    def _run(self, work: Callable[[Connection], T], begin: str | None) -> T:
        with self._lock, translated(self.name, secrets=self._secrets):
            pauses, collisions = _pauses(), 0
            while True:
                if self._closed:
                    raise StoreError(f"store {self.name} is closed: open it again")
                try:
                    with self.engine.begin() as connection:
                        if begin is not None:
                            connection.exec_driver_sql(begin)
                        return work(connection)
                except DBAPIError as error:
                    if is_collision(error) and collisions < MOST_COLLISIONS:
                        collisions += 1
                        continue
                    pause = next(pauses, None) if is_lost(error) else None
                    if pause is None:
                        raise
                    self.engine.dispose()
                    time.sleep(pause)


def _pauses() -> Iterator[float]:
    """Yield pauses that double, up to a longest, until the time for reconnecting is over."""
    deadline = time.monotonic() + RECONNECT_SECONDS
    pause = FIRST_PAUSE_SECONDS
    while time.monotonic() < deadline:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
