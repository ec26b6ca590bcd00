"""Memory: how many lanes fit into what is free."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from evolute.errors import InputError, TaskError, shorten
from evolute.lanes.shortage import is_out_of_memory as is_out_of_memory

MOST_LANES = 64
"""Lanes of one process unless told otherwise: perceptrons gain nothing from more (measured: flat
from 16 to 256), and a search hears of its trials the later the more of them are under way."""

SHARE_OF_FREE = 0.5
"""Part of the free memory that is used unless told otherwise."""

LEAST_MEMORY = 2**20
"""No training of any network takes less; who gives less has forgotten the unit."""

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)


def parse_memory(text: str) -> int:
    """Read an amount of memory in bytes.

    Raises
    ------
    InputError
        If it is none, or below :data:`LEAST_MEMORY`.

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
    if size < LEAST_MEMORY:
        raise InputError(
            f"the memory {text!r} is {in_units(size)} and {in_units(free_memory())} are free: give "
            "at least 1M, or leave it out to take half of what is free"
        )
    return size


def in_units(size: int) -> str:
    """Return an amount of memory as people read it.

    >>> in_units(1), in_units(3 * 2**29)
    ('1 bytes', '1.5 GiB')
    """
    power = min(max(size.bit_length() - 1, 0) // 10, 4)
    name = ("bytes", "KiB", "MiB", "GiB", "TiB")[power]
    return f"{size / 2 ** (10 * power):.4g} {name}"


def why_unlikely(given: int, *, bytes_per_lane: int, shared_by: int, device: str) -> str | None:
    """Say what does not fit about an amount of memory that was given; None if all does.

    Parameters
    ----------
    given
        Memory for all processes.
    bytes_per_lane
        What one training takes.
    shared_by
        Number of processes.
    device
        Where they train.
    """
    free = free_memory(device)
    if given > free:
        return (
            f"{in_units(given)} of memory are given and {in_units(free)} are free: where it runs "
            f"out, fewer are trained side by side; give {in_units(free)} at most, or leave it out"
        )
    if given // shared_by < bytes_per_lane:
        return (
            f"{in_units(given)} of memory are given for {shared_by} processes, of {in_units(free)} "
            f"that are free, and one training takes about {in_units(bytes_per_lane)}: each trains "
            "one at a time all the same; give more, or fewer workers"
        )
    return None


def free_memory(device: str = "cpu") -> int:
    """Return the bytes that this process and others may still take, limits of its group included.

    Of a GPU, its own memory.
    Read from ``/proc`` and the control group (version 2) on Linux; elsewhere the free pages.
    Addresses that ``RLIMIT_AS`` still allows count as memory.
    """
    if device != "cpu":
        return int(torch.cuda.mem_get_info(device)[0])
    free = _available()
    addresses = addresses_allowed()
    if addresses is not None:
        free = min(free, addresses - _addresses_taken())
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        free = min(free, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no such group, or no limit ("max")
        pass
    return max(free, 0)


def addresses_allowed() -> int | None:
    """Return the bytes of addresses that this process may take (RLIMIT_AS); None: no limit."""
    try:
        import resource  # not there on every system
    except ImportError:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def _addresses_taken() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def memory_in_words(task: str, device: str = "cpu") -> Iterator[None]:
    """Say in one line, where memory runs out inside, how much is allowed and what to do.

    Parameters
    ----------
    task
        Name of the task, of which not even one training fits.
    device
        Where it trains.

    Raises
    ------
    TaskError
        In place of the error by which memory ran out.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise too_little_memory(task, error, device=device) from error


def too_little_memory(task: str, error: BaseException, *, device: str = "cpu") -> TaskError:
    """Return the error for a task of which not even one training fits into the memory.

    Of a GPU, if it is what ran out: the memory of its host may, too.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    said = shorten(str(error) or type(error).__name__, limit=120)
    is_of_gpu = isinstance(error, torch.OutOfMemoryError) or _OF_GPU.search(str(error))
    allowed, advice = _of_gpu(device) if device != "cpu" and is_of_gpu else _of_host()
    return TaskError(
        f"task {task!r}: not even one training fits into the memory: {allowed}; {advice}, or make "
        f"the network or the batch smaller ({said})"
    )


def _of_gpu(device: str) -> tuple[str, str]:
    """Say what a GPU has free, and what to do."""
    advice = (
        "end what else uses that GPU (nvidia-smi lists it), share it among fewer workers, give "
        "another with --device"
    )
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError:  # so full that not even this can be asked
        return f"that of {device!r} is full", advice
    free_and_total = f"{free / 2**20:,.0f} MiB free of {total / 2**20:,.0f} MiB"
    return f"{device!r} has {free_and_total}", advice


def _of_host() -> tuple[str, str]:
    """Say what this process may take of the memory of the machine, and what to do."""
    addresses = addresses_allowed()
    if addresses is None:
        free = f"{free_memory() / 2**20:,.0f} MiB are free"
        return free, "give it a machine or a group with more memory"
    allowed = (
        f"this process may take {addresses / 2**20:,.0f} MiB of addresses (RLIMIT_AS), of "
        f"which {_addresses_taken() / 2**20:,.0f} MiB are taken"
    )
    return allowed, "allow more (ulimit -v)"


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


_OF_GPU = re.compile("cuda|cudnn|cublas", re.IGNORECASE)
