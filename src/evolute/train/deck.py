"""Deck: the slots of one network, trained side by side; every lane has its own step and end.

A lane's figures are those of its trial alone, to the bit, whichever lanes share the deck, in
whatever slots, at whatever size: nothing here sums or compares over lanes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from evolute.compiler.population import LaneOptimizer
from evolute.errors import TaskError
from evolute.lanes.base import LaneNetwork
from evolute.lanes.batched import BatchedNetwork
from evolute.seeds import derive
from evolute.seeds.streams import Stream
from evolute.tasks.base import Split, Task
from evolute.tasks.data import Batch
from evolute.tasks.faults import calling
from evolute.train.evaluating import Evaluating
from evolute.train.first_use import FirstUse
from evolute.train.fitting import broken_weight
from evolute.train.lane import Lane
from evolute.train.planning import lane_criterion
from evolute.train.sources import Cohort, Sources
from evolute.train.survey import Survey

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class _Sums:
    """Sums over the present epoch, slot by slot."""

    losses: Floats
    metrics: Floats

    @classmethod
    def zeros(cls, size: int) -> _Sums:
        """Return the sums of slots that have made no step."""
        return cls(np.zeros(size), np.zeros(size))


class Deck:
    """The slots of one network.

    Parameters
    ----------
    task
        What is trained on.
    network
        The slots.
    sources
        Batches and noise.
    survey
        What is known about the network.
    reference
        The model that batches of new shapes are compared on; given away.
    evaluated_at_once
        How many lanes are evaluated in one pass, at most.
    clock
        Seconds of a steady clock, by which lanes are told what they took.
    """

    def __init__(
        self,
        task: Task,
        network: LaneNetwork,
        *,
        sources: Sources,
        survey: Survey,
        reference: nn.Module,
        evaluated_at_once: int,
        clock: Callable[[], float],
    ) -> None:
        self.task, self.network = task, network
        self._clock = clock
        self._survey = survey
        self._sources = sources
        self._criterion = lane_criterion(task)
        self._optimizer = LaneOptimizer(
            network.weights,
            network.gradients,
            indices=_indices(network.names, survey.trained),
        )
        self._sums = _Sums.zeros(network.size)
        self._lanes: dict[int, Lane] = {}
        self._by_slot: list[Lane] | None = None
        self._fresh = False  # whether a lane has made no step yet
        self._newborn: dict[int, Cohort] = {}
        self._first_use = FirstUse(network, self._criterion, reference=reference)
        self._evaluating = Evaluating(
            task,
            network,
            criterion=self._criterion,
            first_use=self._first_use,
            changes_inputs=survey.changes_inputs,
            at_once=evaluated_at_once,
        )

    @property
    def lanes(self) -> list[Lane]:
        """The lanes under way, by slot."""
        if self._by_slot is None:
            self._by_slot = [self._lanes[slot] for slot in sorted(self._lanes)]
        return self._by_slot

    @property
    def free(self) -> int:
        """Number of slots without a lane."""
        return self.network.size - len(self._lanes)

    @property
    def keeps_models(self) -> bool:
        """Whether the network trains the models themselves that lanes begin with, not copies."""
        return not isinstance(self.network, BatchedNetwork)

    def begin(self, lane: Lane, model: nn.Module) -> None:
        """Put a course at its beginning into a free slot.

        Parameters
        ----------
        lane
            The course.
        model
            The first weights of its seed; given away where :attr:`keeps_models`.

        Raises
        ------
        CannotStackError
            If the plan of the network cannot train this model; the slot stays free.
        TaskError
            If it is another kind of network.
        """
        lane.slot = next(slot for slot in range(self.network.size) if slot not in self._lanes)
        self.network.put(lane.slot, model)
        lane.own_cohort = self._cohort(lane.seed)
        lane.cohort.lanes += 1
        if self.keeps_models:
            lane.noise = lane.cohort.own_noise()
        self._optimizer.assign(
            lane.slot,
            lane.rule,
            total_steps=lane.course.plan.steps,
            seed=derive(lane.seed, "rule noise"),
        )
        self._sums.losses[lane.slot] = self._sums.metrics[lane.slot] = 0.0
        self._lanes[lane.slot] = lane
        self._by_slot, self._fresh = None, True

    def _cohort(self, seed: int) -> Cohort:
        """Return what the lanes of a seed share that begin before the next step."""
        if seed not in self._newborn:
            self._newborn[seed] = self._sources.cohort(seed)
        return self._newborn[seed]

    def leave(self, lane: Lane) -> None:
        """Free the slot of a lane."""
        del self._lanes[lane.slot]
        self._by_slot = None
        self._optimizer.release(lane.slot)
        lane.cohort.lanes -= 1
        if not lane.cohort.lanes:
            lane.cohort.close()
            if self._newborn.get(lane.seed) is lane.cohort:
                del self._newborn[lane.seed]

    def resize(self, size: int) -> None:
        """Change the number of slots, which is at least that of the lanes under way."""
        keep = sorted(self._lanes)
        self.network.resize(size, keep=keep)
        self._optimizer.rebind(self.network.weights, self.network.gradients, keep=keep)
        old, self._sums = self._sums, _Sums.zeros(size)
        self._sums.losses[: len(keep)] = old.losses[keep]
        self._sums.metrics[: len(keep)] = old.metrics[keep]
        lanes, self._lanes, self._by_slot = self.lanes, {}, None
        for slot, lane in enumerate(lanes):
            lane.slot = slot
            self._lanes[slot] = lane

    def step(self) -> list[Lane]:
        """Make one step of every lane; return those that left their slots.

        Their course ended, or the plan of the network cannot go on with them: then
        :attr:`~evolute.train.lane.Lane.refusal` says why.
        """
        began = self._clock()
        present = self.lanes
        self._newborn.clear()
        lanes, losses, metrics = self._measure(present)
        going = lanes
        if _diverged(lanes, losses):
            kept = np.flatnonzero(np.isfinite(losses)).tolist()
            losses, metrics = losses[kept], metrics[kept]
            going = [lanes[at] for at in kept]
        if going:
            self._move(going)
        slots = [lane.slot for lane in going]
        self._sums.losses[slots] += losses
        self._sums.metrics[slots] += metrics
        for lane in going:
            lane.steps += 1
        self._end_epochs([lane for lane in going if lane.steps == lane.epoch_end])
        share = (self._clock() - began) / len(present)
        for lane in present:
            lane.took(share)
        left = [lane for lane in present if lane.ended]
        for lane in left:
            self.leave(lane)
        return left

    def _measure(self, lanes: Sequence[Lane]) -> tuple[Sequence[Lane], Floats, Floats]:
        """Run forward and backward; return the lanes that took part, losses and metrics."""
        batches = self._batches(lanes)
        noise = self._noise_of(lanes)
        with calling(self.task.name, "its training step", advice="mend the model, or its loss"):
            slots = [lane.slot for lane in lanes]
            refusals = self._first_use.training(batches, slots, noise=noise)
            if any(refusals):
                for lane, refusal in zip(lanes, refusals, strict=True):
                    lane.refusal = refusal
                kept = [place for place, refusal in enumerate(refusals) if refusal is None]
                lanes, batches = [lanes[at] for at in kept], [batches[at] for at in kept]
                slots = [lane.slot for lane in lanes]
                noise = None if noise is None else [noise[at] for at in kept]
            if not lanes:
                return [], np.zeros(0), np.zeros(0)
            measured = self.network.train_step(batches, slots, self._criterion, noise)
        losses = _floats(measured.losses)
        metrics = np.zeros(len(lanes)) if measured.metrics is None else _floats(measured.metrics)
        if self._fresh:
            self._fresh = False
            for lane, loss in zip(lanes, losses, strict=True):
                if lane.steps == 0:
                    lane.course.first_loss = float(loss)
        return lanes, losses, metrics

    def _batches(self, lanes: Sequence[Lane]) -> list[Batch]:
        """Return the batch of each lane, one object where lanes may share it."""
        cohorts = [lane.cohort for lane in lanes]
        batches = {cohort: cohort.next_batch() for cohort in dict.fromkeys(cohorts)}
        if self._survey.changes_inputs:
            return [copy.deepcopy(batches[cohort]) for cohort in cohorts]
        return [batches[cohort] for cohort in cohorts]

    def _noise_of(self, lanes: Sequence[Lane]) -> list[Stream] | None:
        """Return what each of these lanes draws from; None where nothing is drawn.

        A module that runs as it is may begin to draw at any step. Plans that run many lanes in one
        pass draw as much at every step, so lanes of one seed share what is drawn.
        """
        own = [lane.noise for lane in lanes if lane.noise is not None]
        if own:
            return own
        return [lane.cohort.noise for lane in lanes] if self._survey.is_random else None

    def _move(self, lanes: Sequence[Lane]) -> None:
        """Let the rules move the weights of these lanes."""
        self._optimizer.step(
            [lane.slot for lane in lanes],
            rates=[lane.rate for lane in lanes],
            momenta=[lane.momentum for lane in lanes],
        )

    def _end_epochs(self, lanes: Sequence[Lane]) -> None:
        """Tell the courses of these lanes what their epoch came to, and evaluate their models."""
        if not lanes:
            return
        slots = [lane.slot for lane in lanes]
        finite = self.network.finite(slots)
        for lane, is_finite in zip(lanes, finite, strict=True):
            course, slot = lane.course, lane.slot
            steps = lane.steps - course.steps
            course.end_epoch(
                float(self._sums.losses[slot]) / steps,
                float(self._sums.metrics[slot]) / steps,
                broken_weight=None if is_finite else broken_weight(self.network.module(slot)),
            )
            lane.epoch_end = course.next_end
        self._sums.losses[slots] = self._sums.metrics[slots] = 0.0
        while wanting := [lane for lane in lanes if lane.wants is not None]:
            for split in Split:
                self._evaluating.evaluate(split, [lane for lane in wanting if lane.wants is split])


def _indices(names: Sequence[str], trained: Sequence[str]) -> list[int]:
    """Return the places of these weights among all that an optimizer would be given."""
    unknown = sorted(set(names) - set(trained))
    if unknown:
        raise TaskError(
            f"one model has the weight {unknown[0]!r} and another has not: model= must always "
            "return the same kind of network"
        )
    return [trained.index(name) for name in names]


def _floats(values: Tensor) -> Floats:
    floats: Floats = values.detach().to("cpu", torch.float64).numpy()
    return floats


def _diverged(lanes: Sequence[Lane], losses: Floats) -> bool:
    """End the lanes whose loss is not finite; return whether there are any."""
    if np.isfinite(losses).all():
        return False
    for lane, loss in zip(lanes, losses, strict=True):
        if not math.isfinite(loss):
            lane.course.steps = lane.steps + 1
            lane.course.diverged("the loss", float(loss))
    return True
