"""How long steps take: of the plain module, and of several plans that take turns.

Other work on the machine makes steps slow, never fast, and it comes and goes: so plans are timed in
turns, round after round, and the least of a plan's times counts.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from evolute.lanes.base import LaneNetwork
from evolute.lanes.check import MakeNetwork, Subject, trained_names
from evolute.lanes.remembered import SITTINGS, Times

SAMPLES = 5
SECONDS_PER_PLAN = 1.0
"""In the first round a plan makes so many steps, or goes on for so long, whichever ends first."""

ROUNDS = 6
STEPS_PER_ROUND = 3
SECONDS_OF_ROUNDS = 1.0
"""After the first, so many rounds more at most, of so many steps of each plan, in so long."""

UNDISTURBED = 0.9
"""Share of the time on the wall that a thread must have had for its times to count in full."""


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


class Stopwatch:
    """Times steps of the lanes of a plan.

    Parameters
    ----------
    make
        Makes the network.
    subject
        What it is tried on.
    lanes
        How many step.

    Attributes
    ----------
    least
        Least seconds of a lane-step so far.
    own, wall
        Seconds that all steps timed took, by the clock of steps and on the wall.
    """

    def __init__(self, make: MakeNetwork, subject: Subject, lanes: int) -> None:
        self._subject, self._lanes = subject, lanes
        self._network: LaneNetwork | None = make(lanes)
        for slot in range(lanes):
            model = subject.models[slot % len(subject.models)]
            self._network.put(slot, copy.deepcopy(model))
        self._clock = step_clock(subject.device)
        self.least = float("inf")
        self.own = self.wall = 0.0
        self._step()  # the first traces and allocates

    def run(self, steps: int, *, seconds: float = float("inf")) -> None:
        """Time so many steps, or as many as go into these seconds, at least one."""
        end = time.perf_counter() + seconds
        for _ in range(steps):
            start, began = self._clock(), time.perf_counter()
            self._step()
            taken = self._clock() - start
            self.own += taken
            self.wall += time.perf_counter() - began
            self.least = min(self.least, taken / self._lanes)
            if time.perf_counter() > end:
                break

    def release(self) -> None:
        """Give the network's memory back; no more steps are timed."""
        self._network = None

    def _step(self) -> None:
        assert self._network is not None
        batches = [self._subject.batches[0]] * self._lanes
        measured = self._network.train_step(
            batches, range(self._lanes), self._subject.criterion, None
        )
        measured.losses.tolist()  # waits for the device


def take_turns(watches: Sequence[Stopwatch]) -> None:
    """Let plans that have been timed once be timed again, round after round."""
    end = time.perf_counter() + SECONDS_OF_ROUNDS
    for _ in range(ROUNDS if len(watches) > 1 else 0):
        for watch in watches:
            watch.run(STEPS_PER_ROUND)
        if time.perf_counter() > end:
            return


def undisturbed(own: float, wall: float) -> bool:
    """Say whether the machine was left to who took these times.

    >>> undisturbed(1.0, 1.5)
    False
    """
    return own >= UNDISTURBED * wall


def times_of_sitting(
    seconds: Mapping[str, float],
    watches: Mapping[str, Stopwatch],
    known: Times,
    *,
    finished: bool,
) -> Times:
    """Return the times that one sitting took, beside those that were known.

    Parameters
    ----------
    seconds
        What was known of the plans that serve.
    watches
        Those that were timed now.
    known
        What was known before.
    finished
        Whether there was time to try every plan.
    """
    least = {plan: min(each.least, seconds.get(plan, each.least)) for plan, each in watches.items()}
    own = sum(each.own for each in watches.values())
    wall = sum(each.wall for each in watches.values())
    sittings = SITTINGS if undisturbed(own, wall) else known.sittings + 1
    return Times({**seconds, **least}, sittings if finished else 0, finished)
