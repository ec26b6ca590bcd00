"""The clock of steps, and how long a step of the plain module takes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch

from evolute.lanes.check import Subject, trained_names


def step_clock(device: torch.device) -> Callable[[], float]:
    """Return the clock, in seconds, by which steps are timed: other work must not make them slow.

    On the CPU it is that of this thread, which stands still while others have their turn: trials
    run on one thread, in which torch computes backward too. The clock on the wall serves for a GPU,
    whose work is no thread's, and under Windows, where a thread's clock moves 16 ms at a time.

    Parameters
    ----------
    device
        Where the steps run; on a GPU the caller waits for it before the clock is read.

    Examples
    --------
    >>> clock = step_clock(torch.device("cpu"))
    >>> clock() <= clock()
    True
    """
    own = device.type == "cpu" and os.name == "posix"
    return time.thread_time if own else time.perf_counter


def plain_step(subject: Subject) -> tuple[frozenset[str], float]:
    """Return the trained weights, and the seconds of a plain step."""
    trained = trained_names(subject)
    clock = step_clock(subject.device)
    begun = clock()
    trained_names(subject)  # once more: the first time torch warms up
    return trained, (clock() - begun) / len(subject.batches)
