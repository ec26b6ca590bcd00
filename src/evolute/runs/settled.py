"""Settled: what became of the trials of a run, a million of them if need be.

Results of this sitting are at hand. Of trials that an earlier sitting saw, only the digests are,
32 bytes each: they are in the store, where the few whose results are asked for again are looked up.
"""

from __future__ import annotations

import numpy as np

from evolute.search.base import Result
from evolute.store.base import Store
from evolute.trial import RETRIED_KINDS, Trial

DIGEST_BYTES = 32


class Settled:
    """Results of trials by digest.

    Parameters
    ----------
    store
        Where the trials of earlier sittings are.
    earlier
        Their digests, :data:`DIGEST_BYTES` each, in rising order.

    Raises
    ------
    ValueError
        If these are no digests in rising order.
    """

    def __init__(self, store: Store, earlier: bytes = b"") -> None:
        self._store = store
        self._earlier = earlier
        # The first eight bytes of each as a number: no two of a million digests are likely to agree
        # in these, and what does is compared in full.
        words = np.frombuffer(earlier, dtype=">u8").reshape(-1, DIGEST_BYTES // 8)
        self._heads = words[:, 0].astype(np.uint64)
        if not (self._heads[1:] >= self._heads[:-1]).all():
            raise ValueError("digests that do not rise")
        self._results: dict[str, Result] = {}
        self._to_retry = False

    def __len__(self) -> int:
        return len(self._heads) + len(self._results)

    def __contains__(self, digest: str) -> bool:
        return digest in self._results or self.is_earlier(digest)

    def __getitem__(self, digest: str) -> Result:
        held = self._results.get(digest)
        if held is None:
            trial = self._store.get(digest)
            if trial is None or not self.is_earlier(digest):
                raise KeyError(digest)
            held = result_of(trial)
        return held

    @property
    def earlier(self) -> int:
        """Number of trials that an earlier sitting saw."""
        return len(self._heads)

    @property
    def digests(self) -> frozenset[str]:
        """Digests of all trials."""
        text = self._earlier.hex()
        size = 2 * DIGEST_BYTES
        return frozenset(
            (*self._results, *(text[at : at + size] for at in range(0, len(text), size)))
        )

    def is_earlier(self, digest: str) -> bool:
        """Whether an earlier sitting saw a trial."""
        wanted = bytes.fromhex(digest)
        head = np.uint64(int.from_bytes(wanted[:8], "big"))
        at = int(np.searchsorted(self._heads, head))
        while at < len(self._heads) and self._heads[at] == head:
            if self._earlier[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES] == wanted:
                return True
            at += 1
        return False

    @property
    def to_retry(self) -> bool:
        """Whether one of this sitting timed out or crashed: a later sitting tries it again."""
        return self._to_retry

    def add(self, trial: Trial) -> None:
        """Keep the result of a trial of this sitting."""
        self._results[trial.key.digest] = result_of(trial)
        self._to_retry |= trial.outcome.kind in RETRIED_KINDS

    def column(self) -> bytes:
        """Return the digests of all trials as ``earlier`` of a later sitting."""
        added = b"".join(map(bytes.fromhex, self._results))
        rows = np.frombuffer(self._earlier + added, dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        heads = np.ascontiguousarray(rows[:, :8]).view(">u8").ravel()
        return rows[np.argsort(heads, kind="stable")].tobytes()


def result_of(trial: Trial) -> Result:
    """Return what a search is told of a trial."""
    return Result(trial.outcome.kind, None if trial.score is None else trial.score.fitness)
