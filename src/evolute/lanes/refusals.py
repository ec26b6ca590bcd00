"""What the log says of plans that are not used."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from evolute.errors import shorten
from evolute.lanes.base import CannotStackError

_log = logging.getLogger("evolute")


def report(task: str, refused: Mapping[str, str], left: Sequence[str], *, seconds: float) -> None:
    """Say in one line each why the faster plans cannot serve, and for which was no time.

    Parameters
    ----------
    task
        Its name.
    refused
        Reasons, by plan.
    left
        Plans that were not tried.
    seconds
        After which the trying ended.
    """
    if left:
        _log.warning(
            "task %r: after %.0f seconds the fastest plan so far is taken, and these are not "
            "tried: %s; name one with plan= to have it, or let the next run try them",
            task, seconds, ", ".join(left),
        )  # fmt: skip
    first = {reason: plan for plan, reason in reversed([*refused.items()])}
    for reason, plan in first.items():
        _log.warning("task %r: plan %r is not used: %s", task, plan, reason)


def reason_of(fault: Exception) -> str:
    """Return what went wrong, in one line.

    >>> reason_of(CannotStackError("it branches on data"))
    'it branches on data'
    >>> reason_of(ValueError("no"))
    'ValueError: no'
    """
    if isinstance(fault, CannotStackError):
        return str(fault)
    return f"{type(fault).__name__}: {shorten(str(fault), limit=120)}"
