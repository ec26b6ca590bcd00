"""Recorder: writes down what a run proposed and what became of it, many entries at once."""

from __future__ import annotations

from collections.abc import Sequence

from evolute.runs.screening import Screened
from evolute.search.base import Result
from evolute.store.base import RunEntry, Store
from evolute.trial import Trial

ENTRIES_AT_ONCE = 32
"""Entries of a run that are written in one transaction, of which each waits for the disk."""


class Recorder:
    """Entries of one run; what a kill takes before it is written is told alike on resuming.

    Parameters
    ----------
    store
        Where they go.
    run
        Digest of the run.
    written
        How many entries an earlier sitting has written.
    """

    def __init__(self, store: Store, run: str, *, written: int = 0) -> None:
        self._store, self._run = store, run
        self._trials: list[Trial] = []
        self._entries: list[RunEntry] = []
        self.written = written

    def __len__(self) -> int:
        return self.written + len(self._entries)

    def add(
        self, told: Sequence[tuple[Screened, str, Result]], *, trials: Sequence[Trial] = ()
    ) -> None:
        """Record proposals with the digests of the trials that answer them, and what was told.

        ``trials`` are those among them that are not in the store yet.
        """
        self._trials += trials
        for item, digest, result in told:
            facts = item.proposal.to_dict() | {"rule": str(item.rule), "outcome": result.kind.value}
            self._entries.append(RunEntry(item.proposal.number, digest, facts))
        if len(self._entries) >= ENTRIES_AT_ONCE:
            self.write()

    def write(self) -> None:
        """Store what was added."""
        if self._trials:
            self._store.put_many(self._trials)
        if self._entries:
            self._store.record_many(self._run, self._entries)
            self.written += len(self._entries)
        self._trials, self._entries = [], []
