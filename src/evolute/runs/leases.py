"""LeaseKeeper: the leases of the trials that a search is training, kept alive while it does."""

from __future__ import annotations

import threading
from collections.abc import Collection

from evolute.errors import StoreError
from evolute.store.base import Store
from evolute.store.leases import new_owner

LEASE_SECONDS = 60.0
"""How long other searches wait for a sign of life before they train a trial themselves."""

RENEWAL_SECONDS = 20.0
"""How often a sign of life is given."""


class LeaseKeeper:
    """Claims trials, gives signs of life from a thread of its own, and gives back what is left.

    Parameters
    ----------
    store
        The store that several searches may share.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._owner = store, new_owner()
        self._mine: set[str] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def claim(self, digests: Collection[str]) -> frozenset[str]:
        """Return those of these trials that are this search's to train."""
        claimed = self._store.claim(digests, owner=self._owner, seconds=LEASE_SECONDS)
        with self._lock:
            self._mine |= claimed
        if self._thread is None:
            self._thread = threading.Thread(target=self._renew, daemon=True)
            self._thread.start()
        return claimed

    def ended(self, digest: str) -> None:
        """Take note that a trial is about to be stored, which ends its lease."""
        with self._lock:
            self._mine.discard(digest)

    def close(self) -> None:
        """Give back the leases that are left."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        mine, self._mine = self._mine, set()
        if mine:
            self._store.release(mine, owner=self._owner)

    def _renew(self) -> None:
        while not self._closing.wait(RENEWAL_SECONDS):
            with self._lock:
                mine = frozenset(self._mine)
            try:
                if mine:
                    self._store.renew(mine, owner=self._owner, seconds=LEASE_SECONDS)
            except StoreError:  # then the thread that trains meets it too, and says so
                return
