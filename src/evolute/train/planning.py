"""Planning: which plan of the lanes serves the network of a task, the same in every process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from torch import nn

from evolute.lanes.choose import LANES_TIMED, Choice, choose
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.remembered import plans_file
from evolute.tasks.base import Task
from evolute.tasks.criteria import LOSSES, METRICS
from evolute.tasks.data import Batch
from evolute.train.equipment import AUTO, Equipment
from evolute.train.protocol import Protocol

TIMED_BYTES = 2 * 2**30
"""Memory of the lanes with which plans are timed. Not what is free: the plan, and with it the last
bits of every figure, must not depend on the hour."""


PATIENCE_SECONDS = 20.0
"""How long a process waits for others that find plans: one that hangs must not stop them all."""


def lane_criterion(task: Task) -> LaneCriterion:
    """Return how lanes of a task are measured.

    Examples
    --------
    >>> from evolute.tasks.user import load_task
    >>> lane_criterion(load_task("digits")).named_loss
    'cross_entropy'
    """
    loss, metric = task.criteria
    if task.measures_itself:
        return LaneCriterion(task.loss, metric, measure=task.measure)
    return LaneCriterion(
        task.loss,
        metric,
        named_loss=next((name for name, row in LOSSES.items() if row is loss), None),
        named_metric=next((name for name, row in METRICS.items() if row is metric), None),
    )


def plan_lanes(
    task: Task,
    build: Callable[[], nn.Module],
    batch: Batch,
    *,
    protocol: Protocol,
    bytes_per_lane: int,
    equipment: Equipment,
) -> Choice:
    """Return the plan that serves a network, as asked for or the fastest.

    The first process on a machine that needs it finds it and writes it down; others wait for that,
    so that all of them get the same bits.

    Parameters
    ----------
    task
        The task.
    build
        Returns a new model.
    batch
        A training batch.
    protocol
        Width of the network, and the precision.
    bytes_per_lane
        Memory of one lane.
    equipment
        What to train with.

    Raises
    ------
    InputError
        If the plan that is asked for cannot serve the network.
    TaskError
        If no plan can.
    """
    fitting = max(1, TIMED_BYTES // max(1, bytes_per_lane))
    with _one_at_a_time():
        return choose(
            build,
            batch,
            lane_criterion(task),
            name=task.name,
            version=f"{task.version} width {protocol.width}",
            device=equipment.device,
            size=min(LANES_TIMED, 1 << (fitting.bit_length() - 1)),
            plan=None if equipment.plan == AUTO else equipment.plan,
            precision=protocol.precision,
        )


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold the lock of the remembered plans; where files cannot be locked, do without."""
    try:
        import fcntl  # not there on every system

        path = plans_file().with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    except (ImportError, OSError):
        yield
        return
    with lock:
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:  # another process is finding a plan
                time.sleep(0.05)
        yield
