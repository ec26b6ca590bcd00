"""GraphedNetwork: forward and backward of a stacked pass captured once, replayed from then on.

On a GPU the passes of small networks wait for the host, which starts hundreds of kernels one by
one; a CUDA graph starts them all at once. What a graph does is fixed, so a pass is captured only
where nothing but the contents of batches and weights changes: the lanes lie side by side in the
stacked tensors, and the model draws nothing. All other passes run as they would without graphs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from evolute.lanes.base import Batch, LaneMeasurement, Noise
from evolute.lanes.batched import Found, Lot, kind_of
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.stacked.network import StackedNetwork

_log = logging.getLogger("evolute")

WARM_UPS = 2
"""Passes that run before the next one of their kind is captured: libraries get ready in them."""

MOST_GRAPHS = 8
"""Graphs that are kept, each with memory of its own for all activations of a pass."""

Pass = Callable[[], Found]
"""Runs forward and backward on tensors that stay where they are."""

Capture = Callable[[Pass], Pass]
"""Returns what does a pass again at once; it does not do it yet."""


def capture_pass(run: Pass) -> Pass:
    """Capture a pass in a CUDA graph and return its replay.

    What it returns is overwritten by its next call.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = run()

    def replay() -> Found:
        graph.replay()
        return found

    return replay


@dataclass(frozen=True, slots=True)
class _Graph:
    """A captured pass, and the tensors that it reads batches from."""

    lot: Lot
    replay: Pass

    def run(self, lot: Lot) -> Found:
        """Do the pass on the batches of a lot."""
        pairs = zip((*self.lot.inputs, *self.lot.targets), (*lot.inputs, *lot.targets), strict=True)
        for own, given in {id(own): (own, given) for own, given in pairs}.values():
            own.copy_(given)
        return self.replay()


class GraphedNetwork(StackedNetwork):
    """A stacked network whose passes are replayed as graphs where they can be.

    Parameters
    ----------
    template, size, options
        As in :class:`~evolute.lanes.stacked.network.StackedNetwork`.
    capture
        Makes a graph of a pass; by default a CUDA graph on a GPU, else none.
    """

    plan = "stacked graphed"

    def __init__(
        self, template: nn.Module, size: int, *, capture: Capture | None = None, **options: Any
    ) -> None:
        super().__init__(template, size, **options)
        self._capture = capture or (capture_pass if self.device.type == "cuda" else None)
        self._graphs: dict[Hashable, _Graph] = {}
        self._warm: dict[Hashable, int] = {}
        self._draws_nothing = True

    def resize(self, size: int, *, keep: Sequence[int]) -> None:
        super().resize(size, keep=keep)
        self._graphs.clear()  # they hold the addresses of the tensors there were
        self._warm.clear()

    def train_step(
        self,
        batches: Sequence[Batch],
        slots: Sequence[int],
        criterion: LaneCriterion,
        noise: Sequence[Noise] | None = None,
    ) -> LaneMeasurement:
        self._draws_nothing = noise is None
        return super().train_step(batches, slots, criterion, noise)

    def _chained(self, *_given: Any) -> None:
        """No chain of native layers: they are the CPU's own."""

    def _train(self, lot: Lot, criterion: LaneCriterion) -> Found:
        if self._capture is None or not self._draws_nothing or not self._stays(lot):
            return super()._train(lot, criterion)
        key = _kind(lot, criterion)
        graph = self._graphs.get(key)
        if graph is None:
            self._warm[key] = self._warm.get(key, 0) + 1
            if self._warm[key] <= WARM_UPS:
                return super()._train(lot, criterion)
            graph = self._captured(self._capture, lot, criterion)
            if graph is None:
                return super()._train(lot, criterion)
            while len(self._graphs) >= MOST_GRAPHS:
                del self._graphs[next(iter(self._graphs))]
            self._graphs[key] = graph
        return graph.run(lot)

    def _stays(self, lot: Lot) -> bool:
        """Whether a lot's weights and buffers are the stacked tensors, and its batches tensors."""
        stacked = dict(self.state.named())
        given = {**lot.weights, **lot.held}
        return all(
            each.untyped_storage().data_ptr() == stacked[name].untyped_storage().data_ptr()
            for name, each in given.items()
        ) and all(isinstance(each, Tensor) for each in (*lot.inputs, *lot.targets))

    def _captured(self, capture: Capture, lot: Lot, criterion: LaneCriterion) -> _Graph | None:
        """Return the graph of a pass; None, with a warning, where it cannot be captured."""
        own = replace(lot, inputs=_copies(lot.inputs), targets=_copies(lot.targets))
        train = super()._train
        try:
            return _Graph(own, capture(lambda: train(own, criterion)))
        except RuntimeError as error:
            _log.warning(
                "plan %r goes on without CUDA graphs, as a pass could not be captured: %s",
                self.plan,
                error,
            )
            self._capture = None
            return None


def _kind(lot: Lot, criterion: LaneCriterion) -> Hashable:
    """Return what two passes have in common that one graph can do."""
    tensors = (*lot.weights.values(), *lot.held.values())
    return (
        criterion,
        _shared(lot.inputs),
        _shared(lot.targets),
        tuple(each.data_ptr() for each in tensors),
    )


def _shared(values: Sequence[Tensor]) -> tuple[Any, ...]:
    """Return kind of each tensor and the place of the first that is the same object."""
    first: dict[int, int] = {}
    return tuple(
        (first.setdefault(id(each), place), kind_of(each)) for place, each in enumerate(values)
    )


def _copies(values: Sequence[Tensor]) -> list[Tensor]:
    """Return a copy of each object, the same one where lanes share it."""
    copies = {id(each): each for each in values}
    copies = {key: each.clone() for key, each in copies.items()}
    return [copies[id(each)] for each in values]
