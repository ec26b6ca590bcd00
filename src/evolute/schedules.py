"""The base schedule of a training: warm-up, hold, cosine, and its mirror for the momentum.

Published method, section 1.4. :func:`warmup_hold_cosine` is the mathematics, a function of the
step; :class:`WarmupHoldCosine` hands it to a torch optimizer.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from evolute.errors import InputError

HIGH_MOMENTUM = 0.95
"""Momentum coefficient at both ends of a training."""

LOW_MOMENTUM = 0.85
"""Momentum coefficient while the learning rate is at its peak."""


def warmup_hold_cosine(
    step: int, total_steps: int, *, warmup_steps: int, hold_steps: int = 0
) -> tuple[float, float]:
    """Return the learning rate as a fraction of its peak, and the momentum coefficient, at a step.

    With W warm-up and H hold steps, and p = (t−W−H)/(T−W−H)::

        t < W        fraction t/W               momentum 0.95 − 0.10·t/W
        t < W + H    fraction 1                 momentum 0.85
        t < T        fraction ½(1+cos(πp))      momentum 0.85 + 0.10·p
        t ≥ T        fraction 0                 momentum 0.95

    Parameters
    ----------
    step
        t, counted from 0.
    total_steps, warmup_steps, hold_steps
        T, W and H, in optimizer steps.

    Examples
    --------
    >>> [round(warmup_hold_cosine(t, 8, warmup_steps=2, hold_steps=2)[0], 3) for t in range(9)]
    [0.0, 0.5, 1.0, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    fall = HIGH_MOMENTUM - LOW_MOMENTUM
    if step >= total_steps:
        return 0.0, HIGH_MOMENTUM
    if step < warmup_steps:
        return step / warmup_steps, HIGH_MOMENTUM - fall * step / warmup_steps
    start = warmup_steps + hold_steps
    if step < start:
        return 1.0, LOW_MOMENTUM
    fraction = (step - start) / (total_steps - start)
    return (1 + math.cos(math.pi * fraction)) / 2, LOW_MOMENTUM + fall * fraction


class WarmupHoldCosine(LRScheduler):
    """Drive the learning rate and the momentum coefficient of a torch optimizer.

    Each group's learning rate is its own peak (the rate it was made with) times the fraction of
    :func:`warmup_hold_cosine`. A group that has a ``momentum`` other than 0 gets the momentum
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

    Raises
    ------
    InputError
        If the lengths are not whole numbers, or warm-up and hold are longer than the whole.

    Examples
    --------
    >>> import torch
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = torch.optim.SGD([weight], lr=0.4, momentum=0.9)
    >>> scheduler = WarmupHoldCosine(optimizer, total_steps=100, warmup_steps=10)
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
    ) -> None:
        _require_lengths(total_steps, warmup_steps, hold_steps)
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.hold_steps = hold_steps
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rate of each group at this step, and set the groups' momentum."""
        fraction, momentum = warmup_hold_cosine(
            self.last_epoch,
            self.total_steps,
            warmup_steps=self.warmup_steps,
            hold_steps=self.hold_steps,
        )
        for group in self.optimizer.param_groups:
            if group.get("momentum"):
                group["momentum"] = momentum
        return [peak * fraction for peak in self.base_lrs]


def _require_lengths(total_steps: int, warmup_steps: int, hold_steps: int) -> None:
    lengths: tuple[object, ...] = (total_steps, warmup_steps, hold_steps)
    whole = all(isinstance(length, int) and length >= 0 for length in lengths)
    if not whole or total_steps < 1 or warmup_steps + hold_steps > total_steps:
        raise InputError(
            f"the schedule got total_steps={total_steps!r}, warmup_steps={warmup_steps!r}, "
            f"hold_steps={hold_steps!r}: give whole numbers of steps, at least one in total, the "
            "warm-up and the hold together no longer than the total"
        )
