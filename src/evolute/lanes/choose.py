"""choose: the plan that serves a network, checked against the plain module and timed once."""

from __future__ import annotations

import copy
import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from evolute.errors import InputError, TaskError, UnknownNameError, shorten
from evolute.lanes.base import Batch, CannotStackError
from evolute.lanes.check import (
    APART,
    COMPANIES,
    MakeNetwork,
    Subject,
    check_against_plain,
    check_company,
    trained_names,
)
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.native_layers import kind as native_kind
from evolute.lanes.plans import PLANS as PLANS
from evolute.lanes.plans import Plan
from evolute.lanes.remembered import plan_key, recall, remember
from evolute.lanes.timing import plain_step, step_clock
from evolute.lanes.trimmed import EXAMPLES, examples_of, trimmed
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

QUICK_STEP_SECONDS = 0.02
"""Networks of which a plain step takes longer are compared with the plain module on batches cut
short."""

SLOW_STEP_SECONDS = 0.5
"""Networks of which a plain step takes longer are trained one by one in any case, as nothing is
gained by a pass of several; these plans too are timed on batches cut short."""

COMPANY_SECONDS = 1.0
"""A lane is tried among one lane and among as many as will be trained; among other numbers of
lanes, while the steps that takes are shorter than this."""

MOST_SECONDS = 7.0
"""After so long the fastest plan so far is taken, if one was found to serve."""

SPREAD = 0.01
"""Standard deviation by which the weights of the models of the check differ."""

_log = logging.getLogger("evolute")


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
    lanes: int | None = None,
    plan: str | None = None,
    precision: str = "float32",
    remembering: bool = True,
) -> Choice:
    """Return the fastest plan that serves a network rightly.

    Each plan is checked against the plain module (losses, gradients and buffers of two steps) and,
    on the CPU, for the same bits in any company; one that fails is refused with a line in the log
    of ``evolute``. Those left are timed once and the fastest is remembered in the user's cache
    directory; after :data:`MOST_SECONDS` no further plan is tried, and this process alone remembers
    the choice. Workers that must agree bit for bit are given the name that one of them chose.

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
        Lanes with which plans are timed.
    lanes
        Most lanes that will be trained side by side; None: ``size``.
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
    subject = _subject(build, batch, criterion, precision, torch.device(device))
    trial = _Trial(subject, name, lanes=lanes or size)
    if plan is not None:
        if plan not in PLANS:
            raise UnknownNameError("plan", plan, PLANS)
        return trial.only(plan)
    shapes = [tuple(part.shape) if isinstance(part, Tensor) else type(part) for part in batch]
    more = f"{precision} {size} {native_kind()}"
    key = plan_key(name, version, shapes, device=str(device), more=more)
    known = recall(key) if remembering else None
    if known in PLANS and trial.refusal(known) is None:
        return Choice(known, "remembered from an earlier run", trial.maker(known))
    choice = trial.fastest(size)
    if remembering:
        # A machine that was busy once must not fix a slow plan for good.
        remember(key, choice.plan, lasting=not trial.cut_off)
    return choice


class _Trial:
    """Plans tried on one network."""

    def __init__(self, subject: Subject, name: str, *, lanes: int) -> None:
        self._begun = time.perf_counter()
        self._subject = self._brief = subject
        self._name, self._lanes = name, lanes
        self._convolves = any(isinstance(each, nn.Conv2d) for each in subject.models[0].modules())
        self._faults: dict[str, Exception] = {}
        self.cut_off = False  # whether there was no time to try every plan
        trained, self._plain_seconds = self._first_steps()
        if not trained:
            raise TaskError(
                f"task {name!r}: no weight of its model gets a gradient from the loss: check "
                "requires_grad, and that the loss depends on the output"
            )
        self._spare: set[str] = set()
        self._without = (
            frozenset(each for each, _ in subject.models[0].named_parameters()) - trained
        )

    def _first_steps(self) -> tuple[frozenset[str], float]:
        """Return the trained weights and the seconds of a plain step; see what it is tried on."""
        whole = self._subject
        short = trimmed(whole)
        if short is None:
            return plain_step(whole)
        try:
            learned, seconds = plain_step(short)
        except Exception as fault:  # noqa: BLE001 - what is not due to the cut is raised again here
            trained, seconds = plain_step(whole)
            if seconds > QUICK_STEP_SECONDS:
                self._report_uncut(_reason(fault))
            return trained, seconds
        seconds *= examples_of(whole.batches[0]) / EXAMPLES
        if seconds <= QUICK_STEP_SECONDS:
            return plain_step(whole)
        # Some weights may learn from examples that are cut off alone (experts, a branch): a whole
        # first batch tells which, and plans are then tried on whole ones. One such step is enough.
        trained = trained_names(replace(whole, batches=(whole.batches[0], short.batches[1])))
        if trained == learned:
            self._brief = short
        return trained, seconds

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

    def refusal(self, plan: str) -> str | None:
        """Return why a plan cannot serve; None if it can."""
        row, subject = PLANS[plan], self._subject
        if subject.criterion.measure is not None and not row.whole_module:
            return "the task measures in a way of its own"
        try:
            self._check_against_plain(plan)
            if subject.device.type == "cpu" and not row.whole_module:
                self._check_company(plan)
        except CannotStackError as fault:
            return str(fault)
        except TaskError:
            raise
        except Exception as fault:  # noqa: BLE001 - a module may do anything, and each is a reason
            self._faults[plan] = fault
            return _reason(fault)
        return None

    def _check_against_plain(self, plan: str) -> None:
        try:
            check_against_plain(self.maker(plan), self._brief)
        except Exception:
            if self._brief is self._subject:
                raise
            check_against_plain(self.maker(plan), self._subject)  # it may count its examples

    def _check_company(self, plan: str) -> None:
        """Check for the same bits in any company; with a spare lane if it is needed."""
        counts = self._companies(PLANS[plan].together)
        try:
            check_company(self.maker(plan), self._subject, most=counts[-1], counts=counts)
        except CannotStackError:
            self._spare.add(plan)
            check_company(self.maker(plan), self._subject, most=counts[-1], counts=counts)

    def _companies(self, together: int) -> list[int]:
        """Return the numbers of lanes among which one lane must have the same bits."""
        most = min(self._lanes, together if together > 1 else APART)
        counts = {1, most}
        for count in sorted(each for each in COMPANIES if each < most):
            if 2 * sum({*counts, count}) * self._plain_seconds > COMPANY_SECONDS:
                break
            counts.add(count)
        return sorted(counts)

    def only(self, plan: str) -> Choice:
        """Return this plan, checked."""
        reason = self.refusal(plan)
        if reason is not None:
            raise InputError(
                f"plan {plan!r} cannot serve task {self._name!r}: {reason}; leave the plan out to "
                f"take one that can, or name another of {', '.join(PLANS)}"
            ) from self._faults.get(plan)
        return Choice(plan, "named by the user", self.maker(plan))

    def fastest(self, size: int) -> Choice:
        """Return the fastest plan that can serve, of those that there was time to try."""
        refused: dict[str, str] = {}
        seconds: dict[str, float] = {}
        # What is slow is best trained one by one: those plans are tried while there is time.
        slow = self._plain_seconds > QUICK_STEP_SECONDS
        order = sorted(PLANS, key=lambda plan: slow and not PLANS[plan].whole_module)
        for plan in order:
            row = PLANS[plan]
            if row.images_only and not self._convolves:
                continue
            if row.substitute and any(each.startswith("stacked") for each in seconds):
                continue
            if self._too_long(row, size):
                continue
            if seconds and time.perf_counter() - self._begun > MOST_SECONDS:
                self.cut_off = True
                self._report_untried(order[order.index(plan) :])
                break
            reason = self.refusal(plan)
            if reason is None:
                seconds[plan] = self._time(plan, min(size, LANES_TIMED))
            else:
                refused[plan] = reason
        if not seconds:
            raise TaskError(
                f"task {self._name!r}: no plan trains its network as the plain module does: "
                f"{refused['loop']}; let model= return a network whose loss, gradients and "
                "buffers follow from weights, buffers, inputs and draws alone"
            ) from self._faults.get("loop")
        self._report(refused)
        seconds = {plan: seconds[plan] for plan in PLANS if plan in seconds}
        best = next(iter(seconds))
        for plan, taken in seconds.items():
            if taken * MARGIN < seconds[best]:
                best = plan
        times = ", ".join(f"{plan} {1 / taken:.4g}" for plan, taken in seconds.items())
        return Choice(best, f"lane-steps per second: {times}", self.maker(best))

    def _too_long(self, row: Plan, size: int) -> bool:
        if self._plain_seconds > SLOW_STEP_SECONDS and not row.whole_module:
            return True
        lanes = min(row.together, size)
        return row.together > 4 and lanes * self._plain_seconds > SECONDS_PER_PASS

    def _report_untried(self, left: list[str]) -> None:
        """Say in one line that there was no time for these plans."""
        _log.warning(
            "task %r: after %.0f seconds the fastest plan so far is taken, and these are not "
            "tried: %s; name one with plan= to have it",
            self._name, time.perf_counter() - self._begun, ", ".join(left),
        )  # fmt: skip

    def _report_uncut(self, reason: str) -> None:
        """Say in one line why whole batches are tried."""
        _log.warning(
            "task %r: plans are tried on whole batches, which takes longer: on %d examples its "
            "network fails: %s",
            self._name, EXAMPLES, reason,
        )  # fmt: skip

    def _report(self, refused: dict[str, str]) -> None:
        """Say in one line why the faster plans cannot serve."""
        first = {reason: plan for plan, reason in reversed(refused.items())}
        for reason, plan in first.items():
            _log.warning("task %r: plan %r is not used: %s", self._name, plan, reason)

    def _time(self, plan: str, size: int) -> float:
        """Return the seconds of a lane-step: the median of several steps."""
        # Passes are alike: one of them tells the time of a lane-step.
        lanes = min(size, max(2, PLANS[plan].together))
        subject = self._brief if self._plain_seconds > SLOW_STEP_SECONDS else self._subject
        models, batch = subject.models, subject.batches[0]
        network = self.maker(plan)(lanes)
        for slot in range(lanes):
            network.put(slot, copy.deepcopy(models[slot % len(models)]))
        samples: list[float] = []
        clock = step_clock(subject.device)
        begun = time.perf_counter()
        while len(samples) <= SAMPLES:
            start = clock()
            measured = network.train_step(
                [batch] * lanes, range(lanes), self._subject.criterion, None
            )
            measured.losses.tolist()  # waits for the device
            samples.append((clock() - start) / lanes)
            if len(samples) > 1 and time.perf_counter() - begun > SECONDS_PER_PLAN:
                break
        return statistics.median(samples[1:])  # the first traces and allocates


def _reason(fault: Exception) -> str:
    return f"{type(fault).__name__}: {shorten(str(fault), limit=120)}"


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
