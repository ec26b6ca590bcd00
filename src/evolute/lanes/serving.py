"""Serving: whether a plan does for a network what the plain module does, in any company."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace

from evolute.errors import TaskError
from evolute.lanes.base import CannotStackError
from evolute.lanes.check import (
    APART,
    COMPANIES,
    MakeNetwork,
    Subject,
    check_against_plain,
    check_company,
    trained_names,
)
from evolute.lanes.kinds import Kind, refusal_of_kinds
from evolute.lanes.plans import Plan
from evolute.lanes.refusals import reason_of
from evolute.lanes.shortage import is_out_of_memory
from evolute.lanes.timing import plain_step
from evolute.lanes.trimmed import EXAMPLES, examples_of, trimmed

QUICK_STEP_SECONDS = 0.02
"""Networks of which a plain step takes longer are compared with the plain module on batches cut
short."""

COMPANY_SECONDS = 1.0
"""A lane is tried among one lane and among as many as will be trained; among other numbers of
lanes, while the steps that takes are shorter than this."""

_UNCUT = (
    "task %r: plans are tried on whole batches, which takes longer: on %d examples its network "
    "fails: %s"
)
_log = logging.getLogger("evolute")


class Serving:
    """Whether plans serve a network rightly.

    Parameters
    ----------
    subject
        What they are tried on.
    name
        Of the task, for messages.
    plans
        Those there are on its device, by name.
    lanes
        Most lanes that will be trained side by side.
    alone
        Whether fewer lanes are not to be had, so that a lack of memory speaks against a plan.
    kinds
        Batches of other shapes that will come, one of each.

    Raises
    ------
    TaskError
        If no weight gets a gradient.
    """

    def __init__(
        self,
        subject: Subject,
        name: str,
        *,
        plans: Mapping[str, Plan],
        lanes: int,
        alone: bool = False,
        kinds: Sequence[Kind] = (),
    ) -> None:
        self._subject = self._brief = subject
        self._name, self._lanes, self._plans = name, lanes, plans
        self._faults: dict[str, Exception] = {}
        self._kinds, self._alone = kinds, alone
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
                _log.warning(_UNCUT, self._name, EXAMPLES, reason_of(fault))
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
        row, subject, without = self._plans[plan], self._subject, self._without
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
        row, subject = self._plans[plan], self._subject
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
        except Exception as fault:
            if is_out_of_memory(fault) and not self._alone:
                raise  # fewer lanes may fit
            return self._told(plan, fault)  # a module may do anything, and each is a reason
        return None

    def _told(self, plan: str, fault: Exception) -> str:
        """Remember why a plan fails, free what it held, and say it in words."""
        _let_go(fault)
        self._faults[plan] = fault
        return reason_of(fault)

    def final_refusal(self, plan: str) -> str | None:
        """Return why a plan cannot serve, on whatever batch there will be; None if it can."""
        return self.refusal(plan) or self._refusal_of_kinds(plan)

    def _refusal_of_kinds(self, plan: str) -> str | None:
        if self._plans[plan].whole_module:
            return None
        try:
            return refusal_of_kinds(self.maker(plan), self._subject, self._kinds)
        except Exception as fault:
            if not self._alone:
                raise
            return self._told(plan, fault)

    def _check_against_plain(self, plan: str) -> None:
        replays = self._plans[plan].replays
        try:
            return check_against_plain(self.maker(plan), self._brief, replays=replays)
        except Exception:
            if self._brief is self._subject:
                raise  # else it may count its examples
        # The fault is gone by now, and with it the networks that its traceback held.
        check_against_plain(self.maker(plan), self._subject, replays=replays)

    def _check_company(self, plan: str) -> None:
        """Check for the same bits in any company; with a spare lane if it is needed."""
        counts = self._companies(self._plans[plan].together)
        try:
            return check_company(self.maker(plan), self._subject, most=counts[-1], counts=counts)
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


def _let_go(fault: BaseException) -> None:
    """Free what the code that raised a fault held, networks of many lanes; its lines stay known."""
    each: BaseException | None = fault
    while each is not None:
        traceback.clear_frames(each.__traceback__)
        each = each.__cause__ or each.__context__
