"""A crowd of workers and who gets what to do, wherever the workers are.

Lanes are kept full: each request goes to the worker that has least to do, among those that said
they are ready. So one that is slow to begin, or waits for a place on a cluster, holds nothing up.

A worker has many trials under way. When it dies or hangs, each of them is tried again alone, by
whichever worker is free first, so that only the guilty one counts as crashed or timed out.

Several may ask at a time (:mod:`.beside`): no worker trains for two of them at once, so what one of
them asks for is not slowed down by the others. Those who have more to do have an equal share of the
workers, without those that train the last trials of others; who comes later gets his share as the
workers of the others, which are given nothing more, end what they have. Who has waited longest
comes first.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from evolute.errors import TaskError
from evolute.runs.executors.base import Executor, TrialRequest, never_stop
from evolute.runs.executors.beside import Asker, Beside
from evolute.runs.executors.messages import encode, encode_request
from evolute.tasks.base import Task
from evolute.train.equipment import Equipment
from evolute.train.memory import MOST_LANES
from evolute.train.trainer import trial_key
from evolute.trial import Outcome, OutcomeKind, Provenance, Trial

TRIES = 2
"""How often a worker may be lost to a request before it counts as crashed or timed out."""

BEGINNINGS = 3
"""How many workers in a row may end before they are ready; then none is begun in their place."""

GRACE_SECONDS = 30.0
"""How long after the time limit of a trial a worker that gives no sign is killed."""

SECONDS_BETWEEN_LOOKS = 1.0
"""How often it is asked whether to stop while all workers are silent."""


class Worker(Protocol):
    """A process somewhere that speaks as :mod:`.messages` says; used by one thread."""

    def send(self, line: str) -> None:
        """Send one message; to a worker that has ended it is lost."""

    def close(self) -> str:
        """End the worker; return why it ended, in a few words."""


Inbox = queue.SimpleQueue[tuple[Worker, Mapping[str, Any] | None]]
"""Messages of all workers, in the order in which they came; None is a worker's last."""

Spawn = Callable[[str, Inbox], Worker]
"""Makes a worker that is told this line first, and whose messages go to this inbox."""


class _Place:
    """Room for one worker: the worker that is there now, what it was given, and for whom."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.is_ready = False
        self.is_alone = False
        self.under_way: list[int] = []
        self.asker: Asker | None = None
        self.last_heard = 0.0
        self.failed_beginnings = 0

    def clear(self) -> None:
        """Take note that its worker is gone."""
        self.worker, self.is_ready, self.is_alone, self.under_way = None, False, False, []
        self.asker = None

    def done(self, ticket: int) -> None:
        """Take note that a ticket is no longer under way."""
        self.under_way.remove(ticket)
        if not self.under_way:
            self.is_alone, self.asker = False, None


class CrowdExecutor(Executor):
    """Runs trials in workers.

    Parameters
    ----------
    task
        The task, as it is named to :func:`evolute.tasks.user.load_task`; each worker loads it.
    loaded_task
        The same task, loaded, for the keys of crashed trials.
    workers
        Their number, at least 1.
    spawn
        Makes a worker.
    equipment
        What each worker trains with.
    timeout_seconds
        Longest time for one trial; None is no limit.
    grace_seconds
        How much longer a worker may give no sign before it is killed.
    """

    def __init__(
        self,
        task: str,
        loaded_task: Task,
        *,
        workers: int,
        spawn: Spawn,
        equipment: Equipment,
        timeout_seconds: float | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._loaded_task = loaded_task
        self._spawn = spawn
        self._timeout_seconds = timeout_seconds
        self._silence = None if timeout_seconds is None else timeout_seconds + grace_seconds
        self._room = equipment.lanes or MOST_LANES
        self._greeting = encode({"task": task, "equipment": equipment.to_dict()})
        self._heard: Inbox = queue.SimpleQueue()
        self._places = [_Place() for _ in range(workers)]
        self._tickets = itertools.count()
        self._own = Asker()
        self._askers = [self._own]
        self._alone: deque[int] = deque()
        self._requests: dict[int, TrialRequest] = {}
        self._asker_of: dict[int, Asker] = {}
        self._losses: Counter[int] = Counter()
        self._closed = False

    @property
    def workers(self) -> int:
        return len(self._places)

    def beside(self) -> Executor:
        asker = Asker()
        self._askers.append(asker)
        return Beside(self, asker)

    def submit(self, request: TrialRequest) -> int:
        return self.submit_for(self._own, request)

    def submit_for(self, asker: Asker, request: TrialRequest) -> int:
        """Ask for a trial, as :meth:`submit`, for one of those who ask."""
        ticket = next(self._tickets)
        self._requests[ticket], self._asker_of[ticket] = request, asker
        asker.open.add(ticket)
        asker.waiting.append(ticket)
        asker.stopping = False
        self._dispatch()
        return ticket

    def next(self, stop: Callable[[], bool] = never_stop) -> tuple[int, Trial] | None:
        return self.next_for(self._own, stop)

    def next_for(self, asker: Asker, stop: Callable[[], bool]) -> tuple[int, Trial] | None:
        """Wait for the next trial of one of those who ask, as :meth:`next`."""
        with self._forgetting_all():
            while not asker.ended and asker.open and not self._closed:
                if not asker.stopping and stop():
                    self._cancel(asker)
                self._dispatch()
                if asker.open:
                    self._hear()
                self._hear_what_came()
                self._let_collect(each for each in self._askers if each is not asker)
            if any(each.waiting for each in self._askers):
                self._dispatch()  # what ended may have left its worker to others who ask
        return asker.ended.popleft() if asker.ended else None

    def attend(self) -> bool:
        return self.attend_for(self._own)

    def attend_for(self, asker: Asker) -> bool:
        """Give workers what waits, as :meth:`attend`, for one of those who ask."""
        with self._forgetting_all():
            self._hear_what_came()
            self._let_collect(each for each in self._askers if each is not asker)
            self._dispatch()
        return bool(asker.open) and not self._closed

    @contextlib.contextmanager
    def _forgetting_all(self) -> Iterator[None]:
        """Forget what was submitted, but not what has ended, where the code inside raises."""
        try:
            yield
        except BaseException:
            try:
                self._let_collect(self._askers)
            finally:
                self.forget()
            raise

    def _let_collect(self, askers: Iterable[Asker]) -> None:
        for asker in askers:
            if asker.ended and asker.collect is not None:
                asker.collect()

    def _hear_what_came(self) -> None:
        while not self._heard.empty() and self._requests:
            self._hear()

    def _dispatch(self) -> None:
        """Hand requests to the workers that are ready, those that are tried alone first."""
        if self._closed:
            return
        self._begin_workers()
        ready = [place for place in self._places if place.is_ready]
        for place in [place for place in ready if not place.under_way][: len(self._alone)]:
            self._send(place, self._alone.popleft())
            place.is_alone = True
        crowd = [place for place in ready if not place.is_alone]
        if self._alone and len(crowd) == len(ready) > 0:
            # Nobody tries those that wait to be alone: whoever has least to do is left to end it.
            crowd.remove(min(crowd, key=_load))
        waiting = sorted((each for each in self._askers if each.waiting), key=_longest_waiting)
        shared = sum(place.asker is None or bool(place.asker.waiting) for place in crowd)
        for order, asker in enumerate(waiting):
            self._hand_out(asker, crowd, share=_share(order, shared, askers=len(waiting)))

    def _hand_out(self, asker: Asker, crowd: list[_Place], *, share: int) -> None:
        """Give the requests of one of those who ask to its share of the workers."""
        # Of more than its share those that have least to do are the first to be free for others.
        own = sorted((each for each in crowd if each.asker is asker), key=_load, reverse=True)
        free = [each for each in crowd if each.asker is None]
        places = [*own, *free][:share]
        while asker.waiting and places:
            place = min(places, key=_load)
            if len(place.under_way) >= self._room:
                return
            self._send(place, asker.waiting.popleft())

    def _begin_workers(self) -> None:
        for place in self._places:
            if place.worker is None and place.failed_beginnings < BEGINNINGS:
                place.worker = self._spawn(self._greeting, self._heard)

    def _send(self, place: _Place, ticket: int) -> None:
        line = encode_request(ticket, self._requests[ticket], timeout_seconds=self._timeout_seconds)
        if not place.under_way:  # it had nothing to say until now
            place.last_heard = time.monotonic()
        place.under_way.append(ticket)
        place.asker = self._asker_of[ticket]
        assert place.worker is not None
        place.worker.send(line)

    def _cancel(self, asker: Asker) -> None:
        """Forget requests of one of those who ask that have not begun, here and in the workers."""
        asker.stopping = True
        while asker.waiting:
            self._settle(asker.waiting.popleft())
        for place in self._places:
            if place.worker is not None and place.asker is asker:
                place.worker.send(encode({"cancel": True}))

    def _settle(self, ticket: int) -> Asker:
        """Take note that a request is no longer open; return who asked."""
        del self._requests[ticket]
        asker = self._asker_of.pop(ticket)
        asker.open.discard(ticket)
        return asker

    def _hear(self) -> None:
        """Take in one message, or find that a worker is silent for too long."""
        try:
            worker, message = self._heard.get(timeout=self._seconds_to_wait())
        except queue.Empty:
            self._give_up_the_silent()
            return
        if self._closed:  # by another thread, which ends the workers
            return
        place = next((each for each in self._places if each.worker is worker), None)
        if place is None:
            return  # it was given up before it said this
        place.last_heard = time.monotonic()
        if message is None:
            self._lost(place)
        elif "error" in message:
            raise TaskError(message["error"])
        else:
            self._take(place, message)

    def _seconds_to_wait(self) -> float:
        busy = [place.last_heard for place in self._places if place.under_way]
        if self._silence is None or not busy:
            return SECONDS_BETWEEN_LOOKS
        left = min(busy) + self._silence - time.monotonic()
        return max(0.0, min(left, SECONDS_BETWEEN_LOOKS))

    def _give_up_the_silent(self) -> None:
        """Give up the workers that have work and gave no sign for too long."""
        if self._silence is None:
            return
        for place in self._places:
            if place.under_way and place.last_heard + self._silence <= time.monotonic():
                self._lost(place, hung=True)

    def _take(self, place: _Place, message: Mapping[str, Any]) -> None:
        """Do what a worker's message says."""
        if "ready" in message:
            place.is_ready, place.failed_beginnings = True, 0
        if "ended" in message:
            self._end(place, message["ended"], Trial.from_dict(message["trial"]))
        for ticket in message.get("cancelled", ()):
            place.done(ticket)
            self._settle(ticket)

    def _end(self, place: _Place, ticket: int, trial: Trial) -> None:
        place.done(ticket)
        self._losses.pop(ticket, None)
        self._settle(ticket).ended.append((ticket, trial))

    def _lost(self, place: _Place, *, hung: bool = False) -> None:
        """Give up a worker that died or hangs; what it had under way is tried again alone."""
        assert place.worker is not None
        reason = place.worker.close()
        if not place.is_ready:
            self._failed_to_begin(place, reason)
        for ticket in tuple(place.under_way):
            self._losses[ticket] += 1
            if self._losses[ticket] < TRIES:
                self._alone.append(ticket)
            else:
                self._end(place, ticket, self._unscored(ticket, reason, hung=hung))
        place.clear()

    def _failed_to_begin(self, place: _Place, reason: str) -> None:
        """Take note that a worker ended before it was ready, for which no trial is to blame."""
        place.failed_beginnings += 1
        if all(each.failed_beginnings == BEGINNINGS for each in self._places):
            raise TaskError(
                f"task {self._loaded_task.name!r}: no worker gets ready to train: each of them "
                f"ended before, {BEGINNINGS} times ({reason}); mend the task, or see whether "
                "there is memory for it where workers run"
            )

    def _unscored(self, ticket: int, reason: str, *, hung: bool) -> Trial:
        """Return the trial of a request to which workers were lost."""
        kind = OutcomeKind.TIMED_OUT if hung else OutcomeKind.CRASHED
        sentence = f"crashed: ended its worker {TRIES} times ({reason})"
        if hung:
            sentence = f"timed out: no sign of it within {self._silence:g} seconds"
        request = self._requests[ticket]
        key = trial_key(request.rule, self._loaded_task, request.protocol, seed=request.seed)
        return Trial(key, Outcome(kind, sentence), None, provenance=Provenance(0.0))

    def when_others_wait(self, collect: Callable[[], None] | None) -> None:
        self._own.collect = collect

    @property
    def ended(self) -> int:
        return len(self._own.ended)

    @property
    def under_way(self) -> int:
        return sum(len(place.under_way) for place in self._places)

    def forget(self) -> None:
        for place in self._places:
            if place.worker is not None:
                place.worker.close()
            place.clear()
            place.failed_beginnings = 0
        for asker in self._askers:
            asker.forget()
        self._alone.clear()
        self._requests.clear()
        self._asker_of.clear()
        self._losses.clear()

    def close(self) -> None:
        self._closed = True
        self.forget()


def _load(place: _Place) -> int:
    return len(place.under_way)


def _share(order: int, places: int, *, askers: int) -> int:
    """Return how many places one of those who ask gets, by how many have waited longer.

    >>> [_share(order, 3, askers=2) for order in (0, 1)], _share(1, 1, askers=2)
    ([2, 2], 0)
    """
    return -(-places // askers) if places >= askers else int(order < places)


def _longest_waiting(asker: Asker) -> int:
    return asker.waiting[0]
