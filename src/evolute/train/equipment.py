"""Equipment: what trials are trained with; no part of their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from evolute.errors import InputError, UnknownNameError
from evolute.lanes.choose import PLANS

PLAIN = "plain"
"""Plan of the trainer that trains one trial after the other, without lanes."""

AUTO = "auto"
"""Plan that is chosen for each network."""

PLAN_NAMES = (AUTO, PLAIN, *PLANS)
"""What a plan may be called."""


@dataclass(frozen=True, slots=True)
class Equipment:
    """What trials are trained with.

    Parameters
    ----------
    lanes
        Most trainings side by side in one process, at least 1; None: what fits into the memory, at
        most :data:`evolute.train.memory.MOST_LANES`.
    memory_bytes
        Memory for the trainings of all processes; None: half of what is free when they begin.
    plan
        How many copies of a network are computed: a name of :mod:`evolute.lanes.choose`, ``auto``
        for the fastest, or ``plain`` for one trial after the other without lanes.
    device
        Where networks are trained.
    shared_by
        Processes that share the memory of the machine.
    chosen
        Plans already found for ``auto``: pairs of a kind of network and a plan, as
        :func:`evolute.train.planning.choose_plans` writes them.

    Raises
    ------
    InputError
        If ``lanes`` is below 1.
    UnknownNameError
        If the plan is unknown.
    """

    lanes: int | None = None
    memory_bytes: int | None = None
    plan: str = AUTO
    device: str = "cpu"
    shared_by: int = 1
    chosen: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.lanes is not None and self.lanes < 1:
            raise InputError(f"the number of lanes is {self.lanes}: give at least 1")
        if self.plan not in PLAN_NAMES:
            raise UnknownNameError("plan", self.plan, PLAN_NAMES)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; :meth:`from_dict` reverses it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote."""
        chosen = tuple((kind, plan) for kind, plan in data.get("chosen", ()))
        return cls(**{**data, "chosen": chosen})
