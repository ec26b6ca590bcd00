"""Population: many trials trained side by side, their lanes kept full.

Continuous batching: every lane has its own step counter and end. One that diverges, falls below a
threshold or finishes leaves its slot, and the next course takes it; a trial's probes occupy lanes
at the same time. A trial's figures do not depend on the others, to the bit.
"""

from __future__ import annotations

import copy
import heapq
import itertools
import logging
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from torch import nn

from evolute.lanes.base import LaneNetwork
from evolute.lanes.loop import LoopNetwork
from evolute.lang.rule import Rule
from evolute.tasks.base import Task
from evolute.tasks.copies import lost_in_copies
from evolute.tasks.data import Batch
from evolute.train.deck import Account, Deck, Lane
from evolute.train.equipment import Equipment
from evolute.train.memory import (
    MOST_LANES,
    is_out_of_memory,
    memory_in_words,
    too_little_memory,
)
from evolute.train.planning import (
    Ground,
    first_model,
    kind_of,
    models_of,
    most_lanes,
    plan_lanes,
)
from evolute.train.protocol import Protocol
from evolute.train.scoring import Course, Scoring
from evolute.train.trainer import require_scorable, scored_trial, trial_key
from evolute.trial import Trial, TrialKey

_log = logging.getLogger("evolute")

REMEMBERED_MODELS = 64
"""First models of different seeds that are kept."""

LEAST_SLOTS = 8
"""A deck is not made smaller than this when lanes leave it."""


MakeNetwork = Callable[[nn.Module, int], LaneNetwork]
"""Makes so many slots for copies of a model."""


@dataclass(eq=False, slots=True)
class _Job:
    """A trial that was asked for."""

    ticket: int
    rule: Rule
    protocol: Protocol
    seed: int
    limit_seconds: float
    key: TrialKey
    scoring: Scoring
    account: Account = field(default_factory=Account)

    @property
    def kind(self) -> str:
        """What trials must share to be trained by one deck."""
        return kind_of(self.protocol)


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
    ) -> None:
        self._task = task
        self._equipment = equipment or Equipment()
        self._given = self._make_network = make_network
        self._queue: deque[_Job] = deque()
        self._begun: dict[int, _Job] = {}
        self._ready: list[tuple[int, int, _Job, Course]] = []
        self._order = itertools.count()
        self._models: OrderedDict[tuple[int, int | None], nn.Module] = OrderedDict()
        self._deck: Deck | None = None
        self._kind: str | None = None
        self._most = self._equipment.lanes or MOST_LANES

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
            equal share; None is no limit.

        Raises
        ------
        TaskError, InputError
            As ``run_trial``.
        """
        require_scorable(self._task, protocol, timeout_seconds)
        self._queue.append(
            _Job(
                ticket,
                rule.canonical(),
                protocol,
                seed,
                math.inf if timeout_seconds is None else timeout_seconds,
                trial_key(rule, self._task, protocol, seed=seed),
                Scoring(protocol, self._task.metric, self._task.has_accuracy),
            )
        )

    @property
    def busy(self) -> bool:
        """Whether a trial is waiting or under way."""
        return bool(self._queue or self._begun)

    @property
    def under_way(self) -> tuple[int, ...]:
        """Tickets of the trials that have begun and not ended."""
        return tuple(self._begun)

    @property
    def lanes(self) -> int:
        """Number of trainings side by side at present."""
        return 0 if self._deck is None else len(self._deck.lanes)

    def drop_waiting(self) -> list[int]:
        """Forget the trials that have not begun; return their tickets."""
        tickets = [job.ticket for job in self._queue]
        self._queue.clear()
        return tickets

    def run(self) -> Iterator[tuple[int, Trial]]:
        """Step until nothing is left; yield each trial as it ends."""
        while self.busy:
            yield from self.step()

    def step(self) -> list[tuple[int, Trial]]:
        """Make one step of all lanes; return the trials that ended in it, with their tickets.

        Raises
        ------
        TaskError
            If the user's code raises, or not even one lane fits into the memory.
        """
        self._fill()
        deck = self._deck
        if deck is None or not deck.lanes:
            return []
        try:
            ended = deck.step()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._halve(error)
            return []
        trials = [trial for lane in ended for trial in self._ended(lane)]
        return trials + self._timed_out(deck)

    def _fill(self) -> None:
        """Give free slots to the courses that are ready, and begin trials for more of them."""
        while self._has_room() and (self._ready or self._begin_next()):
            deck = self._deck
            assert deck is not None
            if not deck.free:
                deck.resize(min(2 * deck.network.size, self._most))
            _, _, job, course = heapq.heappop(self._ready)
            if job.scoring.result is None:
                first = self._model if deck.keeps_models else self._first_model
                model = first(job.seed, job.protocol.width)
                deck.begin(Lane(course, job.rule, job.seed, job.account, job.ticket), model)
        self._shrink()

    def _begin_next(self) -> bool:
        """Begin the trial that has waited longest, if this deck can train it."""
        if not self._queue:
            return False
        job = self._queue[0]
        if job.kind != self._kind:
            if self._begun:
                return False
            self._open(job)
        self._queue.popleft()
        self._begun[job.ticket] = job
        for course in job.scoring.begin():
            self._push(job, course)
        return True

    def _push(self, job: _Job, course: Course) -> None:
        heapq.heappush(self._ready, (job.ticket, next(self._order), job, course))

    def _open(self, job: _Job) -> None:
        """Make the deck for trials like this one."""
        with memory_in_words(self._task.name, self._equipment.device):
            self._make_deck(job)

    def _make_deck(self, job: _Job) -> None:
        equipment = self._equipment
        model = self._model(job.seed, job.protocol.width)
        ground = Ground.of(self._task, job.protocol, seed=job.seed, model=model)
        self._most = most_lanes(equipment, ground.survey.bytes_per_lane)
        self._kind = job.kind
        self._sources, self._survey = ground.sources, ground.survey
        self._make_network = self._given or self._planned(job, ground.batch)
        self._new_deck(job, min(self._most, _power_of_two(len(self._queue))))

    def _planned(self, job: _Job, batch: Batch) -> MakeNetwork:
        """Return what makes the slots of a network by the plan that serves it."""
        why = self._survey.why_unchecked
        if why is not None:
            _log.info("task %r: plan 'loop': %s", self._task.name, why)
            return partial(LoopNetwork, device=self._equipment.device)
        choice = plan_lanes(
            self._task,
            models_of(self._task, job.seed, job.protocol.width),
            batch,
            protocol=job.protocol,
            bytes_per_lane=self._survey.bytes_per_lane,
            equipment=self._equipment,
        )
        _log.info("task %r: plan %r: %s", self._task.name, choice.plan, choice.why)
        return lambda _model, size: choice.make(size)

    def _new_deck(self, job: _Job, size: int) -> None:
        assert self._make_network is not None
        network = self._make_network(self._model(job.seed, job.protocol.width), size)
        self._deck = Deck(self._task, network, self._sources, self._survey)

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
            deck.resize(needed)

    def _model(self, seed: int, width: int | None) -> nn.Module:
        """Return a model of its own with the first weights of a seed."""
        first = self._first_model(seed, width)
        if lost_in_copies(first) is not None:
            return first_model(self._task, seed, width).train()
        return copy.deepcopy(first)

    def _first_model(self, seed: int, width: int | None) -> nn.Module:
        """Return the model that is kept with the first weights of a seed, not to be changed."""
        key = seed, width
        if key not in self._models:
            self._models[key] = first_model(self._task, seed, width).train()
            if len(self._models) > REMEMBERED_MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(key)
        return self._models[key]

    def _ended(self, lane: Lane) -> list[tuple[int, Trial]]:
        """Go on with the trial of a course that ended; return the trial if it ended too."""
        job = self._begun.get(lane.ticket)
        if job is None:  # another course of this trial ended it in the same step
            return []
        for course in job.scoring.ended(lane.course):
            self._push(job, course)
        if job.scoring.result is None:
            return []
        del self._begun[job.ticket]
        trial = scored_trial(job.key, job.scoring, seconds=job.account.seconds)
        return [(job.ticket, trial)]

    def _timed_out(self, deck: Deck) -> list[tuple[int, Trial]]:
        """End the trials whose time is over."""
        trials = []
        for job in [job for job in self._begun.values() if job.account.seconds > job.limit_seconds]:
            own = [lane for lane in deck.lanes if lane.ticket == job.ticket]
            for lane in own:
                deck.leave(lane)
            if own:
                own[0].course.steps = own[0].steps
                own[0].course.timed_out(job.limit_seconds)
                trials += self._ended(own[0])
        return trials

    def _halve(self, error: Exception) -> None:
        """Go on with half as many slots; courses under way begin again, so nothing is lost."""
        deck = self._deck
        assert deck is not None
        size = deck.network.size
        if size == 1:
            device = self._equipment.device
            raise too_little_memory(self._task.name, error, device=device) from error
        lanes, self._most = deck.lanes, max(1, size // 2)
        for lane in lanes:
            job = self._begun[lane.ticket]
            self._push(job, job.scoring.restarted(lane.course))
        self._deck = None  # its memory is free before the next one is made
        del deck
        self._new_deck(self._begun[lanes[0].ticket], self._most)


def _power_of_two(count: int) -> int:
    """Return the least power of two that is no less."""
    return 1 << max(count - 1, 0).bit_length()
