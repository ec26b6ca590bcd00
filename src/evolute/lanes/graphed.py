"""GraphedNetwork: forward and backward of a stacked pass captured once, replayed from then on.

On a GPU the passes of small networks wait for the host, which starts hundreds of kernels one by
one; a CUDA graph starts them all at once. A graph reads and writes the same memory each time, so it
has copies of its own of all that changes from pass to pass: batches, weights, buffers, and the
masks that lanes draw, which are drawn before it is replayed, each from its lane's stream, as the
pass itself would draw them. Copying is cheap beside a pass, which reads and writes the activations
of a whole batch, and lets one graph serve all passes of as many lanes, in whatever slots.
"""

from __future__ import annotations

import logging
import warnings
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from evolute.lanes.batched import Found, Lot, all_same, kind_of
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.noise import Draw, Drawing, Draws
from evolute.lanes.stacked.network import StackedNetwork

_log = logging.getLogger("evolute")

MOST_GRAPHS = 8
"""Graphs that are kept, those used last: each has copies of the weights and gradients of a pass."""

Pass = Callable[[], Found]
"""Runs forward and backward on tensors that stay where they are."""

Capture = Callable[[Pass], Pass]
"""Returns what does a pass again at once; it does not do it yet, and may rehearse it."""


class CudaCapture:
    """Captures passes in CUDA graphs of one device, one after the other of which is replayed.

    They share the memory of their activations, as none of them is read after the next has begun.
    What a replay returns is overwritten by the next one.

    Parameters
    ----------
    device
        Where the passes run.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        self._last: Callable[[], torch.cuda.CUDAGraph | None] = lambda: None

    def __call__(self, run: Pass) -> Pass:
        """Return the replay of a pass.

        Raises
        ------
        RuntimeError
            If the pass waits for the device, or does what no graph can do.
        """
        with torch.cuda.device(self._device), as_before():
            if self._stream is None:
                self._stream = torch.cuda.Stream()
            rehearse(run, self._stream)
            graph, last = torch.cuda.CUDAGraph(), self._last()
            pool = None if last is None else last.pool()
            with torch.cuda.graph(graph, pool=pool, stream=self._stream):
                found = run()
        self._last = weakref.ref(graph)

        def replay() -> Found:
            graph.replay()
            return found

        return replay


def rehearse(run: Pass, stream: torch.cuda.Stream) -> None:
    """Run a pass on the stream of its capture, where libraries get their memory ready.

    A pass that waits for the device raises here, where nothing is to be mended after it.
    """
    here = torch.cuda.current_stream()
    stream.wait_stream(here)
    try:
        with torch.cuda.stream(stream), never_waiting():
            run()
    finally:  # what has begun still writes into memory that is given back if this raises
        here.wait_stream(stream)


@contextmanager
def as_before() -> Iterator[None]:
    """Leave the present GPU's stream and generator usable, though a capture inside may fail.

    Torch then stays on the stream of the capture, and its generator refuses to draw for good, as it
    takes the capture to be under way; a copy of its state knows nothing of that.
    """
    with torch.cuda.stream(torch.cuda.current_stream()):
        try:
            yield
        except RuntimeError:
            generator = torch.cuda.default_generators[torch.cuda.current_device()]
            generator.graphsafe_set_state(generator.clone_state())
            raise


@contextmanager
def never_waiting() -> Iterator[None]:
    """Let every call inside raise RuntimeError that makes the host wait for a GPU."""
    before = torch.cuda.get_sync_debug_mode()
    _set_sync_debug_mode("error")
    try:
        yield
    finally:
        _set_sync_debug_mode(before)


def _set_sync_debug_mode(mode: int | str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says at the first call that this is a prototype
        torch.cuda.set_sync_debug_mode(mode)


@dataclass(frozen=True, slots=True)
class _Note:
    """How one mask is drawn, its plain shape and its type."""

    draw: Draw
    shape: torch.Size
    dtype: torch.dtype


class _Noted:
    """Draws for a pass, and notes how."""

    def __init__(self, draws: Drawing) -> None:
        self._draws = draws
        self.notes: list[_Note] = []

    def draw(self, draw: Draw) -> tuple[Tensor, bool]:
        mask, is_shared = self._draws.draw(draw)
        self.notes.append(_Note(draw, mask.shape if is_shared else mask.shape[1:], mask.dtype))
        return mask, is_shared


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Hands a pass what was drawn before, in order."""

    masks: Iterator[Tensor]

    def draw(self, draw: Draw) -> tuple[Tensor, bool]:
        del draw
        return next(self.masks), False


@dataclass(frozen=True, slots=True)
class _Graph:
    """A captured pass, the tensors that it reads and writes, and how its masks are drawn."""

    lot: Lot
    notes: Sequence[_Note]
    masks: Sequence[Tensor]
    replay: Pass
    drawn: list[Draws] = field(default_factory=list)
    """By whom the masks were drawn last."""

    def run(self, lot: Lot) -> Found:
        """Do the pass on a lot."""
        self._draw(lot.draws)
        _copy((*_read(self.lot), *self.lot.held.values()), (*_read(lot), *lot.held.values()))
        found = self.replay()
        _copy(lot.held.values(), self.lot.held.values())
        return found

    def _draw(self, draws: Drawing) -> None:
        """Draw the masks, unless another pass of this step has drawn the same."""
        assert isinstance(draws, Draws)
        if not any(map(draws.repeat, self.drawn)):
            for mask, note in zip(self.masks, self.notes, strict=True):
                mask.copy_(draws.draw(note.draw)[0])
        self.drawn[:] = [draws]


class GraphedNetwork(StackedNetwork):
    """A stacked network whose passes are replayed as graphs where they can be.

    Parameters
    ----------
    template, size, options
        As in :class:`~evolute.lanes.stacked.network.StackedNetwork`.
    capture
        Makes graphs of passes; by default CUDA graphs on a GPU, else none.
    """

    plan = "graphed"

    def __init__(
        self, template: nn.Module, size: int, *, capture: Capture | None = None, **options: Any
    ) -> None:
        super().__init__(template, size, **options)
        on_gpu = self.device.type == "cuda"
        self._capture = capture or (CudaCapture(self.device) if on_gpu else None)
        self._graphs: dict[Hashable, _Graph] = {}
        self._notes: dict[Hashable, list[_Note]] = {}

    def resize(self, size: int, *, keep: Sequence[int]) -> None:
        super().resize(size, keep=keep)
        self._graphs.clear()  # passes of other numbers of lanes are to come
        self._notes.clear()

    def _train(self, lot: Lot, criterion: LaneCriterion) -> Found:
        if self._capture is None or not _is_of_tensors(lot):
            return super()._train(lot, criterion)
        key = _kind(lot, criterion)
        graph = self._graphs.pop(key, None)
        if graph is None and key in self._notes:
            graph = self._captured(self._capture, lot, criterion, self._notes.pop(key))
        if graph is None:  # a number of lanes that comes once is not worth a graph
            noted = _Noted(lot.draws)
            found = super()._train(replace(lot, draws=noted), criterion)
            self._notes[key] = noted.notes
            return found
        self._graphs[key] = graph
        if len(self._graphs) > MOST_GRAPHS:
            del self._graphs[next(iter(self._graphs))]
        return graph.run(lot)

    def _captured(
        self, capture: Capture, lot: Lot, criterion: LaneCriterion, notes: Sequence[_Note]
    ) -> _Graph | None:
        """Return the graph of a pass; None, with a warning, where it cannot be captured."""
        own = replace(
            lot,
            inputs=_copies(lot.inputs),
            targets=_copies(lot.targets),
            weights={name: each.clone() for name, each in lot.weights.items()},
            held={name: each.clone() for name, each in lot.held.items()},
        )
        masks = [
            torch.empty((lot.count, *note.shape), dtype=note.dtype, device=self.device)
            for note in notes
        ]
        train = super()._train
        try:
            replay = capture(lambda: train(replace(own, draws=_Drawn(iter(masks))), criterion))
        except RuntimeError as error:
            _log.warning(
                "plan %r goes on without CUDA graphs, as a pass could not be captured: %s",
                self.plan,
                error,
            )
            self._capture = None
            return None
        return _Graph(own, notes, masks, replay)


def _is_of_tensors(lot: Lot) -> bool:
    return all(isinstance(each, Tensor) for each in (*lot.inputs, *lot.targets))


def _kind(lot: Lot, criterion: LaneCriterion) -> Hashable:
    """Return what two passes have in common that one graph can do."""
    parts = ((all_same(values), kind_of(values[0])) for values in (lot.inputs, lot.targets))
    return criterion, lot.count, *parts


def _copies(values: list[Tensor]) -> list[Tensor]:
    """Return a copy for each lane, or one where all lanes share it."""
    if all_same(values):
        return [values[0].clone()] * len(values)
    return [each.clone() for each in values]


def _read(lot: Lot) -> Iterator[Tensor]:
    """Yield what a pass reads and does not write, each tensor once."""
    for values in (lot.inputs, lot.targets):
        yield from values[:1] if all_same(values) else values
    yield from lot.weights.values()


def _copy(into: Iterable[Tensor], given: Iterable[Tensor]) -> None:
    """Copy tensors, in one launch for all of one type."""
    alike: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for own, new in zip(into, given, strict=True):
        owns, news = alike.setdefault(own.dtype, ([], []))
        owns.append(own)
        news.append(new)
    with torch.no_grad():
        for owns, news in alike.values():
            torch._foreach_copy_(owns, news)
