"""Plans remembered between runs: one JSON file in the user's cache directory.

It is a cache: a file that cannot be read, or is no JSON, counts as empty and is written anew. What
is not to last is remembered by this process alone, which so gives the same bits until it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

_passing: dict[tuple[Path, str], str] = {}


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


def recall(key: str) -> str | None:
    """Return the name of the plan remembered under a key, or None."""
    found = _passing.get((plans_file(), key)) or _read().get(key)
    return found if isinstance(found, str) else None


def remember(key: str, plan: str, *, lasting: bool = True) -> None:
    """Keep the name of a plan; where nothing can be written, nothing is kept.

    Parameters
    ----------
    key, plan
        What was chosen, and for what.
    lasting
        Whether to keep it for later processes.
    """
    if not lasting:
        _passing[plans_file(), key] = plan
        return
    _passing.pop((plans_file(), key), None)
    path = plans_file()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        partial.write_text(json.dumps({**_read(), key: plan}, indent=1), encoding="utf-8")
        partial.replace(path)  # in one step: another process never reads half a file


def _read() -> dict[str, object]:
    try:
        found = json.loads(plans_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
