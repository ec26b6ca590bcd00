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
    """

    plan: str
    why: str
    make: MakeNetwork
