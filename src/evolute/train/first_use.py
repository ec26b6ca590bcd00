"""First use: a batch of a new shape is compared with the plain module before it counts.

The last resort: plans are tried on all shapes that can be seen beforehand
(:func:`evolute.train.planning.other_kinds`); a loader may come with another one later.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from evolute.lanes.base import Batch, LaneNetwork
from evolute.lanes.batched import BatchedNetwork
from evolute.lanes.check import TOLERANCES, exact_convolutions
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.kinds import Kind, difference, done, plain_lane, shape_in_words
from evolute.lanes.refusals import reason_of
from evolute.lanes.shortage import is_out_of_memory
from evolute.seeds.streams import Stream


class FirstUse:
    """Compares one lane of a network with the plain module on every new kind of batch.

    Parameters
    ----------
    network
        Where lanes run; nothing is compared where each is a plain module anyway.
    criterion
        Loss and metric.
    reference
        The model that is compared, given away: with later weights rounding may be all there is.
    """

    def __init__(
        self, network: LaneNetwork, criterion: LaneCriterion, *, reference: nn.Module
    ) -> None:
        self._network, self._criterion = network, criterion
        self._idle = not isinstance(network, BatchedNetwork)
        self._known: dict[Any, str | None] = {}
        self._reference = reference

    def training(
        self, batches: Sequence[Batch], slots: Sequence[int], *, noise: Sequence[Stream] | None
    ) -> list[str | None]:
        """Return why each lane cannot train on its batch, None where it can.

        One lane of each kind that is new is compared; weights, buffers and noise stay.

        Parameters
        ----------
        batches, slots, noise
            As in :meth:`evolute.lanes.base.LaneNetwork.train_step`.
        """
        if self._idle:
            return []
        places = {id(batch): place for place, batch in enumerate(batches)}
        found = {
            key: self._refusal(
                Kind(batches[place], training=True),
                slots[place],
                noise=None if noise is None else noise[place],
            )
            for key, place in places.items()
        }
        return [found[id(batch)] for batch in batches]

    def evaluation(self, batches: Iterable[Batch], slot: int) -> str | None:
        """Return why lanes cannot be evaluated on these batches; None if they can.

        Parameters
        ----------
        batches
            Of an evaluation.
        slot
            A lane; it is left as it was.
        """
        if self._idle:
            return None
        refusals = (self._refusal(Kind(each, training=False), slot, noise=None) for each in batches)
        return next(filter(None, refusals), None)

    def _refusal(self, kind: Kind, slot: int, *, noise: Stream | None) -> str | None:
        if kind.key not in self._known:
            with exact_convolutions(self._network.device), self._fresh(slot):
                told = self._told(kind, slot, noise=noise)
            if told is not None:
                told = (
                    f"plan {self._network.plan!r} does not compute what the model does "
                    f"{shape_in_words(kind)}: {told}"
                )
            self._known[kind.key] = told
        return self._known[kind.key]

    @contextmanager
    def _fresh(self, slot: int) -> Iterator[None]:
        """Let a slot hold first weights for a while."""
        network = self._network
        rows = [each[slot] for each in (*network.weights, *network.state.held.values())]
        kept = [row.clone() for row in rows]
        network.put(slot, copy.deepcopy(self._reference))
        try:
            yield
        finally:
            with torch.no_grad():
                for row, own in zip(rows, kept, strict=True):
                    row.copy_(own)

    def _told(self, kind: Kind, slot: int, *, noise: Stream | None) -> str | None:
        """Say what differs; None if nothing does, or the model itself raises."""
        try:
            plain = plain_lane(self._network, slot)
            wanted = done(plain, 0, kind, self._criterion, copy.copy(noise))
        except Exception as fault:
            if is_out_of_memory(fault):
                raise
            return None  # what the step itself says of it is right
        try:
            found = done(self._network, slot, kind, self._criterion, copy.copy(noise))
        except Exception as fault:
            if is_out_of_memory(fault):
                raise
            return reason_of(fault)
        return difference(wanted, found, TOLERANCES[self._network.precision])
