"""Executors: what turns trial requests into trials, on whatever hardware there is.

Guarantees of every executor
----------------------------
* **Pure**: a trial depends on its request and the task alone, not on the executor, the number of
  workers, the order of requests or what ran before (timeouts and crashes excepted).
* **Complete**: each request gets exactly one answer, yielded as soon as it is there; a request that
  kills its worker ends as a *crashed* trial and one that hangs as a *timed out* trial. After
  ``stop`` was asked for, requests not yet begun get no answer.
* **Ownership**: workers end with :meth:`Executor.close`, and when the process that owns them dies.
* **Threads**: an executor is used by one thread at a time.
* **Errors**: a user's task that raises ends :meth:`Executor.run` with TaskError.
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
    """Stop never: the default of :meth:`Executor.run`."""
    return False


class Executor(ABC):
    """Runs trials of one task; see the guarantees in the module's docstring."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """Number of trials that run at the same time."""

    @abstractmethod
    def run(
        self, requests: Sequence[TrialRequest], *, stop: Callable[[], bool] = never_stop
    ) -> Iterator[tuple[int, Trial]]:
        """Yield (index of the request, its trial) in the order in which trials end.

        Parameters
        ----------
        requests
            Trials to run.
        stop
            Asked before each request is begun; once it is true, no further one begins.

        Raises
        ------
        TaskError
            If the user's task raises.
        """

    def close(self) -> None:  # noqa: B027  (most executors own nothing)
        """End all workers; trials not yet yielded are lost."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
