"""Equipment: what trials are trained with; no part of their keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch

from evolute.errors import InputError, UnknownNameError
from evolute.lanes.plans import GRAPHED, PLANS

PLAIN = "plain"
"""Plan of the trainer that trains one trial after the other, without lanes."""

AUTO = "auto"
"""Plan that is chosen for each network."""

PLAN_NAMES = (AUTO, PLAIN, *PLANS, *GRAPHED)
"""What a plan may be called."""

CPU = "cpu"

_DEVICE = re.compile(r"cpu|cuda(:\d+)?")


def has_device(device: str) -> bool:
    """Say whether torch has a device in this process.

    >>> has_device("cpu")
    True
    """
    if device == CPU:
        return True
    _, _, number = device.partition(":")
    return torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count()


def require_device(device: str) -> None:
    """Raise unless torch has a device in this process.

    Raises
    ------
    InputError
        If it has not.
    """
    if has_device(device):
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        found = f"torch sees {count} here, the first of which is 'cuda:0'"
    elif torch.version.cuda is None:
        found = f"torch {torch.__version__} is built without CUDA"
    else:
        found = "torch finds no GPU here"
    raise InputError(f"there is no device {device!r}: {found}; give 'cpu', or leave --device out")


@dataclass(frozen=True, slots=True)
class Equipment:
    """What trials are trained with.

    Parameters
    ----------
    lanes
        Most trainings side by side in one process, at least 1; None: what fits into the memory, at
        most :data:`evolute.train.memory.MOST_LANES`.
    memory_bytes
        Memory for the trainings of all processes that share it; None: half of what is free when
        they begin.
    plan
        How many copies of a network are computed: a name of :mod:`evolute.lanes.choose`, ``auto``
        for the fastest, or ``plain`` for one trial after the other without lanes.
    device
        Where networks are trained: ``cpu``, ``cuda`` or ``cuda:1``.
    shared_by
        Processes that share the memory of the device: of the machine, or of one GPU.
    chosen
        Plans already found for ``auto``: pairs of a kind of network and a plan, as
        :func:`evolute.train.planning.choose_plans` writes them.

    Raises
    ------
    InputError
        If ``lanes`` is below 1, the device is none of these, or not one that the plan trains on.
    UnknownNameError
        If the plan is unknown.
    """

    lanes: int | None = None
    memory_bytes: int | None = None
    plan: str = AUTO
    device: str = CPU
    shared_by: int = 1
    chosen: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.lanes is not None and self.lanes < 1:
            raise InputError(f"the number of lanes is {self.lanes}: give at least 1")
        if self.plan not in PLAN_NAMES:
            raise UnknownNameError("plan", self.plan, PLAN_NAMES)
        if not _DEVICE.fullmatch(self.device):
            raise InputError(f"malformed device {self.device!r}: give 'cpu', 'cuda' or 'cuda:1'")
        if self.plan == PLAIN and self.device != CPU:
            raise InputError(
                f"plan {PLAIN!r} trains on the CPU alone: leave it out to train on {self.device!r}"
            )
        if self.plan in GRAPHED and self.device == CPU:
            raise InputError(
                f"plan {self.plan!r} trains on a GPU alone: give --device cuda, or leave it out"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; :meth:`from_dict` reverses it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote."""
        chosen = tuple((kind, plan) for kind, plan in data.get("chosen", ()))
        return cls(**{**data, "chosen": chosen})
