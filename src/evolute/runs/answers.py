"""Answers: trials that were asked for, looked up or trained, one after the other as they are known.

A cache in front of an executor. What the store holds is never trained again, and what another
search at the same store is training is waited for.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from evolute.runs.executors.base import Executor, TrialRequest
from evolute.runs.leases import LeaseKeeper
from evolute.store.base import Store
from evolute.trial import RETRIED_KINDS, Trial

POLL_SECONDS = 0.5
"""How often trials of other searches are looked for."""


class Answers:
    """Trials under way; used in a ``with`` block, at whose end leases are given back.

    A stored trial that timed out or crashed is no answer: it says more about the machine than about
    the rule, and is tried again.

    Parameters
    ----------
    store
        Where trials are looked up and written, each as soon as it ends.
    executor
        What trains.
    stop
        Asked before each training is begun; once true, the rest is left unanswered.
    """

    def __init__(self, store: Store, executor: Executor, *, stop: Callable[[], bool]) -> None:
        self._store, self._executor, self._stop = store, executor, stop
        self._asked: set[str] = set()
        self._known: deque[tuple[Trial, bool]] = deque()
        self._tickets: dict[int, str] = {}
        self._elsewhere: dict[str, TrialRequest] = {}
        self._leases = LeaseKeeper(store)
        self._looked = 0.0
        self._all_new = False
        executor.when_others_wait(self.collect)

    def ask(self, requests: Mapping[str, TrialRequest]) -> None:
        """Ask for trials by their digests; what was asked before is not asked again."""
        fresh = {each: request for each, request in requests.items() if each not in self._asked}
        self._asked |= fresh.keys()
        if fresh:
            self._find(fresh)

    def next(self) -> tuple[Trial, bool] | None:
        """Wait for the next trial; return it and whether it was trained now, None if none is left.

        Raises
        ------
        TaskError
            If the user's task raises.
        StoreError
            If the store cannot be read or written.
        """
        while True:
            if self._elsewhere and time.monotonic() - self._looked > POLL_SECONDS:
                self._find(dict(self._elsewhere))
            if self._known:
                return self._known.popleft()
            if self._tickets:
                answer = self._executor.next(self._stop)
                if answer is None:
                    self._tickets.clear()  # the rest was not begun when the time was over
                else:
                    self._store_ended(answer)
            elif not self._elsewhere or self._stop():
                return None
            else:
                time.sleep(POLL_SECONDS)

    def collect(self) -> None:
        """Store what has ended by now, without waiting; :meth:`next` returns it."""
        if self._executor.ended and (answer := self._executor.next(self._stop)) is not None:
            self._store_ended(answer)

    @property
    def seconds_ahead(self) -> float:
        """Seconds that the trainings took whose trials were not returned yet."""
        return sum(trial.provenance.seconds for trial, trained in self._known if trained)

    def _store_ended(self, answer: tuple[int, Trial]) -> None:
        """Store a trial and those that ended with it, in one transaction."""
        answers = [answer]
        while self._executor.ended and (more := self._executor.next(self._stop)) is not None:
            answers.append(more)
        for ticket, _ in answers:
            self._leases.ended(self._tickets.pop(ticket))
        stored = self._store.put_many([trial for _, trial in answers])
        self._known.extend((trial, True) for trial in stored)

    def _find(self, wanted: Mapping[str, TrialRequest]) -> None:
        """Look these up, train what is free, and remember what others train."""
        self._looked = time.monotonic()
        # Where nothing was stored last time, it is asked once only: no lease is given of what is.
        mine = self._leases.claim(list(wanted)) if self._all_new else frozenset()
        unclaimed = [digest for digest in wanted if digest not in mine]
        stored = {
            digest: trial
            for digest, trial in (self._store.get_many(unclaimed) if unclaimed else {}).items()
            if trial.outcome.kind not in RETRIED_KINDS
        }
        for digest in stored:
            self._elsewhere.pop(digest, None)
        self._known.extend((trial, False) for trial in stored.values())
        missing = {each: request for each, request in wanted.items() if each not in stored}
        if unclaimed and missing:
            mine = self._leases.claim(list(missing))
        self._all_new = len(mine) == len(wanted)
        for digest, request in missing.items():
            if digest in mine:
                self._elsewhere.pop(digest, None)
                self._tickets[self._executor.submit(request)] = digest
            else:
                self._elsewhere[digest] = request

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Store what has ended, forget what has no answer yet, and give leases back."""
        try:
            self.collect()
        finally:
            self._executor.when_others_wait(None)
            if self._tickets:
                self._executor.forget()
            self._tickets.clear()
            self._leases.close()
