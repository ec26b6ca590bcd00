"""Turns: modules that draw one after the other, each from a stream of its own.

To install where a stream stands and to write down where it came to takes as long as a step of a
small perceptron, most of it for NumPy's generator (measured: 175 µs of 400). Most modules draw
nothing, but any may begin to at any step. So the generators are left where they stand from one
module to the next, as long as they have not moved and the next stream stands at the same place.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.random import mtrand

from evolute.lanes import noise
from evolute.seeds.streams import States, Stream, generator_states, install

_WORDS_OF_NUMPY = 4 * (624 + 1)
"""Bytes of the state of a Mersenne Twister: its words and the place among them."""


class Turns:
    """Lets modules draw in turns, each from its own stream.

    Examples
    --------
    >>> turns, one, other = Turns(), Stream(0), Stream(0)
    >>> with turns.over():
    ...     with turns.of(one):
    ...         first = torch.rand(2)
    ...     with turns.of(other):
    ...         second = torch.rand(2)
    >>> torch.equal(first, second)
    True
    """

    def __init__(self) -> None:
        self._installed: States | None = None
        self._mark: Any = None

    @contextmanager
    def over(self) -> Iterator[None]:
        """Put the global generators back after some turns."""
        outer = generator_states()
        self._installed = None
        try:
            yield
        finally:
            install(outer)

    @contextmanager
    def of(self, stream: Stream) -> Iterator[None]:
        """Let the code inside draw from a stream, which goes on where it last stopped.

        Parameters
        ----------
        stream
            Copies of one stream that nothing was drawn from cost one installation together.
        """
        if self._installed is not stream.states:
            install(stream.states)
            self._installed, self._mark = stream.states, _mark()
        try:
            yield
        finally:
            _, (_, _, _, kept_normal, _), _ = stream.states
            # The second of two normal numbers is handed out without a move of the generator.
            if kept_normal or _mark() != self._mark:
                stream.states = generator_states()
                self._installed = None


def _mark() -> tuple[bytes, Any, Any]:
    """Return what changes whenever something is drawn, which is read faster than all states."""
    torch_state = torch.default_generator.get_state().numpy().tobytes()
    return torch_state, _numpy_mark(), random.getstate()


def _numpy_mark() -> Any:
    generator = mtrand.get_bit_generator()
    if isinstance(generator, np.random.MT19937):
        return ctypes.string_at(generator.ctypes.state_address, _WORDS_OF_NUMPY)
    return str(np.random.get_state(legacy=False))


def are_apart(streams: Sequence[Any], device: torch.device) -> TypeGuard[Sequence[Stream]]:
    """Whether each module draws from a stream of its own, and on the CPU alone.

    >>> stream = Stream(0)
    >>> are_apart([stream, Stream(0)], torch.device("cpu")), are_apart([stream] * 2, "cpu")
    (True, False)
    """
    return (
        len({id(stream) for stream in streams}) == len(streams)
        and all(isinstance(stream, Stream) for stream in streams)
        and noise.generator_of(device) is None
    )


def by_place(streams: Sequence[Stream]) -> list[int]:
    """Return the positions of streams, those that stand at one place after another.

    >>> same = Stream(0)
    >>> by_place([same, Stream(1), same])
    [0, 2, 1]
    """
    groups: dict[int, list[int]] = {}
    for position, stream in enumerate(streams):
        groups.setdefault(id(stream.states), []).append(position)
    return [position for group in groups.values() for position in group]
