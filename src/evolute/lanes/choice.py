"""Choice: the plan that was chosen for a network."""

from __future__ import annotations

from dataclasses import dataclass

from evolute.lanes.check import MakeNetwork


@dataclass(frozen=True, slots=True)
class Choice:
    """The plan that was chosen.

    Parameters
    ----------
    plan
        Its name in :func:`~evolute.lanes.plans.plans_on` its device.
    why
        One line: times, or why others were refused.
    make
        size -> LaneNetwork.
    lanes
        Most lanes among which one was seen to have the same bits as alone; None: as were asked for.
    """

    plan: str
    why: str
    make: MakeNetwork
    lanes: int | None = None
