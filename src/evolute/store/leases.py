"""Leases: which search trains which trial, without comparing the clocks of two machines.

A lease names its owner, carries a number that rises with each sign of life (the beat), and says how
long a watcher waits for the next. Who sees the same beat for that long on its own steady clock may
take over. No time of day is stored or read, so clocks may jump; a watcher begins to count when it
first looks. An owner on the watcher's machine whose process has ended is not waited for.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, select, update

from evolute.errors import InputError
from evolute.store.schema import leases, trials
from evolute.store.writing import RETRIED, insert_into, parts

PROCESSES = Path("/proc")


def new_owner() -> str:
    """Return a name for a search that holds leases: its machine, its process and a random number.

    >>> new_owner() == new_owner()
    False
    """
    process = os.getpid()
    return f"{_machine()}:{process}:{_started(process)}:{secrets.token_hex(8)}"


def is_dead(owner: str) -> bool:
    """Tell whether an owner's process is known to have ended: one of another machine never is."""
    machine, _, rest = owner.partition(":")
    process, _, rest = rest.partition(":")
    started, _, _ = rest.partition(":")
    if not machine or machine != _machine() or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False  # it is there, and another user's
    now = _started(int(process))
    # Another process may have got its number since.
    return now is not None and now != started


@dataclass(frozen=True, slots=True)
class Watch:
    """What a store object has seen of leases of others, and since when.

    Parameters
    ----------
    clock
        Steady clock in seconds.
    """

    clock: Callable[[], float] = time.monotonic
    seen: dict[str, tuple[str, int, float]] = field(default_factory=dict)

    def is_over(self, lease: Mapping[Any, Any]) -> bool:
        """Tell whether nobody renewed a lease for as long as its holder promised."""
        now = self.clock()
        owner, beat, since = self.seen.get(lease["digest"], ("", -1, now))
        if (owner, beat) != (lease["owner"], lease["beat"]):
            self.seen[lease["digest"]] = (lease["owner"], lease["beat"], now)
            return False
        return now - since >= float(lease["seconds"])


def claim(
    connection: Connection, digests: Collection[str], *, owner: str, seconds: float, watch: Watch
) -> frozenset[str]:
    """Take the leases that are free; see ``Store.claim``."""
    wanted = sorted(set(digests))
    # A lease given back and taken again is not to be mistaken for one that was never renewed.
    fresh = {"owner": owner, "beat": secrets.randbits(40), "seconds": _positive(seconds)}
    if not wanted:
        return frozenset()
    statement = insert_into(connection, leases).on_conflict_do_nothing()
    connection.execute(statement, [{"digest": digest} | fresh for digest in wanted])
    mine = {
        lease["digest"]
        for lease in _locked(connection, wanted)
        if lease["owner"] == owner or is_dead(lease["owner"]) or watch.is_over(lease)
    }
    _beat(connection, sorted(mine), owner=owner, seconds=seconds)
    # Only now that the leases are locked: a trial is put and its lease ended in one transaction.
    stored = _stored_for_good(connection, mine)
    _end(connection, stored, owner=owner)
    for digest in mine:
        watch.seen.pop(digest, None)
    return frozenset(mine - stored)


def renew(
    connection: Connection, digests: Collection[str], *, owner: str, seconds: float
) -> frozenset[str]:
    """Give a sign of life; see ``Store.renew``."""
    _positive(seconds)
    mine = [
        lease["digest"]
        for lease in _locked(connection, sorted(set(digests)))
        if lease["owner"] == owner
    ]
    _beat(connection, mine, owner=owner, seconds=seconds)
    return frozenset(mine)


def release(connection: Connection, digests: Collection[str], *, owner: str) -> None:
    """Give leases back; see ``Store.release``."""
    _end(connection, set(digests), owner=owner)


def held(connection: Connection, digests: Collection[str]) -> dict[str, str]:
    """Return the owners of leases; see ``Store.held``."""
    owners: dict[str, str] = {}
    for part in parts(set(digests)):
        query = select(leases.c.digest, leases.c.owner).where(leases.c.digest.in_(part))
        owners |= {row.digest: row.owner for row in connection.execute(query)}
    return owners


def _positive(seconds: float) -> float:
    if not 0 < seconds < float("inf"):
        raise InputError(f"a lease of {seconds} seconds cannot be: give a number above 0")
    return float(seconds)


def _locked(connection: Connection, digests: Collection[str]) -> list[Mapping[Any, Any]]:
    rows: list[Mapping[Any, Any]] = []
    for part in parts(digests):
        query = select(leases).where(leases.c.digest.in_(part)).order_by(leases.c.digest)
        rows += connection.execute(query.with_for_update()).mappings()
    return rows


def _beat(connection: Connection, digests: Collection[str], *, owner: str, seconds: float) -> None:
    for part in parts(digests):
        values = {"owner": owner, "beat": leases.c.beat + 1, "seconds": float(seconds)}
        connection.execute(update(leases).where(leases.c.digest.in_(part)).values(values))


def _end(connection: Connection, digests: Collection[str], *, owner: str) -> None:
    for part in parts(sorted(digests)):
        chosen = leases.c.digest.in_(part) & (leases.c.owner == owner)
        connection.execute(delete(leases).where(chosen))


def _stored_for_good(connection: Connection, digests: Collection[str]) -> set[str]:
    stored: set[str] = set()
    for part in parts(digests):
        query = select(trials.c.digest).where(
            trials.c.digest.in_(part), trials.c.outcome.not_in(RETRIED)
        )
        stored |= set(connection.scalars(query))
    return stored


def _machine() -> str:
    """Return what two processes share that can see each other; empty where that is not known."""
    try:
        boot = (PROCESSES / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{(PROCESSES / 'self/ns/pid').readlink()}".replace(":", "")
    except OSError:
        return ""


def _started(process: int) -> str | None:
    """Return when a process started, in ticks since the machine did; None if it cannot be told."""
    try:
        status = (PROCESSES / str(process) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *figures = status.rpartition(")")[2].split()
    return "ended" if state == "Z" else figures[18]
