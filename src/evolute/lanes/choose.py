"""choose: the plan that serves a network, checked against the plain module and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from evolute.errors import InputError, TaskError, UnknownNameError
from evolute.lanes import serving
from evolute.lanes.base import Batch
from evolute.lanes.check import Subject, subject_of
from evolute.lanes.choice import Choice as Choice
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.kinds import Kind
from evolute.lanes.native_layers import kind as native_kind
from evolute.lanes.plans import PLANS as PLANS
from evolute.lanes.plans import Plan, plans_on
from evolute.lanes.refusals import report
from evolute.lanes.remembered import (
    Times,
    plan_key,
    recall,
    remember,
    take,
    taken_here,
)
from evolute.lanes.serving import Serving
from evolute.lanes.timing import (
    SAMPLES,
    SECONDS_PER_PLAN,
    Stopwatch,
    take_turns,
    times_of_sitting,
)

LANES_TIMED = 64

SECONDS_PER_PASS = 1.0
"""Plans of 16 and 64 lanes are left out where as many plain steps take longer: such networks gain
nothing from more lanes in a pass, and trying them would take most of a minute."""

SLOW_STEP_SECONDS = 0.5
"""Networks of which a plain step takes longer are trained one by one in any case, as nothing is
gained by a pass of several; these plans too are timed on batches cut short."""

MOST_SECONDS = {"cpu": 7.0, "cuda": 60.0}
"""After so long the fastest plan so far is taken, if one serves. A GPU's libraries load slowly."""


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
    most: int | None = None,
    plan: str | None = None,
    precision: str = "float32",
    remembering: bool = True,
    kinds: Sequence[Kind] = (),
) -> Choice:
    """Return the fastest plan that serves a network rightly.

    Each plan is checked against the plain module (losses, gradients and buffers of two steps) and,
    on the CPU, for the same bits in any company; one that fails is refused with a line in the log
    of ``evolute``. Those left are timed in turns, and this process stays with the fastest. Their
    times are remembered in the user's cache directory, and taken once more by later processes while
    other work on the machine may have spoilt them; so are plans for which there was no time, as
    none is tried after :data:`MOST_SECONDS`. Workers that must agree bit for bit are given the name
    that one of them chose.

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
    most
        Most lanes that are tried, as memory ran out with more; None: it did not. A plan that was
        taken before stays what it is. What is found for want of memory is kept by this process
        alone, and where this is 1, a plan for which memory runs out does not serve.
    plan
        Name of a plan to take without timing.
    precision
        ``"float32"``, or ``"bf16"`` for autocast.
    remembering
        Whether to read and write the file of remembered plans.
    kinds
        Batches of other shapes that will be trained on or evaluated, one of each; the plan taken is
        right on them too.

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
    subject = subject_of(build, batch, criterion=criterion, precision=precision, device=device)
    if most is not None:
        lanes = min(lanes or size, most)
    trial = _Trial(subject, name, lanes=lanes or size, alone=most == 1, kinds=kinds)
    plans = plans_on(subject.device)
    if plan is not None:
        if plan not in plans:
            raise UnknownNameError("plan", plan, plans)
        return trial.only(plan)
    shapes = [tuple(part.shape) if isinstance(part, Tensor) else type(part) for part in batch]
    more = f"{precision} {size} {native_kind()}"
    key = plan_key(name, version, shapes, device=str(device), more=more)
    times = recall(key) if remembering else Times()
    here = taken_here(key) if remembering else None
    known = here or (times.best(plans) if times.settled else None)
    if known in plans and trial.final_refusal(known) is None:
        if here is None:
            take(key, known)
            report(name, times.refused, [], seconds=0.0)
        return Choice(known, "remembered from an earlier run", trial.maker(known), lanes)
    choice = trial.fastest(size, times) if most is None else trial.fastest(min(size, most))
    if remembering and most is None:
        remember(key, choice.plan, trial.times)
    elif remembering:
        take(key, choice.plan)  # later runs may have the memory, and among more lanes other times
    return choice


class _Trial(Serving):
    """Plans tried on one network."""

    def __init__(
        self,
        subject: Subject,
        name: str,
        *,
        lanes: int,
        alone: bool = False,
        kinds: Sequence[Kind] = (),
    ) -> None:
        self._begun = time.perf_counter()
        plans = plans_on(subject.device)
        super().__init__(subject, name, plans=plans, lanes=lanes, alone=alone, kinds=kinds)
        self._convolves = any(isinstance(each, nn.Conv2d) for each in subject.models[0].modules())
        self.times = Times()

    def only(self, plan: str) -> Choice:
        """Return this plan, checked."""
        reason = self.final_refusal(plan)
        if reason is not None:
            raise InputError(
                f"plan {plan!r} cannot serve task {self._name!r}: {reason}; leave the plan out to "
                f"take one that can, or name another of {', '.join(self._plans)}"
            ) from self._faults.get(plan)
        return Choice(plan, "named by the user", self.maker(plan), self._lanes)

    def fastest(self, size: int, known: Times = Times()) -> Choice:  # noqa: B008 - frozen
        """Return the fastest plan that can serve, of those that there was time to try.

        Parameters
        ----------
        size
            Lanes with which plans are timed.
        known
            Times that were taken before, of plans that served then.
        """
        refused: dict[str, str] = {}
        watches: dict[str, Stopwatch] = {}
        seconds = {plan: known.seconds[plan] for plan in self._plans if plan in known.seconds}
        order = self._order(size)
        left: list[str] = []
        for plan in order:
            if plan in seconds and not known.finished:
                continue  # the others come first
            tried = {*seconds, *watches}
            if self._plans[plan].substitute and any(map(self._is_traced, tried)):
                continue
            if tried and self._is_late():
                left = order[order.index(plan) :]
                break
            reason = self.refusal(plan)
            if reason is None:
                watches[plan] = self._timed(plan, min(size, LANES_TIMED))
            else:
                refused[plan] = reason
                seconds.pop(plan, None)
        if self._times_in_turns:
            take_turns([*watches.values()])
        self.times = times_of_sitting(seconds, watches, known, finished=not left)
        best = self._best(refused)
        if best is None:
            raise TaskError(
                f"task {self._name!r}: no plan trains its network as the plain module does: "
                f"{refused['loop']}; let model= return a network whose loss, gradients and "
                "buffers follow from weights, buffers, inputs and draws alone"
            ) from self._faults.get("loop")
        if best not in watches and self.refusal(best) is not None:  # it served once
            return self.fastest(size)
        report(self._name, refused, left, seconds=time.perf_counter() - self._begun)
        times = ", ".join(f"{plan} {1 / each:.4g}" for plan, each in self.times.seconds.items())
        return Choice(best, f"lane-steps per second: {times}", self.maker(best), self._lanes)

    def _best(self, refused: dict[str, str]) -> str | None:
        """Return the fastest plan that is right on the other batches too."""
        while (best := self.times.best(self._plans)) is not None:
            reason = self._refusal_of_kinds(best)
            if reason is None:
                break
            refused[best] = reason
            seconds = {plan: each for plan, each in self.times.seconds.items() if plan != best}
            self.times = replace(self.times, seconds=seconds)
        if best is None and "loop" not in refused:  # for which was no time
            reason = self.refusal("loop")
            if reason is None:
                best = "loop"
            else:
                refused["loop"] = reason
        self.times = replace(self.times, refused={**refused})
        return best

    def _order(self, size: int) -> list[str]:
        """Return the plans to be tried, in this order."""
        # What is slow is best trained one by one: those plans are tried while there is time.
        slow = self._plain_seconds > serving.QUICK_STEP_SECONDS
        order = sorted(self._plans, key=lambda plan: slow and not self._plans[plan].whole_module)
        return [
            plan
            for plan in order
            if (self._convolves or not self._plans[plan].images_only)
            and not self._too_long(self._plans[plan], size)
        ]

    def _is_late(self) -> bool:
        most = MOST_SECONDS["cuda" if self._subject.device.type == "cuda" else "cpu"]
        return time.perf_counter() - self._begun > most

    def _is_traced(self, plan: str) -> bool:
        row = self._plans[plan]
        return not row.substitute and not row.whole_module

    def _too_long(self, row: Plan, size: int) -> bool:
        if self._plain_seconds > SLOW_STEP_SECONDS and not row.whole_module:
            return True
        lanes = min(row.together, size)
        return row.together > 4 and lanes * self._plain_seconds > SECONDS_PER_PASS

    def _timed(self, plan: str, size: int) -> Stopwatch:
        """Return the watch of a plan, with the times of a first round."""
        # Passes are alike: one of them tells the time of a lane-step.
        lanes = min(size, max(2, self._plans[plan].together))
        subject = self._brief if self._plain_seconds > SLOW_STEP_SECONDS else self._subject
        watch = Stopwatch(self.maker(plan), subject, lanes)
        watch.run(SAMPLES, seconds=SECONDS_PER_PLAN)
        if not self._times_in_turns:
            watch.release()
        return watch

    @property
    def _times_in_turns(self) -> bool:
        """Whether the networks of all plans are kept, to be timed again."""
        return self._plain_seconds <= serving.QUICK_STEP_SECONDS and not self._alone
