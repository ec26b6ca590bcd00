"""Times of plans, remembered between runs: one JSON file in the user's cache directory.

It is a cache: a file that cannot be read, or is no JSON, counts as empty and is written anew. Which
plan a process took is remembered by that process, which so gives the same bits until it ends. The
times are kept for later ones: a machine that was busy once fixes no plan for good, as its times
count for little until processes enough have taken theirs.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

MARGIN = 1.15
"""A plan later in the order must be so many times faster to be chosen, so that noise in the times
does not change the plan."""

SITTINGS = 3
"""In so many processes plans are timed on a machine with other work, before that is good enough;
in one if the machine is left to it."""

_here: dict[tuple[Path, str], str] = {}


@dataclass(frozen=True, slots=True)
class Times:
    """What is known of the speed of plans for one network.

    Parameters
    ----------
    seconds
        Least seconds of a lane-step that each plan took, of those that serve.
    sittings
        How often all of them were timed; :data:`SITTINGS` where once is enough.
    finished
        Whether there was time to try every plan.
    refused
        Why the others do not serve.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    sittings: int = 0
    finished: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)

    def best(self, plans: Iterable[str]) -> str | None:
        """Return the first of these plans that was timed, or a later one that is clearly faster."""
        best: str | None = None
        for plan in plans:
            if plan in self.seconds and (
                best is None or self.seconds[plan] * MARGIN < self.seconds[best]
            ):
                best = plan
        return best

    @property
    def settled(self) -> bool:
        """Whether they need not be taken again."""
        return self.finished and self.sittings >= SITTINGS


def plans_file() -> Path:
    """Return ``$XDG_CACHE_HOME/evolute/plans.json`` (XDG Base Directory Specification, 2021)."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "evolute" / "plans.json"


def plan_key(task: str, version: str, shapes: Sequence[object], *, device: str, more: str) -> str:
    """Return what the speed of a plan depends on, as one line."""
    processor = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    if device.startswith("cuda"):
        processor = torch.cuda.get_device_name(device)
    parts = (task, version, shapes, torch.__version__, processor, os.cpu_count(), device, more)
    return " | ".join(map(str, parts))


def taken_here(key: str) -> str | None:
    """Return the plan that this process took, or None."""
    return _here.get((plans_file(), key))


def take(key: str, plan: str) -> None:
    """Let this process stay with a plan."""
    _here[plans_file(), key] = plan


def recall(key: str) -> Times:
    """Return the times remembered under a key; none if there are none, or none that are sound."""
    found = _read().get(key)
    if not isinstance(found, dict):  # nothing, or a name alone, as it was written before
        return Times()
    with contextlib.suppress(TypeError, ValueError, KeyError, AttributeError):
        seconds = {str(plan): float(taken) for plan, taken in found["seconds"].items()}
        if all(0 < taken < math.inf for taken in seconds.values()):
            refused = {str(plan): str(why) for plan, why in found.get("refused", {}).items()}
            return Times(seconds, int(found["sittings"]), found["finished"] is True, refused)
    return Times()


def remember(key: str, plan: str, times: Times) -> None:
    """Keep the plan that this process took, and the times; where nothing can be written, the plan.

    Parameters
    ----------
    key, plan
        What was taken, and for what.
    times
        What later processes are to know.
    """
    path = plans_file()
    take(key, plan)
    row = {"plan": plan, "sittings": times.sittings, "finished": times.finished}
    row |= {"seconds": dict(times.seconds), "refused": dict(times.refused)}
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        partial.write_text(json.dumps({**_read(), key: row}, indent=1), encoding="utf-8")
        partial.replace(path)  # in one step: another process never reads half a file


def _read() -> dict[str, object]:
    try:
        found = json.loads(plans_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
