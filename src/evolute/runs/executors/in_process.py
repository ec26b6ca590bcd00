"""The executor that trains in this process.

For a task that exists only as a Python object, and for small work.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable

from evolute.runs.executors.base import Executor, TrialRequest, never_stop
from evolute.tasks.base import Task
from evolute.tasks.faults import calling
from evolute.train.environment import fixed_environment
from evolute.train.equipment import Equipment
from evolute.train.trainers import Trainer, make_trainer
from evolute.trial import Trial

_ADVICE = "mend the task, or name another plan: config={'plan': 'loop'}"


class InProcessExecutor(Executor):
    """Trains in the calling thread, while it waits for the next trial.

    Parameters
    ----------
    task
        The task.
    timeout_seconds
        Longest time for one trial; None is no limit.
    equipment
        What to train with.
    """

    def __init__(
        self,
        task: Task,
        *,
        timeout_seconds: float | None = None,
        equipment: Equipment | None = None,
    ) -> None:
        self._task = task
        self._timeout_seconds = timeout_seconds
        self._equipment = equipment or Equipment()
        self._tickets = itertools.count()
        self._trainer: Trainer | None = None
        self._ended: deque[tuple[int, Trial]] = deque()

    @property
    def workers(self) -> int:
        return 1

    def submit(self, request: TrialRequest) -> int:
        if self._trainer is None:
            self._trainer = make_trainer(self._task, self._equipment)
        ticket = next(self._tickets)
        self._trainer.add(
            ticket,
            request.rule,
            request.protocol,
            seed=request.seed,
            timeout_seconds=self._timeout_seconds,
        )
        return ticket

    def next(self, stop: Callable[[], bool] = never_stop) -> tuple[int, Trial] | None:
        trainer = self._trainer
        if not self._ended and trainer is not None:
            training = calling(self._task.name, "its training", advice=_ADVICE)
            try:
                with training, fixed_environment():
                    while trainer.busy and not self._ended:
                        if stop():
                            trainer.drop_waiting()
                        self._ended.extend(trainer.step())
            except BaseException:
                self.forget()
                raise
        return self._ended.popleft() if self._ended else None

    @property
    def ended(self) -> int:
        return len(self._ended)

    def forget(self) -> None:
        self._trainer = None
        self._ended.clear()
