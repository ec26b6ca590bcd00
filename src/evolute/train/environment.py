"""The state of torch that a trial's figures depend on: fixed for a trial, then put back."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from evolute.seeds.streams import seeded

THREADS = 1
"""Threads per trial: sums over several threads round differently, and one process per core is
faster than one process with all threads (measured: 1.1 to 1.5 times)."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread, and put its number back at the end.

    Beside busy workers an operation that is split over threads takes milliseconds for microseconds.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def kept_objects() -> Iterator[None]:
    """Spare the collector of garbage the objects that are there, and give them back at the end.

    There are half a million once torch and a database are imported: to look at all of them takes
    0.15 s (measured), several times in a search of four seconds. Nothing is done where a program
    has frozen objects itself.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()  # what is garbage now would be kept else
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def fixed_environment() -> Iterator[None]:
    """Fix what a user's program may have changed in torch, and put it back at the end.

    One thread, float32 on the CPU, gradients on, no autocast, full precision of products, denormal
    numbers kept; the global generators of torch, NumPy and Python are put back.

    Not thread-safe: these settings belong to the whole process.
    """
    with ExitStack() as stack:
        stack.enter_context(seeded(0))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        # The outermost autocast alone forgets the weights that it cast: one in here would go on
        # with those of its first step for ever, so none keeps any.
        stack.enter_context(torch.autocast("cpu", enabled=False, cache_enabled=False))
        stack.enter_context(one_thread())
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        torch.set_float32_matmul_precision("highest")
        device = torch.get_default_device()
        if device.type != "cpu":
            stack.callback(torch.set_default_device, device)
            torch.set_default_device(None)
        if _flushes_denormals():
            stack.callback(torch.set_flush_denormal, True)
            torch.set_flush_denormal(False)
        yield


def _flushes_denormals() -> bool:
    return not (torch.tensor(2e-38, dtype=torch.float32) * 0.25).item()
