"""Budgets: how long a search may go on, in wall-clock time or in trained candidates."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Self

from evolute.errors import InputError

_SECONDS_PER_UNIT = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on time or on trained candidates; with neither, the algorithm's own end.

    Parameters
    ----------
    seconds
        Wall-clock time of the search phase, summed over interrupted sittings.
    evaluations
        Number of distinct candidates trained, failed ones included. A budget of evaluations gives
        the same trials on every machine; one of time gives the first ones of that same sequence.
    """

    seconds: float | None = None
    evaluations: int | None = None

    def fraction(self, *, evaluations: int, seconds: float) -> float | None:
        """Return the part that is spent, 0 to 1, of whichever limit is nearer; None without one."""
        pairs = ((self.evaluations, evaluations), (self.seconds, seconds))
        return max((min(spent / limit, 1.0) for limit, spent in pairs if limit), default=None)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``10m`` (also s, h, d) or a number of evaluations such as ``500``.

        Raises
        ------
        InputError
            If it is neither, or zero.

        Examples
        --------
        >>> Budget.parse("90s")
        Budget(seconds=90.0, evaluations=None)
        >>> Budget.parse("500").evaluations
        500
        """
        stripped = text.strip()
        time = _TIME.fullmatch(stripped)
        if time and float(time[1]) > 0:
            return cls(seconds=float(time[1]) * _SECONDS_PER_UNIT[time[2]])
        if re.fullmatch(r"\d{1,12}", stripped) and int(stripped) > 0:
            return cls(evaluations=int(stripped))
        raise InputError(
            f"malformed budget {text!r}: give a time such as 90s, 10m or 2h, or a number of "
            "evaluations such as 500"
        )

    def __str__(self) -> str:
        if self.evaluations is not None:
            return f"{self.evaluations} evaluations"
        return "none" if self.seconds is None else format_seconds(self.seconds)


def format_seconds(seconds: float) -> str:
    """Write a duration for people.

    >>> [format_seconds(value) for value in (7.3, 75, 3700, 180000)]
    ['7 s', '1 min 15 s', '1 h 1 min', '2 d 2 h']
    """
    whole = round(seconds)
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for (name, size), (next_name, next_size) in itertools.pairwise(units):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // next_size} {next_name}"
    return f"{whole} s"
