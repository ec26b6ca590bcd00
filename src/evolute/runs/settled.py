"""Settled: what became of the trials of a run, a million of them if need be.

Results of this sitting are at hand. Of trials that an earlier sitting saw, only the digests are,
32 bytes each: they are in the store, where the few whose results are asked for again are looked up.
"""

from __future__ import annotations

from collections.abc import Mapping

from evolute.search.base import Result
from evolute.search.digests import SortedDigests
from evolute.store.base import Store
from evolute.trial import RETRIED_KINDS, OutcomeKind, Trial

DIGEST_BYTES = 32


class Settled:
    """Results of trials by digest.

    Parameters
    ----------
    store
        Where the trials of earlier sittings are.
    earlier
        Their digests, :data:`DIGEST_BYTES` each.
    to_retry
        How those of them ended that timed out or crashed.
    """

    def __init__(
        self,
        store: Store,
        earlier: SortedDigests | None = None,
        *,
        to_retry: Mapping[str, OutcomeKind] | None = None,
    ) -> None:
        self._store = store
        self._earlier = SortedDigests(size=DIGEST_BYTES) if earlier is None else earlier
        self._results: dict[str, Result] = {}
        self._to_retry = dict(to_retry or {})

    def __len__(self) -> int:
        return len(self._earlier) + len(self._results)

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
        return len(self._earlier)

    @property
    def digests(self) -> frozenset[str]:
        """Digests of all trials."""
        text = self._earlier.content.hex()
        size = 2 * DIGEST_BYTES
        return frozenset(
            (*self._results, *(text[at : at + size] for at in range(0, len(text), size)))
        )

    def is_earlier(self, digest: str) -> bool:
        """Whether an earlier sitting saw a trial."""
        return self._earlier.find(bytes.fromhex(digest)) is not None

    @property
    def to_retry(self) -> Mapping[str, OutcomeKind]:
        """How trials ended that timed out or crashed: a later sitting tries them again."""
        return self._to_retry

    def add(self, trial: Trial) -> None:
        """Keep the result of a trial of this sitting."""
        self._results[trial.key.digest] = result_of(trial)
        if trial.outcome.kind in RETRIED_KINDS:
            self._to_retry[trial.key.digest] = trial.outcome.kind

    def all_digests(self) -> SortedDigests:
        """Return the digests of all trials as ``earlier`` of a later sitting."""
        return self._earlier.merged(map(bytes.fromhex, self._results))


def result_of(trial: Trial) -> Result:
    """Return what a search is told of a trial."""
    return Result(trial.outcome.kind, None if trial.score is None else trial.score.fitness)
