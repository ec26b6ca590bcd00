"""The table: one row per function or method that a traced module may call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import fx

from evolute.lanes.noise import Drawing
from evolute.lanes.stacked.value import Lanes


@dataclass(frozen=True, slots=True)
class Step:
    """What a row may need beside its arguments.

    Parameters
    ----------
    count
        L, the lanes of this step.
    draws
        The streams of the lanes.
    """

    count: int
    draws: Drawing


Row = Callable[..., Any]
"""row(step, *args, **kwargs): the function on arguments of which some are Lanes."""

Key = Callable[..., Any] | str
"""A function, or the name of a method."""

_ROWS: dict[Key, Row] = {}


def row(*keys: Key) -> Callable[[Row], Row]:
    """Enter a row for these functions and methods."""

    def enter(made: Row) -> Row:
        _ROWS.update(dict.fromkeys(keys, made))
        return made

    return enter


def rows(keys: Iterable[Key], make: Callable[[Key], Row]) -> None:
    """Enter a row of one kind for each of these functions and methods."""
    for key in keys:
        _ROWS[key] = make(key)


def find(key: Key) -> Row | None:
    """Return the row of a function or method, or None."""
    return _ROWS.get(key)


def plain(key: Key) -> Callable[..., Any]:
    """Return the function of a key: itself, or what calls the method of that name."""
    if not isinstance(key, str):
        return key
    name = key

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, name)(*args, **kwargs)

    return method


def has_lanes(*values: Any) -> bool:
    """Say whether any of these values, or of what they hold, differs from lane to lane."""
    found = False

    def look(value: Any) -> Any:
        nonlocal found
        found = found or isinstance(value, Lanes)
        return value

    fx.node.map_aggregate(values, look)
    return found
