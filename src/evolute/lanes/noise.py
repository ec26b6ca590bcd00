"""Draws of lanes: each from its own stream, once for all lanes that share one.

What draws on a GPU draws from that GPU's generator, not from those that streams keep. So in every
step of a lane the generator of its device begins at a seed that the lane's stream gives, goes on
from draw to draw of that step, and is put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch

from evolute.seeds.streams import States, generator_states, install


def shared_draws(noise: Sequence[Any] | None, count: int) -> list[tuple[Any, list[int]]]:
    """Return each distinct stream with the positions of the lanes that draw from it.

    >>> stream = object()
    >>> [places for _, places in shared_draws([stream, None, stream], 3)]
    [[0, 2], [1]]
    """
    if noise is None:
        return [(None, list(range(count)))]
    places: dict[int, list[int]] = {}
    for position, stream in enumerate(noise):
        places.setdefault(id(stream), []).append(position)
    return [(noise[found[0]], found) for found in places.values()]


def drawing(stream: Any) -> AbstractContextManager[None]:
    """Let the code inside draw from a stream; None is what is drawn from anyway."""
    inside: AbstractContextManager[None] = nullcontext() if stream is None else stream.active()
    return inside


def generator_of(device: torch.device) -> torch.Generator | None:
    """Return what is drawn from on a device beside the generators that streams keep; None: nothing.

    >>> generator_of(torch.device("cpu")) is None
    True
    """
    if device.type != "cuda":
        return None
    torch.cuda.init()
    number: int | None = device.index
    index = torch.cuda.current_device() if number is None else number
    found: torch.Generator = torch.cuda.default_generators[index]
    return found


@contextmanager
def seeded_device(device: torch.device) -> Iterator[None]:
    """Let the code inside draw on a device what follows from the stream that is active."""
    generator = generator_of(device)
    if generator is None:
        yield
        return
    with _at(generator, None):
        yield


@contextmanager
def _at(generator: torch.Generator, state: torch.Tensor | None) -> Iterator[None]:
    """Let a device's generator begin at a state, or else at a seed that the active stream gives."""
    seed = int(torch.randint(2**63 - 1, (), device="cpu")) if state is None else 0
    outer = generator.get_state()
    if state is None:
        generator.manual_seed(seed)
    else:
        generator.set_state(state)
    try:
        yield
    finally:
        generator.set_state(outer)


@contextmanager
def same_draws(stream: Any, device: torch.device) -> Iterator[Callable[[], None]]:
    """Yield a function that goes back to where a stream stood, so that lanes draw the same.

    Parameters
    ----------
    stream
        What is drawn from; None is what is drawn from anyway.
    device
        Where lanes draw.
    """
    with drawing(stream), seeded_device(device):
        yield way_back(device)


def way_back(device: torch.device) -> Callable[[], None]:
    """Return a function that goes back to where the generators stand now, that of a device too.

    >>> back = way_back(torch.device("cpu"))
    >>> first = torch.rand(1)
    >>> back()
    >>> bool(torch.rand(1) == first)
    True
    """
    generator = generator_of(device)
    own = None if generator is None else generator.get_state()
    states = generator_states()

    def back() -> None:
        install(states)
        if generator is not None and own is not None:
            generator.set_state(own)

    return back


class Replay:
    """A stream whose draws are the same in every pass of one step, after which it has gone on once.

    Parameters
    ----------
    stream
        What is drawn from.
    device
        Where lanes draw.
    """

    def __init__(self, stream: Any, device: torch.device) -> None:
        self._stream = stream
        self._generator = generator_of(device)
        self._reached: torch.Tensor | None = None  # by that generator, in this pass
        self._starts: list[States] = []
        self._turn = 0

    def again(self) -> None:
        """Begin the next pass."""
        self._turn, self._reached = 0, None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let the code inside draw what it drew at this turn of the first pass."""
        with drawing(self._stream):
            if self._turn == len(self._starts):
                self._starts.append(generator_states())
            else:
                install(self._starts[self._turn])
            self._turn += 1
            if self._generator is None:
                yield
                return
            with _at(self._generator, self._reached):
                yield
                self._reached = self._generator.get_state()


def replayed(noise: Sequence[Any] | None, device: torch.device) -> list[Replay] | None:
    """Return streams that can be drawn from in several passes, one object where lanes share one."""
    if noise is None:
        return None
    own = {id(stream): Replay(stream, device) for stream in noise}
    return [own[id(stream)] for stream in noise]


Draw = Callable[[], torch.Tensor]
"""Draws as the plain module would, from what is active."""


class Drawing(Protocol):
    """What a pass asks when it draws."""

    def draw(self, draw: Draw) -> tuple[torch.Tensor, bool]:
        """Return draws of all lanes, [L, *shape], and False; or the one all share, and True."""
        ...


class Draws:
    """What the lanes of one step draw.

    Parameters
    ----------
    noise
        One stream per lane, or None where all draw from the global generators.
    count
        Number of lanes.
    """

    def __init__(self, noise: Sequence[Any] | None, count: int) -> None:
        self.groups = shared_draws(noise, count)
        self._count = count

    def repeat(self, other: Draws) -> bool:
        """Whether these lanes draw what those do: from the same streams, in the same step.

        Of streams that :func:`replayed` made, which are of one step.
        """
        return [places for _, places in self.groups] == [
            places for _, places in other.groups
        ] and all(
            isinstance(own, Replay) and own is its
            for (own, _), (its, _) in zip(self.groups, other.groups, strict=True)
        )

    def draw(self, draw: Draw) -> tuple[torch.Tensor, bool]:
        """Draw once from each stream; return [L, *shape] and False, or the one draw all share.

        ``draw`` is called with a lane's stream active, so that it gets what the plain module would.
        """
        drawn: list[torch.Tensor] = []
        for stream, _ in self.groups:
            with drawing(stream):
                drawn.append(draw())
        if len(drawn) == 1:
            return drawn[0], True
        order = [0] * self._count
        for number, (_, places) in enumerate(self.groups):
            for place in places:
                order[place] = number
        return torch.stack([drawn[number] for number in order]), False
