"""RateSchedule: one known learning-rate schedule as data, and how an optimizer is put under it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from evolute.compiler.execute import RATE_WHERE_INFINITE, scheduled_rate
from evolute.errors import InputError
from evolute.lang.curve import curve
from evolute.lang.expression import Expression
from evolute.lang.text import parse_schedule, print_expression
from evolute.schedules import WarmupHoldCosine
from evolute.zoo.entry import Origin

SCHEDULE_KIND = "schedule"
"""The ``kind`` of a file of ``zoo/entries`` that holds a schedule."""


@dataclass(frozen=True, slots=True)
class RateSchedule:
    """A known learning-rate schedule: a factor on the learning rate, a function of t/T.

    Parameters
    ----------
    name
        As it is loaded: the stem of its file.
    title
        As the literature calls it.
    expression
        The factor, of sort schedule.
    origin
        Its source.
    notes
        Sentences on variants and mended faults of the source.
    """

    name: str
    title: str
    expression: Expression
    origin: Origin
    notes: tuple[str, ...] = ()

    def factor(self, total_steps: int, *, lr: float | None = None) -> Callable[[int], float]:
        """Return the factor as a function of the step, as torch's ``LambdaLR`` takes it.

        Parameters
        ----------
        total_steps
            T, the number of steps of the whole training; later steps keep the last value.
        lr
            The learning rate that the factor multiplies. Only a schedule that is infinite at t = 0
            needs it: the learning rate is 1e-7 there (published method, section 9).

        Raises
        ------
        InputError
            If ``total_steps`` is no whole number of at least 1, or ``lr`` is needed and is not
            given or not positive.

        Examples
        --------
        >>> import torch
        >>> from evolute import zoo
        >>> optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=0.001)
        >>> factor = zoo.schedule("lr9").factor(total_steps=100)
        >>> scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        >>> round(factor(25), 3)
        0.462
        """
        values = _values(print_expression(self.expression), _whole(total_steps))
        start = values[0]
        if math.isinf(start):
            if lr is None or not 0 < lr < math.inf:
                raise InputError(
                    f"the schedule {self.name} is infinite at t = 0, where the learning rate is "
                    f"{RATE_WHERE_INFINITE:g}, and lr is {lr!r}: give lr=…, the positive learning "
                    "rate that the factor multiplies"
                )
            start = RATE_WHERE_INFINITE / lr

        # A plain function: what LambdaLR puts into its state are objects that are none.
        def at(step: int) -> float:
            return values[min(step, total_steps - 1)] if step > 0 else start

        return at

    def scheduler(
        self, optimizer: Optimizer, *, total_steps: int, warmup_steps: int, hold_steps: int = 0
    ) -> WarmupHoldCosine:
        """Put an optimizer under warm-up, hold and cosine with this factor on top.

        Parameters
        ----------
        optimizer
            The optimizer to drive; its groups' learning rates are the peaks.
        total_steps, warmup_steps, hold_steps
            Lengths in optimizer steps of the whole, the warm-up and the hold phase.

        Raises
        ------
        InputError
            As :class:`evolute.schedules.WarmupHoldCosine`.

        Examples
        --------
        >>> import torch
        >>> from evolute import zoo
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> scheduler = zoo.schedule("lr7").scheduler(optimizer, total_steps=90, warmup_steps=9)
        """
        factor = print_expression(self.expression)
        return ScaledWarmupHoldCosine(
            optimizer, total_steps, warmup_steps, hold_steps, factor=factor
        )


class ScaledWarmupHoldCosine(WarmupHoldCosine):
    """Warm-up, hold and cosine times a factor: the base schedule's rate · factor(t/T).

    Where the factor is infinite at t = 0, the learning rate there is 1e-7.

    Parameters
    ----------
    optimizer, total_steps, warmup_steps, hold_steps, last_epoch
        As :class:`evolute.schedules.WarmupHoldCosine`.
    factor
        Text of the factor, an expression of sort schedule.

    Raises
    ------
    InputError
        As :class:`evolute.schedules.WarmupHoldCosine`.
    RuleSyntaxError
        If the factor is no schedule.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_steps: int,
        hold_steps: int = 0,
        last_epoch: int = -1,
        *,
        factor: str,
    ) -> None:
        parse_schedule(factor)
        self.factor = factor  # a text: the state of a scheduler is plain data
        super().__init__(optimizer, total_steps, warmup_steps, hold_steps, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rate of each group at this step, and set the groups' momentum."""
        step = self.last_epoch
        factor = _values(self.factor, self.total_steps)[min(step, self.total_steps - 1)]
        # A rate that is a tensor is scaled like a number.
        return [scheduled_rate(rate, factor, step=step) for rate in super().get_lr()]  # type: ignore[arg-type]


@lru_cache(maxsize=64)
def _values(factor: str, total_steps: int) -> tuple[float, ...]:
    return tuple(curve(parse_schedule(factor), total_steps).tolist())


def _whole(total_steps: object) -> int:
    if isinstance(total_steps, bool) or not isinstance(total_steps, int) or total_steps < 1:
        raise InputError(f"total_steps is {total_steps!r}: give a whole number of at least 1")
    return total_steps


def read_schedule(name: str, data: Mapping[str, Any]) -> RateSchedule:
    """Read a schedule from the contents of its file.

    Raises
    ------
    TypeError
        If a field is missing or unknown.
    RuleSyntaxError
        If the factor is no schedule.
    """
    rest = {key: value for key, value in data.items() if key not in ("kind", "factor")}
    parts = {
        "expression": parse_schedule(data["factor"]),
        "origin": Origin(**data["origin"]),
        "notes": tuple(data.get("notes", ())),
    }
    return RateSchedule(name=name, **{**rest, **parts})
