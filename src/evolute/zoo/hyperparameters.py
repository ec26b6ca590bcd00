"""HyperParameter: a number of an optimizer that people tune, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

DIGITS = 6
"""Significant digits of a value that is tried, so that the rules with it stay short to read."""


class Scale(StrEnum):
    """On which scale the values of a range are spread evenly.

    Attributes
    ----------
    LOG
        log x, for a learning rate or a weight decay.
    COMPLEMENT
        log(1 − x), for the β of a moving average, whose memory is 1/(1 − β) steps.
    LINEAR
        x itself.
    """

    LOG = "log"
    COMPLEMENT = "log of 1 - x"
    LINEAR = "linear"


@dataclass(frozen=True, slots=True)
class HyperParameter:
    """A number that is tuned.

    Parameters
    ----------
    name
        As it stands in braces in the entry's template; ``learning_rate`` for the learning rate.
    default
        The value that its authors recommend; None where the training has its own, as for the
        momentum coefficient, which is tuned as a constant.
    lowest, highest
        The range to try, ends included.
    scale
        How the range is spread.

    Raises
    ------
    ValueError
        If the range is empty, or holds values that its scale does not know.

    Examples
    --------
    >>> beta = HyperParameter("beta1", 0.9, 0.5, 0.995, Scale.COMPLEMENT)
    >>> [beta.value(unit) for unit in (0.0, 0.5, 1.0)]
    [0.5, 0.95, 0.995]
    >>> round(beta.unit(0.95), 3)
    0.5
    """

    name: str
    default: float | None
    lowest: float
    highest: float
    scale: Scale

    def __post_init__(self) -> None:
        floor = 0.0 if self.scale is Scale.LOG else -math.inf
        ceiling = 1.0 if self.scale is Scale.COMPLEMENT else math.inf
        if not floor < self.lowest < self.highest < ceiling:
            raise ValueError(
                f"{self.name}: {self.lowest:g} to {self.highest:g} is no range of scale "
                f"{self.scale.value!r}"
            )

    def value(self, unit: float) -> float:
        """Return the value at a point of the range: 0 is its lowest end, 1 its highest."""
        low, high = self._on_scale(self.lowest), self._on_scale(self.highest)
        place = low + unit * (high - low)
        match self.scale:
            case Scale.LOG:
                value = math.exp(place)
            case Scale.COMPLEMENT:
                value = 1.0 - math.exp(-place)
            case Scale.LINEAR:
                value = place
        return float(f"{value:.{DIGITS}g}")

    def unit(self, value: float) -> float:
        """Return the point of the range at which a value lies: the inverse of :meth:`value`."""
        low, high = self._on_scale(self.lowest), self._on_scale(self.highest)
        return (self._on_scale(value) - low) / (high - low)

    def _on_scale(self, value: float) -> float:
        match self.scale:
            case Scale.LOG:
                return math.log(value)
            case Scale.COMPLEMENT:
                return -math.log(1.0 - value)
            case Scale.LINEAR:
                return value
