"""Memory: how many lanes fit into what is free."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

from evolute.errors import InputError

MOST_LANES = 64
"""Lanes of one process unless told otherwise: perceptrons gain nothing from more (measured: flat
from 16 to 256), and a search hears of its trials the later the more of them are under way."""

SHARE_OF_FREE = 0.5
"""Part of the free memory that is used unless told otherwise."""

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)


def parse_memory(text: str) -> int:
    """Read an amount of memory in bytes.

    Raises
    ------
    InputError
        If it is none, or zero.

    Examples
    --------
    >>> parse_memory("1.5G")
    1610612736
    >>> parse_memory("512 MiB")
    536870912
    """
    match = _SIZE.fullmatch(text.strip())
    size = 0 if match is None else int(float(match[1]) * _UNITS[match[2].lower()])
    if size < 1:
        raise InputError(f"malformed memory {text!r}: give an amount such as 512M or 4G")
    return size


def free_memory() -> int:
    """Return the bytes that this process and others may still take, limits of its group included.

    Read from ``/proc`` and the control group (version 2) on Linux; elsewhere the free pages.
    """
    free = _available()
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        free = min(free, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no such group, or no limit ("max")
        pass
    return max(free, 0)


def _available() -> int:
    try:
        match = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text("ascii"))
    except OSError:
        match = None
    if match is not None:
        return int(match[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def lanes_that_fit(bytes_per_lane: int, memory_bytes: int, *, most: int = MOST_LANES) -> int:
    """Return how many lanes are trained side by side, at least 1.

    >>> lanes_that_fit(2**20, 10 * 2**20)
    10
    """
    return max(1, min(most, memory_bytes // max(bytes_per_lane, 1)))


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error, or what caused it, is that memory ran out.

    torch raises a plain RuntimeError on the CPU and OutOfMemoryError on a GPU.

    >>> is_out_of_memory(MemoryError())
    True
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, RuntimeError) and _REFUSED.search(str(error)):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


_REFUSED = re.compile("can't allocate memory|not enough memory|out of memory", re.IGNORECASE)
