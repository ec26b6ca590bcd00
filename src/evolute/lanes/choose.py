"""choose: the plan that serves a network, checked against the plain module and timed once."""

from __future__ import annotations

import copy
import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from evolute.errors import InputError, TaskError, UnknownNameError, shorten
from evolute.lanes.base import Batch, CannotStackError, LaneNetwork
from evolute.lanes.check import (
    MakeNetwork,
    Subject,
    check_against_plain,
    check_company,
    trained_names,
)
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.loop import LoopNetwork
from evolute.lanes.remembered import plan_key, recall, remember
from evolute.lanes.stacked.network import StackedNetwork
from evolute.lanes.vmap import VmapNetwork
from evolute.seeds import torch_generator

MARGIN = 1.15
"""A plan later in the table must be so many times faster to be chosen, so that noise in the times
does not change the plan."""

LANES_TIMED = 64
SAMPLES = 5
SECONDS_PER_PLAN = 1.0
"""Times of a plan are taken for so long, or SAMPLES times, whichever ends first."""

SECONDS_PER_PASS = 1.0
"""Plans of 16 and 64 lanes are left out where as many plain steps take longer: such networks gain
nothing from more lanes in a pass, and trying them would take most of a minute."""

SPREAD = 0.01
"""Standard deviation by which the weights of the models of the check differ."""

_log = logging.getLogger("evolute")

Make = Callable[..., LaneNetwork]


@dataclass(frozen=True, slots=True)
class Plan:
    """A way to run lanes.

    Parameters
    ----------
    make
        (template, size, device=, precision=, without=) -> LaneNetwork.
    whole_module
        Whether it calls plain modules, and so serves a task that measures in a way of its own.
    images_only
        Whether it differs from another plan for convolutional networks alone.
    substitute
        Whether it is tried only where the stacked plan cannot serve.
    together
        Lanes of one pass.
    """

    make: Make
    whole_module: bool = False
    images_only: bool = False
    substitute: bool = False
    together: int = 1


def _stacked(together: int) -> Make:
    return lambda *args, **named: StackedNetwork(*args, together=together, **named)


def _channels_last(*args: Any, **named: Any) -> LaneNetwork:
    return LoopNetwork(*args, channels_last=True, **named)


PLANS: dict[str, Plan] = {
    "stacked": Plan(_stacked(64), together=64),
    "stacked/16": Plan(_stacked(16), together=16),
    "stacked/4": Plan(_stacked(4), together=4),
    "stacked/1": Plan(_stacked(1)),
    "vmap": Plan(VmapNetwork, substitute=True),
    "loop channels_last": Plan(_channels_last, whole_module=True, images_only=True),
    "loop": Plan(LoopNetwork, whole_module=True),
}
"""Plans by name, in the order in which they are preferred; a number is how many lanes run together
in one pass."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The plan that was chosen.

    Parameters
    ----------
    plan
        Its name in :data:`PLANS`.
    why
        One line: times, or why others were refused.
    make
        size -> LaneNetwork.
    """

    plan: str
    why: str
    make: MakeNetwork


def choose(
    build: Callable[[], nn.Module],
    batch: Batch,
    criterion: LaneCriterion,
    *,
    name: str,
    version: str,
    device: torch.device | str = "cpu",
    size: int = LANES_TIMED,
    plan: str | None = None,
    precision: str = "float32",
    remembering: bool = True,
) -> Choice:
    """Return the fastest plan that serves a network rightly.

    Each plan is checked against the plain module (losses, gradients and buffers of two steps) and,
    on the CPU, for the same bits in any company; one that fails is refused with a line in the log
    of ``evolute``. Those left are timed once and the fastest is remembered in the user's cache
    directory. Workers that must agree bit for bit are given the name that one of them chose.

    Parameters
    ----------
    build
        Returns a new plain model.
    batch
        A training batch.
    criterion
        Loss and metric.
    name, version
        Of the task; with the shapes of the batch they say which remembered plan is meant.
    device
        Where the lanes will run.
    size
        Lanes that will run together.
    plan
        Name of a plan to take without timing.
    precision
        ``"float32"``, or ``"bf16"`` for autocast.
    remembering
        Whether to read and write the file of remembered plans.

    Raises
    ------
    UnknownNameError
        If there is no plan of that name.
    InputError
        If the plan given cannot serve the network.
    TaskError
        If the network has lazy weights, or none gets a gradient.

    Examples
    --------
    >>> criterion = LaneCriterion(nn.functional.cross_entropy, named_loss="cross_entropy")
    >>> batch = (torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))
    >>> choice = choose(
    ...     lambda: nn.Linear(3, 2), batch, criterion, name="line", version="1", plan="stacked"
    ... )
    >>> choice.make(8).size
    8
    """
    trial = _Trial(_subject(build, batch, criterion, precision, torch.device(device)), name)
    if plan is not None:
        if plan not in PLANS:
            raise UnknownNameError("plan", plan, PLANS)
        return trial.only(plan, size)
    shapes = [tuple(part.shape) if isinstance(part, Tensor) else type(part) for part in batch]
    more = f"{precision} {size}"
    key = plan_key(name, version, shapes, device=str(device), more=more)
    known = recall(key) if remembering else None
    if known in PLANS and trial.refusal(known, size) is None:
        return Choice(known, "remembered from an earlier run", trial.maker(known))
    choice = trial.fastest(size)
    if remembering:
        remember(key, choice.plan)
    return choice


class _Trial:
    """Plans tried on one network."""

    def __init__(self, subject: Subject, name: str) -> None:
        self._subject = subject
        self._name = name
        self._convolves = any(isinstance(each, nn.Conv2d) for each in subject.models[0].modules())
        trained = trained_names(subject)
        if not trained:
            raise TaskError(
                f"task {name!r}: no weight of its model gets a gradient from the loss: check "
                "requires_grad, and that the loss depends on the output"
            )
        begun = time.perf_counter()
        trained_names(subject)  # once more: the first time torch warms up
        self._plain_seconds = (time.perf_counter() - begun) / len(subject.batches)
        self._spare: set[str] = set()
        self._without = (
            frozenset(each for each, _ in subject.models[0].named_parameters()) - trained
        )

    def maker(self, plan: str) -> MakeNetwork:
        """Return what makes a network of a plan."""
        row, subject, without = PLANS[plan], self._subject, self._without
        more = {"spare": True} if plan in self._spare else {}
        return lambda size: row.make(
            subject.models[0],
            size,
            device=subject.device,
            precision=subject.precision,
            without=without,
            **more,
        )

    def refusal(self, plan: str, size: int) -> str | None:
        """Return why a plan cannot serve; None if it can."""
        row, subject = PLANS[plan], self._subject
        if subject.criterion.measure is not None and not row.whole_module:
            return "the task measures in a way of its own"
        try:
            check_against_plain(self.maker(plan), subject)
            if subject.device.type == "cpu" and not row.whole_module:
                self._check_company(plan, size)
        except CannotStackError as fault:
            return str(fault)
        except TaskError:
            raise
        except Exception as fault:  # noqa: BLE001 - a module may do anything, and each is a reason
            return f"{type(fault).__name__}: {shorten(str(fault), limit=120)}"
        return None

    def _check_company(self, plan: str, size: int) -> None:
        """Check for the same bits in any company; with a spare lane if it is needed."""
        # A pass of a large network takes seconds: it is tried among fewer.
        most = min(size, max(5, int(SECONDS_PER_PASS / self._plain_seconds)))
        try:
            check_company(self.maker(plan), self._subject, most=most)
        except CannotStackError:
            self._spare.add(plan)
            check_company(self.maker(plan), self._subject, most=most)

    def only(self, plan: str, size: int) -> Choice:
        """Return this plan, checked."""
        reason = self.refusal(plan, size)
        if reason is not None:
            raise InputError(
                f"plan {plan!r} cannot serve task {self._name!r}: {reason}; leave the plan out to "
                f"take one that can, or name another of {', '.join(PLANS)}"
            )
        return Choice(plan, "named by the user", self.maker(plan))

    def fastest(self, size: int) -> Choice:
        """Return the fastest plan that can serve."""
        refused: dict[str, str] = {}
        seconds: dict[str, float] = {}
        for plan, row in PLANS.items():
            if row.images_only and not self._convolves:
                continue
            if row.substitute and any(each.startswith("stacked") for each in seconds):
                continue
            if self._too_long(row, size):
                continue
            reason = self.refusal(plan, size)
            if reason is None:
                seconds[plan] = self._time(plan, min(size, LANES_TIMED))
            else:
                refused[plan] = reason
        if not seconds:
            raise TaskError(
                f"task {self._name!r}: no plan trains its network as the plain module does: "
                f"{refused['loop']}; let model= return a network whose loss, gradients and "
                "buffers follow from weights, buffers, inputs and draws alone"
            )
        self._report(refused)
        best = next(iter(seconds))
        for plan, taken in seconds.items():
            if taken * MARGIN < seconds[best]:
                best = plan
        times = ", ".join(f"{plan} {1 / taken:.4g}" for plan, taken in seconds.items())
        return Choice(best, f"lane-steps per second: {times}", self.maker(best))

    def _too_long(self, row: Plan, size: int) -> bool:
        lanes = min(row.together, size)
        return row.together > 4 and lanes * self._plain_seconds > SECONDS_PER_PASS

    def _report(self, refused: dict[str, str]) -> None:
        """Say in one line why the faster plans cannot serve."""
        first = {reason: plan for plan, reason in reversed(refused.items())}
        for reason, plan in first.items():
            _log.warning("task %r: plan %r is not used: %s", self._name, plan, reason)

    def _time(self, plan: str, size: int) -> float:
        """Return the seconds of a lane-step: the median of several steps."""
        # Passes are alike: one of them tells the time of a lane-step.
        lanes = min(size, max(2, PLANS[plan].together))
        network = self.maker(plan)(lanes)
        models, batch = self._subject.models, self._subject.batches[0]
        for slot in range(lanes):
            network.put(slot, copy.deepcopy(models[slot % len(models)]))
        samples: list[float] = []
        begun = time.perf_counter()
        while len(samples) <= SAMPLES:
            start = time.perf_counter()
            measured = network.train_step(
                [batch] * lanes, range(lanes), self._subject.criterion, None
            )
            measured.losses.tolist()  # waits for the device
            samples.append((time.perf_counter() - start) / lanes)
            if len(samples) > 1 and time.perf_counter() - begun > SECONDS_PER_PLAN:
                break
        return statistics.median(samples[1:])  # the first traces and allocates


def _subject(
    build: Callable[[], nn.Module],
    batch: Batch,
    criterion: LaneCriterion,
    precision: str,
    device: torch.device,
) -> Subject:
    models = tuple(build() for _ in range(3))
    for lane, model in enumerate(models):
        generator = torch_generator(lane, "lane check")
        for name, weight in model.named_parameters():
            if is_lazy(weight):
                raise TaskError(
                    f"the weight {name!r} is lazy, its shape unknown until a first batch: let "
                    "model= run its network on a batch before it returns it, or give the sizes"
                )
            if lane and weight.is_floating_point():
                noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
                weight.data.add_(noise.to(weight.device), alpha=SPREAD)
    inputs, targets = batch
    turned = inputs.flip(0) if isinstance(inputs, Tensor) and inputs.ndim else inputs
    return Subject(models, (batch, (turned, targets)), criterion, precision, device)
