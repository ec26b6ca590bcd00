"""The process-wide generators that user code draws from, seeded for a while and then put back.

Models draw their first weights, dropout its masks and datasets their transforms from the global
generators of torch, NumPy and Python. Ours are arguments (:mod:`evolute.seeds`); theirs cannot be.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class _State:
    torch_state: Tensor
    numpy_state: Any
    python_state: Any

    @classmethod
    def capture(cls) -> _State:
        return cls(torch.default_generator.get_state(), np.random.get_state(), random.getstate())

    def install(self) -> None:
        torch.default_generator.set_state(self.torch_state)
        np.random.set_state(self.numpy_state)
        random.setstate(self.python_state)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global CPU generators of torch, NumPy and Python; put them back at the end.

    >>> with seeded(3):
    ...     first = torch.rand(2)
    >>> with seeded(3):
    ...     torch.equal(torch.rand(2), first)
    True
    """
    outer = _State.capture()
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        outer.install()


class Stream:
    """A stream of the global generators of its own: drawn from in turns with other code.

    Parameters
    ----------
    seed
        Where the stream begins.
    """

    def __init__(self, seed: int) -> None:
        with seeded(seed):
            self._state = _State.capture()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let the code inside draw from this stream, which goes on where it last stopped."""
        outer = _State.capture()
        self._state.install()
        try:
            yield
        finally:
            self._state = _State.capture()
            outer.install()
