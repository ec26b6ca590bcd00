"""The executor that runs trials one after the other in this process.

For a task that exists only as a Python object, and for small work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from evolute.runs.executors.base import Executor, TrialRequest, never_stop
from evolute.tasks.base import Task
from evolute.train.trainer import run_trial
from evolute.trial import Trial


class InProcessExecutor(Executor):
    """Runs each trial in the calling thread.

    Parameters
    ----------
    task
        The task.
    timeout_seconds
        Longest time for one trial; None is no limit.
    """

    def __init__(self, task: Task, *, timeout_seconds: float | None = None) -> None:
        self._task = task
        self._timeout_seconds = timeout_seconds

    @property
    def workers(self) -> int:
        return 1

    def run(
        self, requests: Sequence[TrialRequest], *, stop: Callable[[], bool] = never_stop
    ) -> Iterator[tuple[int, Trial]]:
        for index, request in enumerate(requests):
            if stop():
                return
            yield (
                index,
                run_trial(
                    request.rule,
                    self._task,
                    request.protocol,
                    seed=request.seed,
                    timeout_seconds=self._timeout_seconds,
                ),
            )
