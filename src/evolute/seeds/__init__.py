"""Generators derived from (run seed, purpose, indices): the one source of randomness.

Two draws for different purposes never share a stream, and a draw does not depend on what else was
drawn before it, so the order of work and the number of workers change nothing.

>>> derive(0, "weights", 3) == derive(0, "weights", 3)
True
>>> derive(0, "weights", 3) == derive(0, "batches", 3)
False
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LARGEST_SEED = 2**63 - 1


def derive(seed: int, purpose: str, *indices: int) -> int:
    """Return an integer in [0, 2**63) from the run seed, a purpose and indices (BLAKE2b)."""
    text = "/".join((str(seed), purpose, *map(str, indices)))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") & LARGEST_SEED


def python_generator(seed: int, purpose: str, *indices: int) -> random.Random:
    """Return a Python generator of its own for this purpose."""
    return random.Random(derive(seed, purpose, *indices))


def torch_generator(seed: int, purpose: str, *indices: int) -> torch.Generator:
    """Return a CPU torch generator of its own for this purpose."""
    import torch  # not at the top: the search and the store draw without torch

    return torch.Generator().manual_seed(derive(seed, purpose, *indices))
