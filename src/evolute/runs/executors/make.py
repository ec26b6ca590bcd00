"""Which executor trains a task: processes can load a named one, but not an object."""

from __future__ import annotations

import os

from evolute.errors import InputError
from evolute.runs.executors.base import Executor
from evolute.runs.executors.in_process import InProcessExecutor
from evolute.runs.executors.local import LocalExecutor
from evolute.tasks.base import Task
from evolute.train.equipment import Equipment


def make_executor(
    task: str | Task,
    loaded: Task,
    *,
    workers: int | None,
    timeout_seconds: float | None,
    equipment: Equipment,
) -> Executor:
    """Return the executor that fits a task.

    Parameters
    ----------
    task
        The task as the user gave it.
    loaded
        The task itself.
    workers
        Processes that train; None: one per core.
    timeout_seconds
        Longest time for one trial; None is no limit.
    equipment
        What they train with.

    Raises
    ------
    InputError
        If the number of workers is none that fits.
    """
    if workers is not None and workers < 1:
        raise InputError(f"the number of workers is {workers}: give at least 1")
    if isinstance(task, str):
        return LocalExecutor(
            task,
            loaded,
            workers=workers or len(os.sched_getaffinity(0)),
            timeout_seconds=timeout_seconds,
            equipment=equipment,
        )
    if workers not in (None, 1):
        raise InputError(
            f"{workers} workers cannot share a Task object: each loads the task for itself, so "
            "give it as 'path/to/file.py:build', or leave workers out"
        )
    return InProcessExecutor(loaded, timeout_seconds=timeout_seconds, equipment=equipment)
