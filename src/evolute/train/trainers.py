"""Trainers: what trains a stream of trials in one process, side by side or one after the other."""

from __future__ import annotations

from collections import deque
from typing import Protocol as Interface

from evolute.lang.rule import Rule
from evolute.tasks.base import Task
from evolute.train.equipment import PLAIN, Equipment, require_device
from evolute.train.population import Population
from evolute.train.protocol import Protocol
from evolute.train.trainer import require_scorable, run_trial
from evolute.trial import Trial


class Trainer(Interface):
    """What :class:`evolute.train.population.Population` and :class:`OneByOne` have in common."""

    def add(
        self,
        ticket: int,
        rule: Rule,
        protocol: Protocol,
        *,
        seed: int,
        timeout_seconds: float | None = None,
    ) -> None:
        """Ask for a trial."""

    @property
    def busy(self) -> bool:
        """Whether a trial is waiting or under way."""

    def drop_waiting(self) -> list[int]:
        """Forget the trials that have not begun; return their tickets."""

    def step(self) -> list[tuple[int, Trial]]:
        """Train on a little; return the trials that ended, with their tickets."""


class OneByOne:
    """Trains one trial after the other, each as :func:`evolute.train.trainer.run_trial` does.

    Parameters
    ----------
    task
        The task.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._queue: deque[tuple[int, Rule, Protocol, int, float | None]] = deque()

    def add(
        self,
        ticket: int,
        rule: Rule,
        protocol: Protocol,
        *,
        seed: int,
        timeout_seconds: float | None = None,
    ) -> None:
        """Ask for a trial, as :meth:`Population.add` does."""
        require_scorable(self._task, protocol, timeout_seconds=timeout_seconds)
        self._queue.append((ticket, rule, protocol, seed, timeout_seconds))

    @property
    def busy(self) -> bool:
        """Whether a trial is waiting."""
        return bool(self._queue)

    def drop_waiting(self) -> list[int]:
        """Forget the trials that have not begun; return their tickets."""
        tickets = [ticket for ticket, *_ in self._queue]
        self._queue.clear()
        return tickets

    def step(self) -> list[tuple[int, Trial]]:
        """Train the trial that has waited longest, to its end."""
        if not self._queue:
            return []
        ticket, rule, protocol, seed, limit = self._queue.popleft()
        trial = run_trial(rule, self._task, protocol, seed=seed, timeout_seconds=limit)
        return [(ticket, trial)]


def make_trainer(task: Task, equipment: Equipment) -> Trainer:
    """Return the trainer that a plan names.

    Raises
    ------
    InputError
        If this process has no such device.
    """
    require_device(equipment.device)
    return OneByOne(task) if equipment.plan == PLAIN else Population(task, equipment)
