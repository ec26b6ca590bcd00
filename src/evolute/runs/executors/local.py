"""The executor of one machine: worker processes, one core each, their lanes kept full.

One single-threaded process per core trains faster than one process with all threads (measured:
1.1 to 1.5 times). Workers are fresh interpreters that speak JSON over pipes, so a user's script
needs no ``__main__`` guard and nothing is pickled.

A worker has many trials under way. When it dies or hangs, each of them is tried again alone, so
that only the guilty one counts as crashed or timed out.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from evolute.errors import TaskError
from evolute.runs.executors.base import Executor, TrialRequest, never_stop
from evolute.runs.executors.messages import encode, encode_request
from evolute.runs.executors.process import Inbox, WorkerProcess
from evolute.tasks.base import Task
from evolute.train.equipment import Equipment
from evolute.train.memory import MOST_LANES
from evolute.train.trainer import trial_key
from evolute.trial import Outcome, OutcomeKind, Provenance, Trial

TRIES = 2
"""How often a request may be under way in a worker that dies before it counts as crashed."""

GRACE_SECONDS = 30.0
"""How long after the time limit of a trial a worker that gives no sign is killed."""


class LocalExecutor(Executor):
    """Runs trials in worker processes on this machine.

    Parameters
    ----------
    task
        The task, as it is named to :func:`evolute.tasks.user.load_task`; each worker loads it.
    loaded_task
        The same task, loaded, for the keys of crashed trials.
    workers
        Number of processes, at least 1.
    timeout_seconds
        Longest time for one trial; None is no limit.
    equipment
        What each worker trains with.
    """

    def __init__(
        self,
        task: str,
        loaded_task: Task,
        *,
        workers: int,
        timeout_seconds: float | None = None,
        equipment: Equipment | None = None,
    ) -> None:
        self._loaded_task = loaded_task
        self._timeout_seconds = timeout_seconds
        self._equipment = replace(equipment or Equipment(), shared_by=workers)
        self._greeting = encode({"task": task, "equipment": self._equipment.to_dict()})
        self._heard: Inbox = queue.SimpleQueue()
        self._slots: list[WorkerProcess | None] = [None] * workers
        self._tickets = itertools.count()
        self._waiting: deque[int] = deque()
        self._alone: deque[int] = deque()
        self._requests: dict[int, TrialRequest] = {}
        self._deaths: Counter[int] = Counter()
        self._stopping = False
        self._ended: deque[tuple[int, Trial]] = deque()
        self._closed = False

    @property
    def workers(self) -> int:
        return len(self._slots)

    def submit(self, request: TrialRequest) -> int:
        ticket = next(self._tickets)
        self._requests[ticket] = request
        self._waiting.append(ticket)
        self._stopping = False
        self._dispatch()
        return ticket

    def next(self, stop: Callable[[], bool] = never_stop) -> tuple[int, Trial] | None:
        try:
            while not self._ended and self._requests and not self._closed:
                if not self._stopping and stop():
                    self._cancel()
                self._dispatch()
                if self._requests:
                    self._hear()
                while not self._heard.empty() and self._requests:
                    self._hear()
        except BaseException:
            self.forget()
            raise
        return self._ended.popleft() if self._ended else None

    def _dispatch(self) -> None:
        """Hand waiting requests to the workers that have least to do."""
        if self._closed:
            return
        while self._alone and (worker := self._idle_worker()) is not None:
            self._send(worker, self._alone.popleft())
            worker.is_alone = True
        room = self._equipment.lanes or MOST_LANES
        while self._waiting:
            worker = min(self._crowd(), key=lambda each: len(each.under_way), default=None)
            if worker is None or len(worker.under_way) >= room:
                return
            self._send(worker, self._waiting.popleft())

    def _crowd(self) -> list[WorkerProcess]:
        """Return the workers that take more than one request."""
        return [
            worker
            for slot in range(len(self._slots))
            if not (worker := self._worker(slot)).is_alone
        ]

    def _idle_worker(self) -> WorkerProcess | None:
        """Return a worker with nothing under way."""
        for slot in range(len(self._slots)):
            worker = self._worker(slot)
            if not worker.under_way:
                return worker
        return None

    def _worker(self, slot: int) -> WorkerProcess:
        worker = self._slots[slot]
        if worker is None:
            worker = self._slots[slot] = WorkerProcess(self._greeting, self._heard)
        return worker

    def _send(self, worker: WorkerProcess, ticket: int) -> None:
        line = encode_request(ticket, self._requests[ticket], timeout_seconds=self._timeout_seconds)
        worker.under_way.append(ticket)
        worker.send(line)

    def _cancel(self) -> None:
        """Forget requests that have not begun, here and in the workers."""
        self._stopping = True
        for ticket in self._waiting:
            del self._requests[ticket]
        self._waiting.clear()
        for worker in self._slots:
            if worker is not None:
                worker.send(encode({"cancel": True}))

    def _hear(self) -> None:
        """Take in one message, or find that a worker is silent for too long."""
        limit = None if self._timeout_seconds is None else self._timeout_seconds + GRACE_SECONDS
        busy = [worker for worker in self._slots if worker is not None and worker.under_way]
        if not busy:
            return
        try:
            if limit is None:
                worker, message = self._heard.get()
            else:
                ends = [worker.last_heard + limit for worker in busy]
                left = max(0.0, min(ends) - time.monotonic())
                worker, message = self._heard.get(timeout=left)
        except queue.Empty:
            assert limit is not None
            silent = min(busy, key=lambda each: each.last_heard)
            self._lost(silent, hung_seconds=limit)
            return
        if worker not in self._slots:
            return  # it was given up before it said this
        worker.last_heard = time.monotonic()
        if message is None:
            self._lost(worker)
        elif "error" in message:
            raise TaskError(message["error"])
        else:
            self._take(worker, message)

    def _take(self, worker: WorkerProcess, message: Mapping[str, Any]) -> None:
        """Do what a worker's message says."""
        if "ended" in message:
            self._end(worker, message["ended"], Trial.from_dict(message["trial"]))
        for ticket in message.get("cancelled", ()):
            worker.done(ticket)
            del self._requests[ticket]

    def _end(self, worker: WorkerProcess, ticket: int, trial: Trial) -> None:
        worker.done(ticket)
        del self._requests[ticket]
        self._ended.append((ticket, trial))

    def _lost(self, worker: WorkerProcess, *, hung_seconds: float | None = None) -> None:
        """Give up a worker that died or hangs; what it had under way is tried again alone."""
        self._slots[self._slots.index(worker)] = None
        reason, suspects = worker.close(), tuple(worker.under_way)
        for ticket in suspects:
            self._deaths[ticket] += hung_seconds is None
            if hung_seconds is not None and len(suspects) == 1:
                sentence = f"timed out: no sign of it within {hung_seconds:g} seconds"
                self._end(worker, ticket, self._unscored(ticket, OutcomeKind.TIMED_OUT, sentence))
            elif self._deaths[ticket] >= TRIES:
                sentence = f"crashed: ended its worker {TRIES} times ({reason})"
                self._end(worker, ticket, self._unscored(ticket, OutcomeKind.CRASHED, sentence))
            else:
                self._alone.append(ticket)

    def _unscored(self, ticket: int, kind: OutcomeKind, sentence: str) -> Trial:
        request = self._requests[ticket]
        key = trial_key(request.rule, self._loaded_task, request.protocol, seed=request.seed)
        return Trial(key, Outcome(kind, sentence), None, provenance=Provenance(0.0))

    @property
    def ended(self) -> int:
        return len(self._ended)

    def forget(self) -> None:
        for slot, worker in enumerate(self._slots):
            self._slots[slot] = None
            if worker is not None:
                worker.close()
        self._waiting.clear()
        self._alone.clear()
        self._requests.clear()
        self._ended.clear()

    def close(self) -> None:
        self._closed = True
        self.forget()
