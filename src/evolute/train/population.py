"""Population: many trials trained side by side, their lanes kept full.

Continuous batching: every lane has its own step counter and end. One that diverges, falls below a
threshold or finishes leaves its slot, and the next course takes it; a trial's probes occupy lanes
at the same time. A trial's figures do not depend on the others, to the bit.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

from evolute.lanes.base import CannotStackError
from evolute.lang.rule import Rule
from evolute.tasks.base import Task
from evolute.tasks.faults import naming
from evolute.train.deck import Deck
from evolute.train.equipment import Equipment
from evolute.train.first_models import FirstModels
from evolute.train.job import Job
from evolute.train.lane import Lane
from evolute.train.memory import MOST_LANES, is_out_of_memory, too_little_memory
from evolute.train.protocol import Protocol
from evolute.train.scoring import Course
from evolute.train.trainer import require_scorable
from evolute.train.workshop import MakeNetwork as MakeNetwork
from evolute.train.workshop import Workshop
from evolute.trial import Trial

_log = logging.getLogger("evolute")

LEAST_SLOTS = 8
"""A deck is not made smaller than this when lanes leave it."""

SHARE_ASIDE = 8
"""Of so many lanes, one is for the trials that only the loop can train."""


class Population:
    """Trains trials of one task side by side; one thread at a time.

    To be stepped inside :func:`evolute.train.environment.fixed_environment`.

    Parameters
    ----------
    task
        The task.
    equipment
        What to work with.
    make_network
        Makes the slots of a network in place of the plan that the equipment names.
    clock
        Seconds of a steady clock, for time limits.

    Examples
    --------
    >>> from evolute.tasks.user import load_task
    >>> from evolute.train.environment import fixed_environment
    >>> from evolute.train.protocol import PROTOCOLS
    >>> protocol = PROTOCOLS["quick"].main.at_rate(1e-3)
    >>> population = Population(load_task("digits"))
    >>> for ticket, text in enumerate(["v/sqrt(s)", "g"]):
    ...     population.add(ticket, Rule.parse(text), protocol, seed=0)
    >>> with fixed_environment():
    ...     trials = dict(population.run())
    >>> [trials[ticket].outcome.kind.value for ticket in (0, 1)]
    ['finished', 'below threshold']
    """

    def __init__(
        self,
        task: Task,
        equipment: Equipment | None = None,
        *,
        make_network: MakeNetwork | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._task, self._clock = task, clock
        self._equipment = equipment or Equipment()
        self._make_network = make_network
        self._queue: deque[Job] = deque()
        self._begun: dict[int, Job] = {}
        self._ready: list[tuple[int, int, Job, Course]] = []
        self._training: dict[Lane, None] = {}  # in the order in which they began
        self._ended: list[tuple[int, Trial]] = []
        self._order = itertools.count()
        self._models = FirstModels(task)
        self._workshop: Workshop | None = None
        self._deck: Deck | None = None
        self._most = self._equipment.lanes or MOST_LANES
        self._asked = 1  # slots of the deck that was made last
        self._last_try = False  # whether one slot ran out of memory already
        self._aside: Population | None = None
        self._waits = False  # until the trials aside have ended
        self._told: set[str] = set()

    def add(
        self,
        ticket: int,
        rule: Rule,
        protocol: Protocol,
        *,
        seed: int,
        timeout_seconds: float | None = None,
    ) -> None:
        """Ask for a trial, as :func:`evolute.train.trainer.run_trial` makes it.

        Parameters
        ----------
        ticket
            The name under which the trial is handed out.
        rule, protocol, seed
            What is tried.
        timeout_seconds
            The trial ends as *timed out* after this time, of which each lane of a step takes an
            equal share; None is no limit. What counts is what its figures took: not the time of
            steps that were lost, as memory ran out or the trial began again by another plan.

        Raises
        ------
        TaskError, InputError
            As ``run_trial``.
        """
        require_scorable(self._task, protocol, timeout_seconds=timeout_seconds)
        self._queue.append(
            Job.of(
                ticket,
                rule,
                protocol=protocol,
                task=self._task,
                seed=seed,
                timeout_seconds=timeout_seconds,
            )
        )

    @property
    def busy(self) -> bool:
        """Whether a trial is waiting or under way."""
        return bool(self._queue or self._begun) or self._is_busy_aside

    @property
    def _is_busy_aside(self) -> bool:
        return self._aside is not None and self._aside.busy

    @property
    def under_way(self) -> tuple[int, ...]:
        """Tickets of the trials that have begun and not ended."""
        aside = () if self._aside is None else self._aside.under_way
        return (*self._begun, *aside)

    @property
    def lanes(self) -> int:
        """Number of trainings side by side at present."""
        own = 0 if self._deck is None else len(self._deck.lanes)
        return own + (0 if self._aside is None else self._aside.lanes)

    def drop_waiting(self) -> list[int]:
        """Forget the trials that have not begun; return their tickets."""
        tickets = [job.ticket for job in self._queue]
        self._queue.clear()
        return tickets + ([] if self._aside is None else self._aside.drop_waiting())

    def run(self) -> Iterator[tuple[int, Trial]]:
        """Step until nothing is left; yield each trial as it ends."""
        while self.busy:
            yield from self.step()

    def step(self) -> list[tuple[int, Trial]]:
        """Make one step of all lanes; return the trials that ended in it, with their tickets.

        Where memory runs out, half as many lanes go on at the next step.

        Raises
        ------
        InputError
            If the plan that is named cannot serve the network.
        TaskError
            If the user's code raises, or not even one lane fits into the memory.
        """
        ran_out = False
        self._waits = self._waits and self._is_busy_aside
        try:
            with naming(self._task.name):
                if not self._waits:
                    self._advance()
                if self._aside is not None and self._is_busy_aside:
                    self._ended += self._aside.step()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._ran_out(error)
            ran_out = True
        if ran_out:  # the error is gone, and with it what the code that raised it held
            gc.collect()
        ended, self._ended = self._ended, []
        return ended

    def _advance(self) -> None:
        """Fill the slots and make one step of them."""
        self._fill()
        deck = self._deck
        if deck is None or not deck.lanes:
            return
        for lane in deck.step():
            self._left(lane)
        self._time_out()

    def _fill(self) -> None:
        """Give free slots to the courses that are ready, and begin trials for more of them."""
        while self._has_room() and (self._ready or self._begin_next()):
            deck = self._deck or self._make_deck()
            if not deck.free:
                self._resize(deck, min(2 * deck.network.size, self._most))
            _, _, job, course = self._ready[0]
            if job.scoring.result is None and not self._begin(deck, job, course):
                continue
            heapq.heappop(self._ready)
        self._shrink()

    def _begin(self, deck: Deck, job: Job, course: Course) -> bool:
        """Give a slot to a course; say whether the plan of the deck can train its model."""
        model = self._models.own if deck.keeps_models else self._models.kept
        lane = Lane(course, job.rule, job.seed, job.account, job.ticket)
        try:
            deck.begin(lane, model(job.seed, job.protocol.width))
        except CannotStackError as fault:
            self._set_aside(job, f"plan {deck.network.plan!r}: {fault}")
            return False
        self._training[lane] = None
        return True

    def _begin_next(self) -> bool:
        """Begin the trial that has waited longest, if this deck can train it."""
        if not self._queue:
            return False
        job = self._queue[0]
        if self._workshop is None or job.kind != self._workshop.kind:
            if self._begun:
                return False
            self._deck, self._asked = None, 1
            self._workshop = Workshop.of(
                self._task,
                job.protocol,
                equipment=self._equipment,
                models=self._models,
                make_network=self._make_network,
            )
            self._most = self._workshop.most
        self._queue.popleft()
        self._begun[job.ticket] = job
        for course in job.scoring.begin():
            self._push(job, course)
        return True

    def _push(self, job: Job, course: Course) -> None:
        heapq.heappush(self._ready, (job.ticket, next(self._order), job, course))

    def _make_deck(self) -> Deck:
        """Make a deck for all that waits, as large as it may be."""
        assert self._workshop is not None
        waiting = len(self._queue) + len(self._ready)
        self._asked = min(self._most, _power_of_two(waiting))
        self._deck = self._workshop.deck(self._asked, clock=self._clock)
        return self._deck

    def _resize(self, deck: Deck, size: int) -> None:
        """Change the number of slots; for a moment both are there, the old ones and the new."""
        self._asked = max(size, deck.network.size)
        deck.resize(size)
        self._asked = size

    def _has_room(self) -> bool:
        """Whether one more lane fits."""
        deck = self._deck
        return deck is None or bool(deck.free) or deck.network.size < self._most

    def _shrink(self) -> None:
        """Give memory back when nothing waits for the slots that are free."""
        deck = self._deck
        if deck is None or self._queue or self._ready:
            return
        needed = max(LEAST_SLOTS, _power_of_two(len(deck.lanes)))
        if 2 * needed < deck.network.size:
            self._resize(deck, needed)

    def _left(self, lane: Lane) -> None:
        """Go on with the trial of a lane that left its slot."""
        job = self._begun.get(lane.ticket)
        if job is not None and lane.refusal is not None:
            self._set_aside(job, lane.refusal)
        elif job is not None:  # else another course of this trial ended it in the same step
            for course in job.scoring.ended(lane.course):
                self._push(job, course)
            if job.scoring.result is not None:
                self._ended.append((job.ticket, job.trial()))
                del self._begun[job.ticket]
            self._last_try = False
        self._training.pop(lane, None)

    def _time_out(self) -> None:
        """End the trials whose time is over."""
        for job in [job for job in self._begun.values() if job.is_late]:
            own = self._stop(job)
            if own:
                own[0].course.steps = own[0].steps
                own[0].course.timed_out(job.limit_seconds)
                self._left(own[0])

    def _stop(self, job: Job) -> list[Lane]:
        """Free the slots of a trial; return the lanes that were in them."""
        assert self._deck is not None
        own = [lane for lane in self._deck.lanes if lane.ticket == job.ticket]
        for lane in own:
            self._deck.leave(lane)
        for lane in [lane for lane in self._training if lane.ticket == job.ticket]:
            del self._training[lane]
        return own

    def _set_aside(self, job: Job, reason: str) -> None:
        """Let a trial begin again in the loop, beside all others.

        Whether it must is a property of the trial, of its seed and the batches it comes to, so its
        result is the same whenever that is found out, and so are those of all others. So its time
        begins anew too: what it took until then says nothing about it in the loop.
        """
        if reason not in self._told:
            self._told.add(reason)
            _log.warning(
                "task %r: %s; the trials that meet this are trained by the plan 'loop', from "
                "their beginning", self._task.name, reason,
            )  # fmt: skip
        self._stop(job)
        self._ready = [entry for entry in self._ready if entry[2] is not job]
        heapq.heapify(self._ready)
        del self._begun[job.ticket]
        if self._aside is None:
            lanes = max(1, self._most // SHARE_ASIDE)
            equipment = replace(self._equipment, plan="loop", lanes=lanes, chosen=())
            self._aside = Population(self._task, equipment, clock=self._clock)
        self._aside.add(
            job.ticket,
            job.rule,
            job.protocol,
            seed=job.seed,
            timeout_seconds=job.timeout_seconds,
        )

    def _ran_out(self, error: Exception) -> None:
        """Go on with half as many slots; courses under way begin again, so nothing is lost."""
        for lane in self._training:
            job = self._begun.get(lane.ticket)
            if job is not None:
                job.account.seconds -= lane.seconds
                self._push(job, job.scoring.restarted(lane.course))
        self._training.clear()
        self._deck = None  # its memory is free before the next one is made
        if self._workshop is not None:
            self._workshop.ground.sources.forget()
        if self._asked > 1:
            self._most = self._asked // 2
            _log.info(
                "task %r: memory ran out with %d lanes: %d at most go on",
                self._task.name, self._asked, self._most,
            )  # fmt: skip
        elif self._is_busy_aside and not self._waits:
            self._waits = True
        elif not self._last_try:  # what was kept is given back: once more
            self._last_try = True
        else:
            raise too_little_memory(
                self._task.name, error, device=self._equipment.device
            ) from error


def _power_of_two(count: int) -> int:
    """Return the least power of two that is no less."""
    return 1 << max(count - 1, 0).bit_length()
