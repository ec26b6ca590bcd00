"""Shortage: errors by which memory ran out, told from all others."""

from __future__ import annotations

import errno
import re

import torch

_REFUSED = re.compile(
    "can('t|not) allocate memory|not enough memory|out of memory|bad_alloc|_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
"""What torch says of the CPU's memory, of a GPU's, and of what the libraries there did not get:
CUBLAS_STATUS_ALLOC_FAILED and its like."""


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error, or what caused it, is that memory ran out.

    torch raises a plain RuntimeError on the CPU and OutOfMemoryError on a GPU; the system refuses
    pages by an OSError.

    >>> is_out_of_memory(MemoryError())
    True
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if isinstance(error, RuntimeError) and _REFUSED.search(str(error)):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)
