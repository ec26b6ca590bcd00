"""The base schedule of a training: warm-up, hold, decay, and its mirror for the momentum.

Published method, section 1.4, whose decay is a cosine; the other shapes are there to tell how much
of a gain is the schedule. :func:`base_schedule` is the mathematics, a function of the step;
:class:`BaseSchedule` hands it to a torch optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Literal, get_args

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from evolute.errors import InputError, UnknownNameError

HIGH_MOMENTUM = 0.95
"""Momentum coefficient at both ends of a training."""

LOW_MOMENTUM = 0.85
"""Momentum coefficient while the learning rate is at its peak."""

LAST_PART = 0.3
"""Part of the decay in which the shape ``stable`` falls."""

Shape = Literal["cosine", "linear", "stable", "constant"]
"""How the learning rate falls after warm-up and hold."""

_DECAYS: MappingProxyType[str, Callable[[float], float]] = MappingProxyType(
    {
        "cosine": lambda p: (1 + math.cos(math.pi * p)) / 2,
        "linear": lambda p: 1 - p,
        "stable": lambda p: min(1.0, (1 - p) / LAST_PART),
        "constant": lambda _p: 1.0,
    }
)


def base_schedule(
    step: int, total_steps: int, *, warmup_steps: int, hold_steps: int = 0, shape: Shape = "cosine"
) -> tuple[float, float]:
    """Return the learning rate as a fraction of its peak, and the momentum coefficient, at a step.

    With W warm-up and H hold steps, and p = (t−W−H)/(T−W−H)::

        t < W        fraction t/W               momentum 0.95 − 0.10·t/W
        t < W + H    fraction 1                 momentum 0.85
        t < T        fraction f(p)              momentum 0.85 + 0.10·p
        t ≥ T        fraction f(1)              momentum 0.95

        cosine    f(p) = ½(1+cos(πp))
        linear    f(p) = 1 − p
        stable    f(p) = min(1, (1−p)/0.3): warm-up, stable, decay (Hu et al., 2024)
        constant  f(p) = 1

    The momentum is the same for all shapes, so that they differ in the learning rate alone.

    Parameters
    ----------
    step
        t, counted from 0.
    total_steps, warmup_steps, hold_steps
        T, W and H, in optimizer steps.
    shape
        Which f.

    Examples
    --------
    >>> [round(base_schedule(t, 8, warmup_steps=2, hold_steps=2)[0], 3) for t in range(9)]
    [0.0, 0.5, 1.0, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    fall = HIGH_MOMENTUM - LOW_MOMENTUM
    if step >= total_steps:
        return _DECAYS[shape](1.0), HIGH_MOMENTUM
    if step < warmup_steps:
        return step / warmup_steps, HIGH_MOMENTUM - fall * step / warmup_steps
    start = warmup_steps + hold_steps
    if step < start:
        return 1.0, LOW_MOMENTUM
    fraction = (step - start) / (total_steps - start)
    return _DECAYS[shape](fraction), LOW_MOMENTUM + fall * fraction


class BaseSchedule(LRScheduler):
    """Drive the learning rate and the momentum coefficient of a torch optimizer.

    Each group's learning rate is its own peak (the rate it was made with) times the fraction of
    :func:`base_schedule`. A group that has a ``momentum`` other than 0 gets the momentum
    coefficient too; plain ``SGD(momentum=0)`` stays plain. Used like any scheduler of torch:
    ``optimizer.step()``, then ``scheduler.step()``; ``state_dict`` holds numbers only.

    Parameters
    ----------
    optimizer
        The optimizer to drive; its groups' learning rates are the peaks.
    total_steps, warmup_steps, hold_steps
        Lengths in optimizer steps of the whole, the warm-up and the hold phase.
    last_epoch
        As in torch: −1 to begin, the index of the last step when restoring.
    shape
        How the learning rate falls: ``cosine``, ``linear``, ``stable`` or ``constant``.

    Raises
    ------
    InputError
        If the lengths are not whole numbers, warm-up and hold are longer than the whole, or the
        shape is unknown.

    Examples
    --------
    >>> import torch
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = torch.optim.SGD([weight], lr=0.4, momentum=0.9)
    >>> scheduler = BaseSchedule(optimizer, total_steps=100, warmup_steps=10, shape="linear")
    >>> for _ in range(5):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    0.2
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_steps: int,
        hold_steps: int = 0,
        last_epoch: int = -1,
        *,
        shape: Shape = "cosine",
    ) -> None:
        _require_lengths(total_steps, warmup_steps, hold_steps)
        if shape not in _DECAYS:
            raise UnknownNameError("shape of a schedule", shape, get_args(Shape))
        self.shape: Shape = shape
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.hold_steps = hold_steps
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rate of each group at this step, and set the groups' momentum."""
        fraction, momentum = base_schedule(
            self.last_epoch,
            self.total_steps,
            warmup_steps=self.warmup_steps,
            hold_steps=self.hold_steps,
            shape=self.shape,
        )
        for group in self.optimizer.param_groups:
            if group.get("momentum"):
                group["momentum"] = momentum
        return [peak * fraction for peak in self.base_lrs]


class WarmupHoldCosine(BaseSchedule):
    """The base schedule of the published method: a linear warm-up, a hold, and a cosine to 0.

    Parameters
    ----------
    optimizer, total_steps, warmup_steps, hold_steps, last_epoch
        As :class:`BaseSchedule`.

    Raises
    ------
    InputError
        As :class:`BaseSchedule`.

    Examples
    --------
    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.4, momentum=0.9)
    >>> WarmupHoldCosine(optimizer, total_steps=100, warmup_steps=10).shape
    'cosine'
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_steps: int,
        hold_steps: int = 0,
        last_epoch: int = -1,
    ) -> None:
        super().__init__(optimizer, total_steps, warmup_steps, hold_steps, last_epoch)


def _require_lengths(total_steps: int, warmup_steps: int, hold_steps: int) -> None:
    lengths: tuple[object, ...] = (total_steps, warmup_steps, hold_steps)
    whole = all(isinstance(length, int) and length >= 0 for length in lengths)
    if not whole or total_steps < 1 or warmup_steps + hold_steps > total_steps:
        raise InputError(
            f"the schedule got total_steps={total_steps!r}, warmup_steps={warmup_steps!r}, "
            f"hold_steps={hold_steps!r}: give whole numbers of steps, at least one in total, the "
            "warm-up and the hold together no longer than the total"
        )
