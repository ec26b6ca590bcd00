"""StackedNetwork: all lanes of a step in one pass of batched operations."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from evolute.lanes.base import Batch, LaneMeasurement, LaneNetwork, Noise
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.means import Means
from evolute.lanes.noise import Draws
from evolute.lanes.stacked.table import Step, has_lanes
from evolute.lanes.stacked.trace import Place, Trace, trace
from evolute.lanes.stacked.value import Lanes


class StackedNetwork(LaneNetwork):
    """One traced module, run for all lanes of a step by batched operations.

    Parameters
    ----------
    template, size, device, precision
        As in :class:`~evolute.lanes.base.LaneNetwork`.
    together
        Most lanes that one pass runs: few keep the activations of large networks in the cache.
    """

    plan = "stacked"

    def __init__(
        self,
        template: nn.Module,
        size: int,
        *,
        device: torch.device | str = "cpu",
        precision: str = "float32",
        together: int = 64,
    ) -> None:
        super().__init__(template, size, device=device, precision=precision)
        self._together = together
        self._traced = copy.deepcopy(template).to(self.device)
        self._traces: dict[Any, Trace] = {}

    def train_step(
        self,
        batches: Sequence[Batch],
        slots: Sequence[int],
        criterion: LaneCriterion,
        noise: Sequence[Noise] | None = None,
    ) -> LaneMeasurement:
        losses = torch.empty(len(slots), device=self.device)
        metrics = None if criterion.metric is None else torch.empty(len(slots), device=self.device)
        for places in self._passes(batches):
            own = [slots[place] for place in places]
            streams = None if noise is None else [noise[place] for place in places]
            found = self._pass([batches[place] for place in places], own, criterion, streams)
            index = torch.tensor(places, device=self.device)
            losses[index] = found.losses
            if metrics is not None and found.metrics is not None:
                metrics[index] = found.metrics.to(self.device)
        return LaneMeasurement(losses, metrics)

    def evaluate(
        self, batches: Iterable[Batch], slots: Sequence[int], criterion: LaneCriterion
    ) -> list[tuple[float, float | None]]:
        means = [Means() for _ in slots]
        with torch.no_grad():
            for batch in batches:
                for start in range(0, len(slots), self._together):
                    some = range(start, min(start + self._together, len(slots)))
                    own = [slots[place] for place in some]
                    tensors = dict(self._selected(own))
                    outputs, targets = self._outputs(
                        [batch] * len(own), tensors, Draws(None, len(own)), training=False
                    )
                    losses = criterion.losses(outputs, targets).tolist()
                    found = criterion.metrics(outputs, targets)
                    values = [None] * len(own) if found is None else found.tolist()
                    for place, loss, value in zip(some, losses, values, strict=True):
                        means[place].add(loss, value, batch)
        return [mean.result() for mean in means]

    def _passes(self, batches: Sequence[Batch]) -> Iterator[list[int]]:
        """Yield the lanes that run together: batches of one shape, not too many at once."""
        alike: dict[Any, list[int]] = {}
        for place, (inputs, targets) in enumerate(batches):
            alike.setdefault((_kind(inputs), _kind(targets)), []).append(place)
        for places in alike.values():
            for start in range(0, len(places), self._together):
                yield places[start : start + self._together]

    def _pass(
        self,
        batches: list[Batch],
        slots: list[int],
        criterion: LaneCriterion,
        noise: Sequence[Noise] | None,
    ) -> LaneMeasurement:
        selected = dict(self._selected(slots))
        leaves = [selected[name].detach().requires_grad_() for name in self.names]
        tensors = {**selected, **dict(zip(self.names, leaves, strict=True))}
        outputs, targets = self._outputs(batches, tensors, Draws(noise, len(slots)), training=True)
        losses = criterion.losses(outputs, targets)
        found = torch.autograd.grad(losses.sum(), leaves)
        for gradients, gradient in zip(self.gradients, found, strict=True):
            _write(gradients, slots, gradient)
        for name, held in self.state.held.items():
            if _run_of(slots) is None:
                _write(held, slots, selected[name])
        return LaneMeasurement(losses.detach(), criterion.metrics(outputs, targets))

    def _outputs(
        self, batches: list[Batch], tensors: dict[str, Tensor], draws: Draws, *, training: bool
    ) -> tuple[Any, list[Any]]:
        """Return the outputs of all lanes, and their targets on the device."""
        inputs = _joined([batch[0] for batch in batches], self.device)
        targets = _on(self.device, [batch[1] for batch in batches])
        first = inputs.data[0] if isinstance(inputs, Lanes) else inputs
        found = self._trace(first, training=training)
        bf16 = self.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            output = _run(found, inputs, tensors, Step(len(batches), draws))
        if isinstance(output, Lanes):
            return output.apart().float() if bf16 else output.apart(), targets
        return _lane_by_lane(output, len(batches)), targets

    def _trace(self, inputs: Any, *, training: bool) -> Trace:
        key = (training, _kind(inputs))
        if key not in self._traces:
            self._traced.train(training)
            self._traces[key] = trace(self._traced, inputs)
        return self._traces[key]

    def _selected(self, slots: Sequence[int]) -> Iterator[tuple[str, Tensor]]:
        run = _run_of(slots)
        for name, stacked in self.state.named():
            if run is not None:
                yield name, stacked[run]
            else:
                yield name, stacked[torch.tensor(slots, device=self.device)]


def _run(found: Trace, inputs: Any, tensors: dict[str, Tensor], step: Step) -> Any:
    """Run the calls of a trace; return its output."""
    held: list[Any] = [None] * found.size
    held[0] = inputs
    for name, index in found.names.items():
        held[index] = Lanes(tensors[name], step.count)
    for index, constant in found.constants.items():
        held[index] = constant

    def known(value: Any) -> Any:
        return held[value.index] if isinstance(value, Place) else value

    for call in found.calls:
        args = fx.node.map_aggregate(call.args, known)
        kwargs = fx.node.map_aggregate(call.kwargs, known)
        if has_lanes(args, kwargs):
            held[call.index] = call.row(step, *args, **kwargs)
        else:
            held[call.index] = call.function(*args, **kwargs)
        for index in call.last:
            held[index] = None
    return fx.node.map_aggregate(found.output, known)


def _kind(value: Any) -> Any:
    return (value.shape, value.dtype) if isinstance(value, Tensor) else type(value)


def _run_of(slots: Sequence[int]) -> slice | None:
    """Return the slots as a slice where they are consecutive."""
    first = slots[0]
    if list(slots) == list(range(first, first + len(slots))):
        return slice(first, first + len(slots))
    return None


def _write(stacked: Tensor, slots: Sequence[int], values: Tensor) -> None:
    run = _run_of(slots)
    if run is not None:
        stacked[run].copy_(values)
    else:
        stacked[torch.tensor(slots, device=stacked.device)] = values


def _on(device: torch.device, values: list[Any]) -> list[Any]:
    """Return the values on a device, each object once."""
    moved: dict[int, Any] = {}
    for value in values:
        if id(value) not in moved:
            moved[id(value)] = value.to(device) if isinstance(value, Tensor) else value
    return [moved[id(value)] for value in values]


def _joined(inputs: list[Any], device: torch.device) -> Any:
    """Return the inputs of all lanes: the one tensor they share, or Lanes."""
    values = _on(device, inputs)
    if all(value is values[0] for value in values):
        return values[0]
    return Lanes(torch.stack(values), len(values))


def _lane_by_lane(output: Any, count: int) -> list[Any]:
    """Return an output of several tensors, or one that all lanes share, for each lane."""

    def of(lane: int) -> Any:
        return fx.node.map_aggregate(
            output, lambda each: each.apart()[lane] if isinstance(each, Lanes) else each
        )

    return [of(lane) for lane in range(count)]
