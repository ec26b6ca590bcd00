"""Shares of random draws, compared with what they should be."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable

SIGMAS = 4.5
"""Distance at which a share is called wrong: one draw in 150,000 if it is right."""


def assert_share(truths: Iterable[bool], expected: float, *, least: int = 1500) -> None:
    """Fail unless about this share of the values is true."""
    values = list(truths)
    assert len(values) >= least
    share = sum(values) / len(values)
    bound = SIGMAS * math.sqrt(expected * (1 - expected) / len(values))
    assert abs(share - expected) <= bound, f"{share:.4f} instead of {expected:.4f} ± {bound:.4f}"


def assert_even(values: Iterable[Hashable], among: Collection[Hashable]) -> None:
    """Fail unless each of these values came about equally often, and no other came."""
    counts = Counter(values)
    assert set(counts) == set(among)
    total = counts.total()
    for value in among:
        assert_share([True] * counts[value] + [False] * (total - counts[value]), 1 / len(among))
