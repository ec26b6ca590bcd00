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

from evolute.errors import TaskError
from evolute.lanes.base import Batch, CannotStackError, LaneNetwork
from evolute.lanes.batched import BatchedNetwork
from evolute.lanes.check import TOLERANCES, exact_convolutions
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.kinds import Kind, difference, done, plain_lane, shape_in_words
from evolute.tasks.randomness import Stream


class FirstUse:
    """Compares one lane of a network with the plain module on every new kind of batch.

    Parameters
    ----------
    network
        Where lanes run; nothing is compared where each is a plain module anyway.
    criterion
        Loss and metric.
    task
        Its name, for messages.
    """

    def __init__(self, network: LaneNetwork, criterion: LaneCriterion, *, task: str) -> None:
        self._network, self._criterion, self._task = network, criterion, task
        self._idle = not isinstance(network, BatchedNetwork)
        self._known: set[Any] = set()
        self._model: nn.Module | None = None

    def begins(self, model: nn.Module) -> None:
        """Keep a copy of the first model: later weights may be such that rounding is all there is.

        Parameters
        ----------
        model
            First weights of a lane.
        """
        if self._model is None and not self._idle:
            self._model = copy.deepcopy(model)

    def training(
        self, batches: Sequence[Batch], slots: Sequence[int], noise: Sequence[Stream] | None
    ) -> None:
        """Compare the first lane of each kind that is new; weights, buffers and noise stay.

        Raises
        ------
        TaskError
            If the plan computes otherwise than the plain module.
        """
        if self._idle:
            return
        for place in {id(batch): place for place, batch in enumerate(batches)}.values():
            kind = Kind(batches[place], training=True)
            if kind.key not in self._known:
                self._compare(kind, slots[place], None if noise is None else noise[place])

    def evaluation(self, batches: Iterable[Batch], slot: int) -> None:
        """Compare a lane on each kind of batch that is new.

        Raises
        ------
        TaskError
            As in training.
        """
        if self._idle:
            return
        for batch in batches:
            kind = Kind(batch, training=False)
            if kind.key not in self._known:
                self._compare(kind, slot, None)

    def _compare(self, kind: Kind, slot: int, noise: Stream | None) -> None:
        self._known.add(kind.key)
        if self._model is None:
            return
        with exact_convolutions(self._network.device), self._fresh(slot, self._model):
            told = self._told(kind, slot, noise)
        if told is not None:
            raise TaskError(
                f"task {self._task!r}: plan {self._network.plan!r} does not compute what the model "
                f"does {shape_in_words(kind)}: {told}; take the plan 'loop' (--plan loop), or give "
                "data whose batches have one shape"
            )

    @contextmanager
    def _fresh(self, slot: int, model: nn.Module) -> Iterator[None]:
        """Let a slot hold first weights for a while."""
        network = self._network
        rows = [each[slot] for each in (*network.weights, *network.state.held.values())]
        kept = [row.clone() for row in rows]
        network.put(slot, copy.deepcopy(model))
        try:
            yield
        finally:
            with torch.no_grad():
                for row, own in zip(rows, kept, strict=True):
                    row.copy_(own)

    def _told(self, kind: Kind, slot: int, noise: Stream | None) -> str | None:
        """Say what differs; None if nothing does, or the model itself raises."""
        try:
            plain = plain_lane(self._network, slot)
            wanted = done(plain, 0, kind, self._criterion, copy.copy(noise))
        except Exception:  # noqa: BLE001 - what the step itself says of it is right
            return None
        try:
            found = done(self._network, slot, kind, self._criterion, copy.copy(noise))
        except CannotStackError as fault:
            return str(fault)
        return difference(wanted, found, TOLERANCES[self._network.precision])
