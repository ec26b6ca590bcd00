"""Axes: the spans and ticks that several figures share."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from evolute.errors import shorten
from evolute.report.pictures import Axis

_ROOM = 0.06
"""Part of an axis left free beyond its outermost values."""

_LONGEST_NAME = 44
"""A longer name beside an axis would leave no room for what it is about."""

_FEW_VALUES = 4
"""Of so many values none is far from the others."""

_FEW_DECADES = 2.2
"""Up to so many decades, 2 and 5 are marked between the powers of ten."""


def linear_axis(title: str, values: Iterable[float]) -> Axis:
    """Return a linear axis that shows all values, with some room."""
    shown = _finite(values)
    low, high = min(shown, default=0.0), max(shown, default=1.0)
    if not math.isfinite(high - low):
        return Axis(title=title)
    room = _ROOM * (high - low) or abs(high) * _ROOM or 1.0
    return Axis(title=title, span=(low - room, high + room))


def log_axis(title: str, values: Iterable[float]) -> Axis:
    """Return a logarithmic axis that shows all values, which are positive."""
    shown = [value for value in _finite(values) if value > 0]
    low, high = min(shown, default=0.1), max(shown, default=1.0)
    factor = (high / low) ** _ROOM if high > low else 1.5
    low, high = low / factor, high * factor
    return Axis(title=title, log=True, span=(low, high), ticks=_log_ticks(low, high))


def loss_axis(title: str, values: Iterable[float]) -> Axis:
    """Return an axis for losses: logarithmic if they are positive and differ by more than half."""
    shown = _finite(values)
    if shown and min(shown) > 0 and max(shown) > 1.5 * min(shown):
        return log_axis(title, shown)
    return linear_axis(title, shown)


def fenced_axis(title: str, values: Sequence[float], *, always: Iterable[float] = ()) -> Axis:
    """Return a linear axis that leaves out values far from the others, which would hide them.

    Far is more than three times the distance of the quartiles beyond one (Tukey 1977).

    Parameters
    ----------
    title
        What is shown.
    values
        What is to be seen.
    always
        Further values that are shown in any case.
    """
    shown = sorted(_finite(values))
    if len(shown) > _FEW_VALUES:
        lower, _, upper = statistics.quantiles(shown, n=4, method="inclusive")
        reach = 3.0 * (upper - lower)
        shown = [value for value in shown if lower - reach <= value <= upper + reach]
    return linear_axis(title, [*shown, *always])


def name_axis(names: Sequence[str]) -> Axis:
    """Return an axis of names at 0, 1, 2 …, the first on top; a long one is cut."""
    shown = (
        name if len(name) <= _LONGEST_NAME else shorten(name, limit=_LONGEST_NAME) for name in names
    )
    ticks = tuple((float(place), name) for place, name in enumerate(shown))
    return Axis(title="", ticks=ticks, span=(len(names) - 0.4, -0.6))


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _log_ticks(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """Return powers of ten, and over few decades 2 and 5 times these, or finer over a fraction."""
    decades = math.log10(high / low)
    steps: Sequence[float] = (1.0,)
    if decades <= _FEW_DECADES:
        steps = (1.0, 2.0, 5.0)
    if decades <= 0.7:
        steps = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [float(f"{step}e{power}") for power in powers for step in steps]
    return tuple((value, f"{value:g}") for value in values if low <= value <= high)
