"""Deck: the slots of one network, trained side by side; every lane has its own step and end.

A lane's figures are those of its trial alone, to the bit, whichever lanes share the deck, in
whatever slots, at whatever size: nothing here sums or compares over lanes.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from evolute.compiler.population import LaneOptimizer
from evolute.lanes.base import LaneNetwork
from evolute.lanes.batched import BatchedNetwork
from evolute.lanes.noise import generator_of, generator_states, same_states, seeded_device
from evolute.lang.rule import Rule
from evolute.schedules import base_schedule
from evolute.seeds import derive
from evolute.tasks.base import Evaluation, Split, Task
from evolute.tasks.faults import calling
from evolute.tasks.randomness import Stream, seeded
from evolute.train.first_use import FirstUse
from evolute.train.fitting import broken_weight
from evolute.train.planning import lane_criterion
from evolute.train.protocol import Probe, Training
from evolute.train.scoring import Course
from evolute.train.sources import Cohort, Sources
from evolute.train.survey import Survey


@dataclass(slots=True)
class Account:
    """Time that the lanes of one trial took, in seconds: of each step an equal share."""

    seconds: float = 0.0


@dataclass(eq=False, slots=True)
class Lane:
    """A course under way in a slot.

    Parameters
    ----------
    course
        What is trained.
    rule
        By what.
    seed
        Seed of weights, batches and noise.
    account
        Where its time is written down.
    ticket
        The trial that it belongs to.
    """

    course: Course
    rule: Rule
    seed: int
    account: Account
    ticket: int
    slot: int = -1
    steps: int = 0
    epoch_end: int = 0
    schedule: tuple[tuple[float, float], ...] = ()
    cohort: Cohort | None = None
    noise: Stream | None = None
    """What its own module draws from, where each lane has one: how much it draws may depend on its
    weights, so that no other lane may draw from the same."""

    def __post_init__(self) -> None:
        self.epoch_end = self.course.next_end
        self.schedule = _schedule(self.course.plan)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self.course.learning_rate * self.schedule[self.steps][0]

    @property
    def momentum(self) -> float:
        """The momentum of the next step."""
        return self.schedule[self.steps][1]


Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class _Sums:
    """Sums over the present epoch, slot by slot."""

    losses: Floats
    metrics: Floats

    @classmethod
    def zeros(cls, size: int) -> _Sums:
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
    """

    def __init__(self, task: Task, network: LaneNetwork, sources: Sources, survey: Survey) -> None:
        self.task, self.network = task, network
        self._survey = survey
        self._sources = sources
        self._criterion = lane_criterion(task)
        self._optimizer = LaneOptimizer(
            network.weights,
            network.gradients,
            indices=[survey.trained.index(name) for name in network.names],
        )
        self._sums = _Sums.zeros(network.size)
        self._lanes: dict[int, Lane] = {}
        self._by_slot: list[Lane] | None = None
        self._fresh = False  # whether a lane has made no step yet
        self._newborn: dict[int, Cohort] = {}
        self._first_use = FirstUse(network, self._criterion, task=task.name)
        self._seen: set[Split] = set()
        # None: not known yet. A model that writes into its inputs is evaluated alone as well.
        self._draws_evaluating: bool | None = True if survey.changes_inputs else None

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
        """
        lane.slot = next(slot for slot in range(self.network.size) if slot not in self._lanes)
        lane.cohort = self._cohort(lane.seed)
        lane.cohort.lanes += 1
        if self.keeps_models:
            lane.noise = Stream(derive(lane.seed, "model noise"))
        self._first_use.begins(model)
        self.network.put(lane.slot, model)
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
        assert lane.cohort is not None
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
        """Make one step of every lane; return those whose course ended, their slots free."""
        began = time.perf_counter()
        lanes = going = self.lanes
        self._newborn.clear()
        losses, metrics = self._measure(lanes)
        judged: list[Lane] = []  # those whose course may have ended
        if _diverged(lanes, losses):
            kept = np.flatnonzero(np.isfinite(losses))
            losses, metrics = losses[kept], metrics[kept]
            going = [lanes[at] for at in kept]
            judged = [lane for lane in lanes if lane.course.ended]
        self._move(going)
        slots = [lane.slot for lane in going]
        self._sums.losses[slots] += losses
        self._sums.metrics[slots] += metrics
        for lane in going:
            lane.steps += 1
        at_end = [lane for lane in going if lane.steps == lane.epoch_end]
        self._end_epochs(at_end)
        share = (time.perf_counter() - began) / len(lanes)
        for lane in lanes:
            lane.account.seconds += share
        ended = [lane for lane in (*judged, *at_end) if lane.course.ended]
        ended.sort(key=lambda lane: lane.slot)
        for lane in ended:
            self.leave(lane)
        return ended

    def _measure(self, lanes: Sequence[Lane]) -> tuple[Floats, Floats]:
        """Run forward and backward of every lane; return losses and metrics."""
        cohorts = [_cohort_of(lane) for lane in lanes]
        batches = {cohort: cohort.next_batch() for cohort in dict.fromkeys(cohorts)}
        if self._survey.changes_inputs:
            each = [copy.deepcopy(batches[cohort]) for cohort in cohorts]
        else:
            each = [batches[cohort] for cohort in cohorts]
        noise = self._noise_of(lanes)
        with calling(self.task.name, "its training step", advice="mend the model, or its loss"):
            slots = [lane.slot for lane in lanes]
            self._first_use.training(each, slots, noise)
            measured = self.network.train_step(each, slots, self._criterion, noise)
        losses = _floats(measured.losses)
        metrics = np.zeros(len(lanes)) if measured.metrics is None else _floats(measured.metrics)
        if self._fresh:
            self._fresh = False
            for lane, loss in zip(lanes, losses, strict=True):
                if lane.steps == 0:
                    lane.course.first_loss = float(loss)
        return losses, metrics

    def _noise_of(self, lanes: Sequence[Lane]) -> list[Stream] | None:
        """Return what each of these lanes draws from; None where nothing is drawn.

        A module that runs as it is may begin to draw at any step. Plans that run many lanes in one
        pass draw as much at every step, so lanes of one seed share what is drawn.
        """
        own = [lane.noise for lane in lanes if lane.noise is not None]
        if own:
            return own
        return [_cohort_of(lane).noise for lane in lanes] if self._survey.is_random else None

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
        while wanting := [lane for lane in lanes if lane.course.wants is not None]:
            for split in Split:
                self._evaluate(split, [lane for lane in wanting if lane.course.wants is split])

    def _evaluate(self, split: Split, lanes: Sequence[Lane]) -> None:
        """Evaluate the models of these lanes on a split, and tell their courses."""
        if not lanes:
            return
        if self.task.measures_itself:
            for lane in lanes:
                with seeded(derive(lane.seed, "evaluation")):
                    model = self.network.module(lane.slot)
                    lane.course.evaluated(self.task.evaluate(model, split))
            return
        with calling(
            self.task.name, f"its evaluation on the {split} data", advice="mend the model"
        ):
            if split not in self._seen:
                self._seen.add(split)
                self._first_use.evaluation(self.task.in_order(split), lanes[0].slot)
            figures = self._figures(split, lanes)
        for lane, (loss, metric) in zip(lanes, figures, strict=True):
            lane.course.evaluated(Evaluation(loss, metric))

    def _figures(self, split: Split, lanes: Sequence[Lane]) -> list[tuple[float, float | None]]:
        """Return loss and metric of each lane on a split, each drawing as its seed says, if any."""
        if self._draws_evaluating is None:
            self._draws_evaluating = self._draws_on_gpu(split, lanes[0].slot)
        if not self._draws_evaluating:
            with seeded(0), seeded_device(self.network.device):
                untouched = generator_states()
            with seeded(0):
                figures = self.network.evaluate(
                    self.task.in_order(split), [lane.slot for lane in lanes], self._criterion
                )
                self._draws_evaluating = not same_states(untouched, generator_states())
        if not self._draws_evaluating:
            return figures
        figures = []
        for lane in lanes:  # one by one: what a pass draws is one for all its lanes
            with seeded(derive(lane.seed, "evaluation")):
                figures += self.network.evaluate(
                    self.task.in_order(split), [lane.slot], self._criterion
                )
        return figures

    def _draws_on_gpu(self, split: Split, slot: int) -> bool:
        """Whether a module draws from its GPU's generator in evaluation mode."""
        device = self.network.device
        generator = generator_of(device)
        if generator is None:
            return False
        inputs, _ = next(iter(self.task.in_order(split)))
        module = self.network.module(slot).eval()
        with torch.no_grad(), seeded(0), seeded_device(device):
            before = generator.get_state()
            module(inputs.to(device) if isinstance(inputs, Tensor) else inputs)
            return not torch.equal(before, generator.get_state())


def _cohort_of(lane: Lane) -> Cohort:
    assert lane.cohort is not None
    return lane.cohort


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


@lru_cache(maxsize=16)
def _schedule(plan: Probe | Training) -> tuple[tuple[float, float], ...]:
    """Return the fraction of the peak learning rate, and the momentum, at each step."""
    return tuple(
        base_schedule(
            step,
            plan.steps,
            warmup_steps=plan.warmup_steps,
            hold_steps=plan.hold_steps,
            shape=plan.schedule,
        )
        for step in range(plan.steps)
    )
