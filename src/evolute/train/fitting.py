"""Fit: one model trained by one rule at one peak learning rate, epoch by epoch."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from evolute.compiler.optimizer import RuleOptimizer
from evolute.lang.rule import Rule
from evolute.schedules import BaseSchedule
from evolute.seeds import derive, torch_generator
from evolute.tasks.base import Task
from evolute.tasks.faults import calling
from evolute.tasks.randomness import Stream, seeded
from evolute.train.protocol import Probe, Protocol, Threshold, Training
from evolute.train.stopping import EpochMeans, shortfall
from evolute.trial import Outcome, OutcomeKind


@dataclass(frozen=True, slots=True)
class Subject:
    """What a trial is about: the arguments that all its fits share.

    Parameters
    ----------
    rule, task, protocol, seed
        As in :func:`evolute.train.trainer.run_trial`.
    time_limit_seconds, deadline
        The limit, for messages, and its end on the clock of :func:`time.monotonic`.
    """

    rule: Rule
    task: Task
    protocol: Protocol
    seed: int
    time_limit_seconds: float = math.inf
    deadline: float = math.inf


class Fit:
    """One model trained by one rule at one peak learning rate.

    Common random numbers: first weights, batches and the model's own noise (dropout) are functions
    of the seed alone, equal for all rules and learning rates.

    Parameters
    ----------
    subject
        What the trial is about.
    plan
        Lengths of the training, its warm-up and its epochs.
    learning_rate
        Its peak.

    Raises
    ------
    TaskError
        If the user's code raises, here and in every method.
    """

    def __init__(self, subject: Subject, plan: Probe | Training, *, learning_rate: float) -> None:
        seed, protocol = subject.seed, subject.protocol
        self._subject = subject
        self._plan = plan
        self._stage = "probe" if isinstance(plan, Probe) else "training"
        self.learning_rate = learning_rate
        with seeded(derive(seed, "weights")):
            self.model = subject.task.model(protocol.width)
        self.model.train()
        self._noise = Stream(derive(seed, "model noise"))
        self._batches = subject.task.batches(
            torch_generator(seed, "batches"), protocol.batch_size, augment=protocol.augment
        )
        self._optimizer = RuleOptimizer(
            [named for named in self.model.named_parameters() if named[1].requires_grad],
            subject.rule,
            lr=learning_rate,
            total_steps=plan.steps,
            seed=derive(seed, "rule noise"),
        )
        self._scheduler = BaseSchedule(
            self._optimizer, plan.steps, plan.warmup_steps, shape=plan.schedule
        )
        self.steps = 0
        self._first_loss = math.nan

    def epochs(self) -> Iterator[EpochMeans | Outcome]:
        """Train on and yield the means of each epoch; an Outcome if it fails, as the last."""
        epochs = 0
        while not self.finished:
            with self._noise.active():
                result = self._epoch(min(self._plan.epoch_steps, self._plan.steps - self.steps))
            epochs += 1
            if epochs == self._plan.abandon_epoch and isinstance(result, EpochMeans):
                result = self._abandoned(result) or result
            yield result
            if isinstance(result, Outcome):
                return

    @property
    def finished(self) -> bool:
        """Whether all steps are made."""
        return self.steps == self._plan.steps

    def shortfall(self, threshold: Threshold, epoch: EpochMeans) -> str | None:
        """Say how an epoch of this training falls short of a threshold; None if it does not."""
        accuracy = self._subject.task.has_accuracy
        return shortfall(threshold, epoch, first_loss=self._first_loss, has_accuracy=accuracy)

    def diverged(self, what: str, value: float) -> Outcome:
        """Return the outcome of a training in which something is no longer finite."""
        became = "NaN" if math.isnan(value) else "infinite"
        return Outcome(OutcomeKind.DIVERGED, f"diverged: {what} became {became} at {self._place()}")

    def _abandoned(self, epoch: EpochMeans) -> Outcome | None:
        short = self.shortfall(self._plan.abandon, epoch)
        if short is None:
            return None
        sentence = f"below threshold: stopped after {self._place()}: {short}"
        return Outcome(OutcomeKind.BELOW_THRESHOLD, sentence)

    def _place(self) -> str:
        return f"step {self.steps} of the {self._stage} at learning rate {self.learning_rate:g}"

    def _epoch(self, steps: int) -> EpochMeans | Outcome:
        losses = metrics = 0.0
        task = self._subject.task
        for _ in range(steps):
            if time.monotonic() > self._subject.deadline:
                limit = self._subject.time_limit_seconds
                sentence = f"timed out: {limit:g} seconds were over at {self._place()}"
                return Outcome(OutcomeKind.TIMED_OUT, sentence)
            measured = task.measure(self.model, next(self._batches))
            loss = measured.loss.item()
            self.steps += 1
            if self.steps == 1:
                self._first_loss = loss
            if not math.isfinite(loss):
                return self.diverged("the loss", loss)
            self._optimizer.zero_grad()
            with calling(task.name, "the backward pass of its loss", advice="mend the model"):
                measured.loss.backward()
            self._optimizer.step()
            self._scheduler.step()
            losses += loss
            metrics += measured.metric or 0.0
        return self._means(losses / steps, metrics / steps)

    def _means(self, loss: float, metric: float) -> EpochMeans | Outcome:
        """Return the means of an epoch that ended with finite weights."""
        for tensor in itertools.chain(self.model.parameters(), self.model.buffers()):
            if not torch.isfinite(tensor).all():
                value = math.nan if torch.isnan(tensor).any() else math.inf
                return self.diverged("a weight", value)
        if not math.isfinite(loss):
            return self.diverged("the mean training loss", loss)
        if not math.isfinite(metric):
            return self.diverged("the training metric", metric)
        return EpochMeans(loss, None if self._subject.task.metric is None else metric)
