"""Executors: what turns trial requests into trials, on whatever hardware there is.

A stream: requests are submitted at any time, trials come out as they end, so that lanes stay full
while whoever asks thinks about what to ask next.

Guarantees of every executor
----------------------------
* **Pure**: a trial depends on its request and the task alone, not on the executor, the number of
  workers, the order of requests or what else is under way (timeouts and crashes excepted).
* **Complete**: each request gets exactly one answer, handed out as soon as it is there; a request
  that kills its worker ends as a *crashed* trial and one that hangs as a *timed out* trial, and
  no other does on its account. After ``stop`` was asked for, requests not yet begun get no answer.
* **Ownership**: workers end with :meth:`Executor.close`, and when the process that owns them dies.
* **Threads**: an executor is used by one thread at a time.
* **Errors**: a user's task that raises ends :meth:`Executor.next` with TaskError, and what was
  submitted is forgotten.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from evolute.lang.rule import Rule
from evolute.train.protocol import Protocol
from evolute.trial import Trial


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """A trial to be run on the executor's task.

    Parameters
    ----------
    rule
        The rule, sign included.
    protocol
        How it is scored.
    seed
        Seed of weights, batches and noise.
    """

    rule: Rule
    protocol: Protocol
    seed: int


def never_stop() -> bool:
    """Stop never: the default of :meth:`Executor.next`."""
    return False


class Executor(ABC):
    """Runs trials of one task; see the guarantees in the module's docstring."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """Number of processes that train."""

    @abstractmethod
    def submit(self, request: TrialRequest) -> int:
        """Ask for a trial; return its ticket, a number of its own."""

    @abstractmethod
    def next(self, stop: Callable[[], bool] = never_stop) -> tuple[int, Trial] | None:
        """Wait for the next trial to end; None if none is left.

        Parameters
        ----------
        stop
            Asked before requests are begun; once it is true, those not yet begun are forgotten.

        Raises
        ------
        TaskError
            If the user's task raises.
        """

    def run(
        self, requests: Sequence[TrialRequest], *, stop: Callable[[], bool] = never_stop
    ) -> Iterator[tuple[int, Trial]]:
        """Yield (index of the request, its trial) in the order in which trials end.

        Nothing else may be under way.

        Parameters
        ----------
        requests
            Trials to run.
        stop
            As in :meth:`next`.

        Raises
        ------
        TaskError
            If the user's task raises.
        """
        places = {self.submit(request): index for index, request in enumerate(requests)}
        ended = False
        try:
            while (answer := self.next(stop)) is not None:
                ticket, trial = answer
                yield places[ticket], trial
            ended = True
        finally:
            if not ended:  # left early: what is under way would answer later requests
                self.forget()

    @property
    def ended(self) -> int:
        """Number of trials that :meth:`next` would hand out without waiting."""
        return 0

    @property
    def under_way(self) -> int:
        """Number of trials that workers have; 0 where it is not counted."""
        return 0

    def attend(self) -> bool:
        """Give workers what waits, without waiting; return whether all of it is still under way.

        Then whoever asks may do something else; where nobody trains by himself, it is false.
        """
        return False

    def when_others_wait(self, collect: Callable[[], None] | None) -> None:
        """Let this be called when trials of this one's end while somebody else waits for his own.

        Where nobody else asks at the same time it never is.
        """
        del collect

    def beside(self) -> Executor:
        """Return the same workers as an executor for somebody else who asks at the same time.

        Each gets the answers to its own requests, and no worker trains for two at once. What an
        error or :meth:`forget` ends, it ends for all. Where nobody trains by himself (see
        :meth:`attend`), it is this executor, for one after the other.
        """
        return self

    @abstractmethod
    def forget(self) -> None:
        """Forget all that was submitted; what is under way is lost."""

    def close(self) -> None:  # noqa: B027  (most executors own nothing)
        """End all workers; trials not yet handed out are lost."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
