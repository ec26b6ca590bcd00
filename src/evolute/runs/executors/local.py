"""The executor of one machine: worker processes, one core each, their lanes kept full.

One single-threaded process per core trains faster than one process with all threads (measured:
1.1 to 1.5 times). Workers speak JSON over pipes and are forked by an interpreter of their own, not
by the user's program (:mod:`.fork_server`), so a script needs no ``__main__`` guard and nothing is
pickled.
"""

from __future__ import annotations

from dataclasses import replace

from evolute.runs.executors.crowd import GRACE_SECONDS, CrowdExecutor
from evolute.runs.executors.process import BegunWorkers
from evolute.tasks.base import Task
from evolute.train.equipment import Equipment


class LocalExecutor(CrowdExecutor):
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
    grace_seconds
        How much longer a worker may give no sign before it is killed.
    begun
        Processes for its workers that have begun.
    """

    def __init__(
        self,
        task: str,
        loaded_task: Task,
        *,
        workers: int,
        timeout_seconds: float | None = None,
        equipment: Equipment | None = None,
        grace_seconds: float = GRACE_SECONDS,
        begun: BegunWorkers | None = None,
    ) -> None:
        self._begun = begun or BegunWorkers()
        super().__init__(
            task,
            loaded_task,
            workers=workers,
            spawn=self._begun.spawn,
            equipment=replace(equipment or Equipment(), shared_by=workers),
            timeout_seconds=timeout_seconds,
            grace_seconds=grace_seconds,
        )

    def close(self) -> None:
        super().close()
        self._begun.close()
