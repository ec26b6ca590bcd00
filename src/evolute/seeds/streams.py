"""Streams of the process-wide generators, which user code draws from: seeded, then put back.

Models draw their first weights, dropout its masks and datasets their transforms from the global
generators of torch, NumPy and Python. Ours are arguments (:mod:`evolute.seeds`); theirs cannot be.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

States = tuple[torch.Tensor, Any, Any]
"""Where the global generators of torch, NumPy and Python stand."""


def generator_states() -> States:
    """Return where the global generators stand on the CPU.

    >>> before = generator_states()
    >>> _ = torch.rand(1)
    >>> same_states(before, generator_states())
    False
    """
    return torch.default_generator.get_state(), np.random.get_state(), random.getstate()


def same_states(one: States, other: States) -> bool:
    """Say whether nothing was drawn between the two."""
    return (
        torch.equal(one[0], other[0])
        and one[1][2:] == other[1][2:]
        and np.array_equal(one[1][1], other[1][1])
        and one[2] == other[2]
    )


def install(states: States) -> None:
    """Let the global generators stand there."""
    torch.default_generator.set_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])


class Stream:
    """A stream of the global generators of its own: drawn from in turns with other code.

    Parameters
    ----------
    seed
        Where the stream begins, in [0, 2**63).

    Examples
    --------
    >>> stream, again = Stream(0), Stream(0)
    >>> with stream.active():
    ...     first = torch.rand(1), random.random()
    >>> with again.active():
    ...     bool(torch.rand(1) == first[0]), random.random() == first[1]
    (True, True)
    """

    def __init__(self, seed: int) -> None:
        self.states: States = (
            torch.Generator().manual_seed(seed).get_state(),
            np.random.RandomState(seed % 2**32).get_state(),
            random.Random(seed).getstate(),
        )

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let the code inside draw from this stream, which goes on where it last stopped."""
        outer = generator_states()
        install(self.states)
        try:
            yield
        finally:
            self.states = generator_states()
            install(outer)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global CPU generators of torch, NumPy and Python; put them back at the end.

    >>> with seeded(3):
    ...     first = torch.rand(2)
    >>> with seeded(3):
    ...     torch.equal(torch.rand(2), first)
    True
    """
    outer = generator_states()
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        install(outer)
