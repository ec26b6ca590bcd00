"""Which executor trains a task: processes can load a named one, but not an object."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from evolute.errors import InputError, UnknownNameError
from evolute.runs.executors.base import Executor
from evolute.runs.executors.in_process import InProcessExecutor
from evolute.runs.executors.local import LocalExecutor
from evolute.runs.executors.process import BegunWorkers
from evolute.runs.executors.ray import RayExecutor, parse_resources
from evolute.tasks.base import Task
from evolute.train.equipment import Equipment

LOCAL, RAY = "local", "ray"

EXECUTORS = (LOCAL, RAY)
"""Names of what trains."""


@dataclass(frozen=True, slots=True)
class RayCluster:
    """A Ray cluster, and what of it a search takes.

    Parameters
    ----------
    address
        As ``ray.init`` takes it, such as ``"10.0.0.1:6379"``; None: the cluster that runs on this
        machine or that the environment variable RAY_ADDRESS names, else one of this machine alone.
    resources_per_worker
        What each worker reserves on its node, by Ray's names: ``"CPU=1,GPU=0.5"``.
    working_folder
        A folder that goes to each node once, in which workers then work; None: they work where
        Ray starts them.
    """

    address: str | None = None
    resources_per_worker: str = "CPU=1"
    working_folder: Path | None = None


def begin_workers(
    task: str | Task, *, workers: int | None, where: str | RayCluster = LOCAL
) -> BegunWorkers:
    """Begin the processes of the executor that fits a task, where they are on this machine.

    They import what they need, which takes seconds, while it is found out what they will be told.
    Whoever begins them closes them, or hands them to :func:`make_executor`, whose executor does.

    Parameters
    ----------
    task, workers, where
        As in :func:`make_executor`; what it refuses begins no process.
    """
    local = isinstance(task, str) and where == LOCAL and (workers is None or workers >= 1)
    return BegunWorkers(_count(workers) if local else 0)


def _count(workers: int | None) -> int:
    """Return how many processes train on this machine: one per core unless told otherwise."""
    return workers or len(os.sched_getaffinity(0))


def make_executor(
    task: str | Task,
    loaded: Task,
    *,
    workers: int | None,
    timeout_seconds: float | None,
    equipment: Equipment,
    where: str | RayCluster = LOCAL,
    begun: BegunWorkers | None = None,
) -> Executor:
    """Return the executor that fits a task.

    Parameters
    ----------
    task
        The task as the user gave it.
    loaded
        The task itself.
    workers
        Processes that train; None: one per core, or as many as fit on the cluster.
    timeout_seconds
        Longest time for one trial; None is no limit.
    equipment
        What they train with.
    where
        ``"local"``, ``"ray"``, or a cluster.
    begun
        What :func:`begin_workers` returned for the same task; the executor's from now on.

    Raises
    ------
    InputError
        If the number of workers is none that fits, or the cluster cannot be used.
    UnknownNameError
        If there is no such executor.
    """
    if isinstance(where, str) and where not in EXECUTORS:
        raise UnknownNameError("executor", where, EXECUTORS)
    if workers is not None and workers < 1:
        raise InputError(f"the number of workers is {workers}: give at least 1")
    if isinstance(task, str) and where != LOCAL:
        cluster = RayCluster() if isinstance(where, str) else where
        return RayExecutor(
            task,
            loaded,
            resources=parse_resources(cluster.resources_per_worker),
            workers=workers,
            address=cluster.address,
            working_folder=cluster.working_folder,
            timeout_seconds=timeout_seconds,
            equipment=equipment,
        )
    if isinstance(task, str):
        return LocalExecutor(
            task,
            loaded,
            workers=_count(workers),
            timeout_seconds=timeout_seconds,
            equipment=equipment,
            begun=begun,
        )
    if workers not in (None, 1) or where != LOCAL:
        who = f"{workers} workers" if where == LOCAL else "workers of a cluster"
        raise InputError(
            f"{who} cannot share a Task object: each loads the task for itself, so "
            "give it as 'path/to/file.py:build', or leave workers out"
        )
    return InProcessExecutor(loaded, timeout_seconds=timeout_seconds, equipment=equipment)
