"""StackedNetwork: all lanes of a step in one pass of batched operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from evolute.lanes.base import Batch, LaneMeasurement, Noise
from evolute.lanes.batched import BatchedNetwork, Found, Lot, all_same, kind_of
from evolute.lanes.chains import LaneChain
from evolute.lanes.criterion import IGNORED, LaneCriterion
from evolute.lanes.image_chains import LaneImageChain
from evolute.lanes.native_layers import serves
from evolute.lanes.places import NoPlacesError
from evolute.lanes.stacked.chain import lowered
from evolute.lanes.stacked.image_chain import lowered_images
from evolute.lanes.stacked.table import Step, has_lanes
from evolute.lanes.stacked.trace import Call, Place, Trace, trace
from evolute.lanes.stacked.value import Lanes

FEWEST = 2
"""Lanes of the smallest pass, where passes may have more than one."""


class StackedNetwork(BatchedNetwork):
    """One traced module, run for all lanes of a step by batched operations.

    Parameters
    ----------
    template, size, device, precision, without, together
        As in :class:`~evolute.lanes.batched.BatchedNetwork`.

    Raises
    ------
    CannotStackError
        From the first step on, if the module cannot be traced.
    """

    plan = "stacked"

    def __init__(self, template: nn.Module, size: int, **options: Any) -> None:
        super().__init__(template, size, **options)
        self._traces: dict[Any, Trace] = {}
        self._chains: dict[Any, LaneChain | LaneImageChain | None] = {}

    def resize(self, size: int, *, keep: Sequence[int]) -> None:
        super().resize(size, keep=keep)
        self._chains.clear()  # they hold the addresses of the tensors there were

    def _chained(
        self,
        batches: Sequence[Batch],
        slots: Sequence[int],
        criterion: LaneCriterion,
        noise: Sequence[Noise] | None,
    ) -> LaneMeasurement | None:
        inputs, targets = batches[0]
        if not criterion.is_classes or not self._may_chain(inputs, targets):
            return None
        key = kind_of(inputs)
        if key not in self._chains:
            self._chains[key] = self._new_chain(inputs)
        chain = self._chains[key]
        if chain is None or not chain.serves(targets):
            return None
        losses, right = chain.run(batches, slots, ignored=IGNORED, noise=noise)
        return LaneMeasurement(losses, None if criterion.metric is None else right)

    def _may_chain(self, inputs: Any, targets: Any) -> bool:
        plain = isinstance(inputs, Tensor) and isinstance(targets, Tensor)
        return plain and self.precision == "float32" and serves(*self.weights)

    def _new_chain(self, inputs: Tensor) -> LaneChain | LaneImageChain | None:
        found, tensors = self._trace(inputs, training=True), dict(self.state.named())
        gradients = dict(zip(self.names, self.gradients, strict=True))
        trained = frozenset(self.names)
        try:
            form = lowered(found, inputs, tensors=tensors, trained=trained)
            if form is not None:
                return LaneChain(form, tensors, gradients)
            images = lowered_images(found, inputs, tensors=tensors, trained=trained)
            return None if images is None else LaneImageChain(images, tensors, gradients)
        except NoPlacesError:
            return None

    def _train(self, lot: Lot, criterion: LaneCriterion) -> Found:
        leaves = {name: weight.detach().requires_grad_() for name, weight in lot.weights.items()}
        outputs = self._run(lot, {**leaves, **lot.held}, training=True)
        losses = criterion.losses(outputs, lot.targets)
        # Of a sum: given a gradient for each loss, torch imports a library of algebra to check it.
        gradients = torch.autograd.grad(losses.sum(), list(leaves.values()))
        return Found(losses.detach(), outputs, gradients)

    def _outputs(self, lot: Lot) -> Any:
        return self._run(lot, {**lot.weights, **lot.held}, training=False)

    def _run(self, lot: Lot, tensors: dict[str, Tensor], *, training: bool) -> Any:
        shared = all_same(lot.inputs)
        found = self._trace(lot.inputs[0], training=training)
        inputs = lot.inputs[0] if shared else Lanes(torch.stack(lot.inputs), lot.count)
        with self._autocast():
            output = run(found, inputs, tensors=tensors, step=Step(lot.count, lot.draws))
        if isinstance(output, Lanes):
            return self._in_float32(output.apart())
        return _lane_by_lane(output, lot.count)

    def _trace(self, inputs: Any, *, training: bool) -> Trace:
        key = (training, kind_of(inputs))
        found = self._traces.get(key)
        if found is None:
            self._module.train(training)
            found = self._traces[key] = trace(self._module, inputs)
        return found


def run(found: Trace, inputs: Any, *, tensors: dict[str, Tensor], step: Step) -> Any:
    """Run the calls of a trace and return its output.

    Parameters
    ----------
    found
        The trace.
    inputs
        A tensor that all lanes share, or Lanes.
    tensors
        Weights and buffers by name, [L, *shape].
    step
        The lanes and what they draw.
    """
    held: list[Any] = [None] * found.size
    held[0] = inputs
    for name, index in found.names.items():
        held[index] = Lanes(tensors[name], step.count)
    for index, constant in found.constants.items():
        held[index] = constant
    shared = _Shared(step, found.of_inputs, held)

    def known(value: Any) -> Any:
        return held[value.index] if isinstance(value, Place) else value

    for call in found.calls:
        args = fx.node.map_aggregate(call.args, known)
        kwargs = fx.node.map_aggregate(call.kwargs, known)
        if call.draws or has_lanes(args, kwargs):
            held[call.index] = call.row(step, *args, **kwargs)
        elif call.index in found.of_inputs and not call.in_place:
            held[call.index] = shared.result(call)
        else:
            held[call.index] = call.function(*args, **kwargs)
        for index in call.last:
            held[index] = None
            shared.forget(index)
    return fx.node.map_aggregate(found.output, known)


class _Shared:
    """What follows from inputs that all lanes share, computed once for all.

    By the rows for lanes, of as few lanes as there ever are in a pass: so it is rounded as it is
    where each lane has inputs of its own, which the functions of one tensor do not promise.
    """

    def __init__(self, step: Step, of_inputs: frozenset[int], held: list[Any]) -> None:
        self._step = Step(min(step.count, FEWEST), step.draws)
        self._of_inputs, self._held = of_inputs, held
        self._few: dict[int, Any] = {}

    def result(self, call: Call) -> Any:
        """Return what a call makes of them, as one tensor for all lanes."""
        args, kwargs = fx.node.map_aggregate((call.args, call.kwargs), self._known)
        few = self._few[call.index] = call.row(self._step, *args, **kwargs)
        return fx.node.map_aggregate(few, _first)

    def forget(self, index: int) -> None:
        """Free a result."""
        self._few.pop(index, None)

    def _known(self, value: Any) -> Any:
        if not isinstance(value, Place):
            return value
        if value.index not in self._of_inputs:
            return self._held[value.index]
        if value.index not in self._few:
            self._few[value.index] = fx.node.map_aggregate(self._held[value.index], self._as_few)
        return self._few[value.index]

    def _as_few(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return Lanes(torch.stack([value] * self._step.count), self._step.count)


def _first(value: Any) -> Any:
    return value.apart()[0] if isinstance(value, Lanes) else value


def _lane_by_lane(output: Any, count: int) -> list[Any]:
    """Return an output of several tensors, or one that all lanes share, for each lane."""

    def of(lane: int) -> Any:
        def own(each: Any) -> Any:
            return each.apart()[lane] if isinstance(each, Lanes) else each

        return fx.node.map_aggregate(output, own)

    return [of(lane) for lane in range(count)]
