"""Measure: how fitness is shown, as the loss or the metric it stands for, better always upwards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from evolute.report.axes import linear_axis, loss_axis
from evolute.report.pictures import Axis


@dataclass(frozen=True, slots=True)
class Measure:
    """What a fitness stands for.

    Parameters
    ----------
    name
        In words: ``"validation loss"``.
    is_loss
        Whether fitness is minus this value; else it is the value itself.
    """

    name: str
    is_loss: bool

    def value(self, fitness: float) -> float:
        """Return the loss or the metric that a fitness stands for."""
        return -fitness if self.is_loss else fitness

    def is_worse(self, value: float, bound: float) -> bool:
        """Whether a value is worse than another."""
        return value > bound if self.is_loss else value < bound

    def worst(self, values: Iterable[float]) -> float:
        """Return the worst of some values."""
        return max(values) if self.is_loss else min(values)

    def axis(self, values: Iterable[float]) -> Axis:
        """Return an axis that shows these values, the better ones higher."""
        if not self.is_loss:
            return linear_axis(f"{self.name} (higher is better)", values)
        axis = loss_axis(f"{self.name} (lower is better)", values)
        return axis if axis.span is None else replace(axis, span=axis.span[::-1])

    def floor(self, axis: Axis) -> float:
        """Return where on an axis a candidate that is off it is marked: at its bad end."""
        if axis.span is None:
            return 0.0
        bad, good = axis.span
        return bad * (good / bad) ** 0.02 if axis.log else bad + 0.02 * (good - bad)
