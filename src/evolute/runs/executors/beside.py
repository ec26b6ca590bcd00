"""Several who ask one crowd of workers at a time, each as if the workers were its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from evolute.runs.executors.base import Executor, TrialRequest, never_stop
from evolute.trial import Trial


@dataclass(eq=False, slots=True)
class Asker:
    """What one of those who ask waits for.

    Parameters
    ----------
    open
        Tickets that have no answer yet.
    waiting
        Those of them that no worker has.
    ended
        Answers that were not fetched yet.
    stopping
        Whether those that have not begun were forgotten.
    collect
        Fetches answers that came while others waited for theirs.
    """

    open: set[int] = field(default_factory=set)
    waiting: deque[int] = field(default_factory=deque)
    ended: deque[tuple[int, Trial]] = field(default_factory=deque)
    stopping: bool = False
    collect: Callable[[], None] | None = None

    def forget(self) -> None:
        """Wait for nothing."""
        self.open.clear()
        self.waiting.clear()
        self.ended.clear()


class Crowd(Protocol):
    """Workers that several ask; see :class:`.crowd.CrowdExecutor`."""

    @property
    def workers(self) -> int:
        """Their number."""

    @property
    def under_way(self) -> int:
        """Number of trials that they have."""

    def submit_for(self, asker: Asker, request: TrialRequest) -> int:
        """Ask for a trial."""

    def next_for(self, asker: Asker, stop: Callable[[], bool]) -> tuple[int, Trial] | None:
        """Wait for the next trial that this one asked for."""

    def attend_for(self, asker: Asker) -> bool:
        """Give workers what waits; return whether something of this one's is open."""

    def forget(self) -> None:
        """Forget what all of them asked for."""


class Beside(Executor):
    """An executor whose workers are shared with others who ask.

    Parameters
    ----------
    crowd
        The workers.
    asker
        Who asks here.
    """

    def __init__(self, crowd: Crowd, asker: Asker) -> None:
        self._crowd, self._asker = crowd, asker

    @property
    def workers(self) -> int:
        return self._crowd.workers

    def submit(self, request: TrialRequest) -> int:
        return self._crowd.submit_for(self._asker, request)

    def next(self, stop: Callable[[], bool] = never_stop) -> tuple[int, Trial] | None:
        return self._crowd.next_for(self._asker, stop)

    def attend(self) -> bool:
        return self._crowd.attend_for(self._asker)

    def when_others_wait(self, collect: Callable[[], None] | None) -> None:
        self._asker.collect = collect

    @property
    def ended(self) -> int:
        return len(self._asker.ended)

    @property
    def under_way(self) -> int:
        return self._crowd.under_way

    def forget(self) -> None:
        self._crowd.forget()
