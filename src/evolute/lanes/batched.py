"""BatchedNetwork: what the plans have in common that run many lanes in one pass."""

from __future__ import annotations

import contextlib
import copy
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from evolute.lanes.attributes import held_by, require_alike, require_real
from evolute.lanes.base import Batch, LaneMeasurement, LaneNetwork, Noise
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.means import Means
from evolute.lanes.noise import Drawing, Draws, replayed, seeded_device

TOGETHER = 64
"""Lanes that one pass runs unless told otherwise: more gain nothing (measured: flat from 16 on)."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one training pass found.

    Parameters
    ----------
    losses
        [l].
    outputs
        [l, *shape], or a list of l outputs.
    gradients
        [l, *shape] of each trained weight.
    """

    losses: Tensor
    outputs: Any
    gradients: Sequence[Tensor]


@dataclass(frozen=True, slots=True)
class Lot:
    """The lanes of one pass.

    Parameters
    ----------
    inputs
        What each lane gets, on the device; the same object where lanes share it.
    targets
        Likewise.
    weights
        Trained weights by name, [l, *shape].
    held
        Frozen weights and buffers by name, [l, *shape], written in place.
    draws
        What the lanes draw.
    """

    inputs: list[Any]
    targets: list[Any]
    weights: dict[str, Tensor]
    held: dict[str, Tensor]
    draws: Drawing

    @property
    def count(self) -> int:
        """Number of lanes."""
        return len(self.inputs)


class BatchedNetwork(LaneNetwork):
    """Runs lanes in passes, on the stacked tensors themselves or on rows gathered from them.

    Parameters
    ----------
    template, size, device, precision, without
        As in :class:`~evolute.lanes.base.LaneNetwork`.
    together
        Most lanes that one pass runs: few keep the activations of large networks in the cache.
    spare
        Whether a lane nobody wants runs last in every pass. Torch computes the last numbers of a
        tensor, where they fill no vector, by scalar functions that round differently from vector
        ones; this lane takes them upon itself.

    Raises
    ------
    CannotStackError
        If a weight is complex; from :meth:`put`, if a model differs from the template in more than
        weights and buffers, of which all lanes have the template's.
    """

    def __init__(
        self,
        template: nn.Module,
        size: int,
        *,
        device: torch.device | str = "cpu",
        precision: str = "float32",
        without: frozenset[str] = frozenset(),
        together: int = TOGETHER,
        spare: bool = False,
    ) -> None:
        require_real(template)
        super().__init__(template, size, device=device, precision=precision, without=without)
        self._alike = held_by(template)
        self._together = together
        self._spare = spare
        self._module = copy.deepcopy(template).to(self.device)

    def put(self, slot: int, model: nn.Module) -> None:
        super().put(slot, model)  # which says first if it is another network altogether
        require_alike(self._alike, model)

    @abstractmethod
    def _train(self, lot: Lot, criterion: LaneCriterion) -> Found:
        """Run forward and backward in training mode."""

    def _chained(
        self,
        batches: Sequence[Batch],
        slots: Sequence[int],
        criterion: LaneCriterion,
        noise: Sequence[Noise] | None,
    ) -> LaneMeasurement | None:
        """Run lanes by one native call that fills their gradients; None where it knows them not.

        Whether it does depends on the shapes of a lane's own batch, never on other lanes.
        """
        del batches, slots, criterion, noise
        return None

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Let the code inside compute in the precision of this network."""
        if self.precision != "bf16":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _in_float32(self, output: Any) -> Any:
        """Return what was computed under autocast as the criterion takes it."""
        return output.float() if self.precision == "bf16" else output

    @abstractmethod
    def _outputs(self, lot: Lot) -> Any:
        """Run forward in evaluation mode, without a graph; [l, *shape], or a list of l outputs."""

    def train_step(
        self,
        batches: Sequence[Batch],
        slots: Sequence[int],
        criterion: LaneCriterion,
        noise: Sequence[Noise] | None = None,
    ) -> LaneMeasurement:
        losses = torch.empty(len(slots), device=self.device)
        metrics = None if criterion.metric is None else torch.empty(len(slots), device=self.device)
        streams_of = replayed(noise, self.device)
        for alike in self._by_shape(batches):
            for stream in streams_of or ():
                stream.again()
            chained = self._chained(
                [batches[place] for place in alike],
                [slots[place] for place in alike],
                criterion,
                None if streams_of is None else [streams_of[place] for place in alike],
            )
            if chained is not None and len(alike) == len(slots):
                return chained
            if chained is not None:
                _enter_all((losses, metrics), alike, chained)
                continue
            for start in range(0, len(alike), self._together):
                for stream in streams_of or ():
                    stream.again()
                places = alike[start : start + self._together]
                ran = self._in_company(places)
                own = [slots[place] for place in ran]
                streams = None if streams_of is None else [streams_of[place] for place in ran]
                lot = self._lot([batches[place] for place in ran], own, streams)
                found = self._train(lot, criterion)
                with torch.no_grad():
                    self._write(own, lot, found)
                    measured = criterion.metrics(found.outputs, lot.targets)
                    _enter_all((losses, metrics), places, LaneMeasurement(found.losses, measured))
        return LaneMeasurement(losses, metrics)

    def evaluate(
        self, batches: Iterable[Batch], slots: Sequence[int], criterion: LaneCriterion
    ) -> list[tuple[float, float | None]]:
        means = [Means() for _ in slots]
        with torch.no_grad(), seeded_device(self.device):
            for batch in batches:
                for start in range(0, len(slots), self._together):
                    end = min(start + self._together, len(slots))
                    some = self._in_company(list(range(start, end)))
                    lot = self._lot([batch] * len(some), [slots[place] for place in some], None)
                    outputs = self._outputs(lot)
                    losses = criterion.losses(outputs, lot.targets).tolist()
                    found = criterion.metrics(outputs, lot.targets)
                    values = [None] * len(some) if found is None else found.tolist()
                    for place, loss, value in zip(range(start, end), losses, values, strict=False):
                        means[place].add(loss, value, batch)
        return [mean.result() for mean in means]

    def _by_shape(self, batches: Sequence[Batch]) -> Iterable[list[int]]:
        """Return the lanes whose batches have one shape, for each shape."""
        kinds = {
            key: tuple(map(kind_of, batch))
            for key, batch in {id(batch): batch for batch in batches}.items()
        }
        alike: dict[Any, list[int]] = {kind: [] for kind in kinds.values()}
        if len(alike) == 1:
            return [list(range(len(batches)))]
        for place, batch in enumerate(batches):
            alike[kinds[id(batch)]].append(place)
        return alike.values()

    def _in_company(self, places: list[int]) -> list[int]:
        """Return the lanes of a pass, and what runs for company: one alone runs beside itself.

        For one lane torch takes other kernels than for many (a convolution with one group, a plain
        product of matrices), which round differently.
        """
        company = self._spare or (len(places) == 1 and self._together > 1)
        return [*places, places[-1]] if company else places

    def _lot(self, batches: list[Batch], slots: list[int], noise: Sequence[Noise] | None) -> Lot:
        chosen = _index(slots, self.device)
        return Lot(
            inputs=_on(self.device, [batch[0] for batch in batches]),
            targets=_on(self.device, [batch[1] for batch in batches]),
            weights={
                name: stacked[chosen]
                for name, stacked in zip(self.names, self.weights, strict=True)
            },
            held={name: stacked[chosen] for name, stacked in self.state.held.items()},
            draws=Draws(noise, len(slots)),
        )

    def _write(self, slots: list[int], lot: Lot, found: Found) -> None:
        chosen = _index(slots, self.device)
        for gradients, gradient in zip(self.gradients, found.gradients, strict=True):
            gradients[chosen] = gradient
        if not isinstance(chosen, slice):
            for name, held in self.state.held.items():
                held[chosen] = lot.held[name]


def kind_of(value: Any) -> Any:
    """Return what two inputs must have in common to run in one pass."""
    return (value.shape, value.dtype) if isinstance(value, Tensor) else type(value)


def all_same(values: Sequence[Any]) -> bool:
    """Say whether all are one object."""
    return all(value is values[0] for value in values)


def _index(slots: Sequence[int], device: torch.device) -> slice | Tensor:
    """Return the slots as a slice where they are consecutive: then nothing is copied."""
    first = slots[0]
    if list(slots) == list(range(first, first + len(slots))):
        return slice(first, first + len(slots))
    return torch.tensor(list(slots), device=device)


def _enter_all(
    vectors: tuple[Tensor, Tensor | None], places: list[int], found: LaneMeasurement
) -> None:
    """Write the losses and metrics of some places; what was found beyond them is of company."""
    chosen = _index(places, vectors[0].device)
    for vector, values in zip(vectors, (found.losses, found.metrics), strict=True):
        if vector is not None and values is not None:
            vector[chosen] = values[: len(places)].to(vector)


def moved_to(device: torch.device, value: Tensor) -> Tensor:
    """Return a tensor on a device; on its way to a GPU the host waits for nothing.

    Memory that the system may page out would be copied only when all work before is done.
    """
    if device.type == "cuda" and value.device.type == "cpu":
        return value.pin_memory().to(device, non_blocking=True)
    return value.to(device)


def _on(device: torch.device, values: list[Any]) -> list[Any]:
    """Return the values on a device, each object once."""
    given = {id(value): value for value in values}
    moved = {
        key: moved_to(device, value) if isinstance(value, Tensor) else value
        for key, value in given.items()
    }
    if all(moved[key] is value for key, value in given.items()):
        return values
    return [moved[id(value)] for value in values]
