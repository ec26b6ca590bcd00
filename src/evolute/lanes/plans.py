"""The table of plans: the ways to run lanes, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from evolute.lanes.base import LaneNetwork
from evolute.lanes.graphed import GraphedNetwork
from evolute.lanes.loop import LoopNetwork
from evolute.lanes.stacked.network import StackedNetwork
from evolute.lanes.vmap import VmapNetwork

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
    replays
        Whether it replays what it captured on an earlier step.
    """

    make: Make
    whole_module: bool = False
    images_only: bool = False
    substitute: bool = False
    together: int = 1
    replays: bool = False


def _stacked(together: int) -> Make:
    return lambda *args, **named: StackedNetwork(*args, together=together, **named)


def _graphed(together: int) -> Plan:
    return Plan(
        lambda *args, **named: GraphedNetwork(*args, together=together, **named),
        together=together,
        replays=True,
    )


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

GRAPHED: dict[str, Plan] = {
    "graphed": _graphed(64),
    "graphed/16": _graphed(16),
    "graphed/4": _graphed(4),
    "graphed/1": _graphed(1),
}
"""Plans of a GPU alone, which are preferred there."""


def plans_on(device: torch.device) -> dict[str, Plan]:
    """Return the plans that a device can have, in the order in which they are preferred.

    >>> next(iter(plans_on(torch.device("cuda")))), next(iter(plans_on(torch.device("cpu"))))
    ('graphed', 'stacked')
    """
    return {**GRAPHED, **PLANS} if device.type == "cuda" else dict(PLANS)
