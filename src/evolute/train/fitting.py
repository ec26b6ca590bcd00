"""Fit: one model trained along one course, by one rule at one peak learning rate."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass

import torch

from evolute.compiler.optimizer import RuleOptimizer
from evolute.lang.rule import Rule
from evolute.schedules import BaseSchedule
from evolute.seeds import derive
from evolute.seeds.streams import Stream, seeded
from evolute.tasks.base import Task
from evolute.tasks.faults import calling
from evolute.train.protocol import Protocol
from evolute.train.scoring import Course
from evolute.train.sources import Sources


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
    """One model trained along one course.

    Common random numbers: first weights, batches and the model's own noise (dropout) are functions
    of the seed alone, equal for all rules and learning rates.

    Parameters
    ----------
    subject
        What the trial is about.
    course
        Which training of the trial this is; it is told how it goes.

    Raises
    ------
    TaskError
        If the user's code raises, here and in every method.
    """

    def __init__(self, subject: Subject, course: Course) -> None:
        seed, protocol, plan = subject.seed, subject.protocol, course.plan
        self._subject = subject
        self._course = course
        with seeded(derive(seed, "weights")):
            self.model = subject.task.model(protocol.width)
        self.model.train()
        self._noise = Stream(derive(seed, "model noise"))
        sources = Sources(
            subject.task, batch_size=protocol.batch_size, augment=protocol.augment, budget_bytes=0
        )
        self._batches = sources.batches(seed)
        self._optimizer = RuleOptimizer(
            [named for named in self.model.named_parameters() if named[1].requires_grad],
            subject.rule,
            lr=course.learning_rate,
            total_steps=plan.steps,
            seed=derive(seed, "rule noise"),
        )
        self._scheduler = BaseSchedule(
            self._optimizer, plan.steps, plan.warmup_steps, plan.hold_steps, shape=plan.schedule
        )

    def run(self) -> None:
        """Train to the end of the course."""
        course = self._course
        while not course.ended:
            with self._noise.active():
                self._epoch()
            while course.wants is not None:
                # Each evaluation of a seed draws the same, however often there was one before.
                with seeded(derive(self._subject.seed, "evaluation")), self._precision():
                    evaluation = self._subject.task.evaluate(self.model, course.wants)
                course.evaluated(evaluation)

    def _precision(self) -> torch.autocast:
        enabled = self._subject.protocol.precision == "bf16"
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled)

    def _epoch(self) -> None:
        task, course = self._subject.task, self._course
        losses = metrics = 0.0
        steps = course.next_end - course.steps
        for _ in range(steps):
            if time.monotonic() > self._subject.deadline:
                course.timed_out(self._subject.time_limit_seconds)
                return
            batch = next(self._batches)
            with self._precision():
                measured = task.measure(self.model, batch)
            loss = measured.loss.item()
            course.steps += 1
            if course.steps == 1:
                course.first_loss = loss
            if not math.isfinite(loss):
                course.diverged("the loss", loss)
                return
            self._optimizer.zero_grad()
            with calling(task.name, "the backward pass of its loss", advice="mend the model"):
                measured.loss.backward()
            self._optimizer.step()
            self._scheduler.step()
            losses += loss
            metrics += measured.metric or 0.0
        broken = broken_weight(self.model)
        course.end_epoch(losses / steps, metrics / steps, broken_weight=broken)


def broken_weight(model: torch.nn.Module) -> float | None:
    """Return NaN or infinity as the first weight or buffer holds it that is not finite, or None.

    Examples
    --------
    >>> broken_weight(torch.nn.Linear(1, 1)) is None
    True
    """
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        if not torch.isfinite(tensor).all():
            return math.nan if torch.isnan(tensor).any() else math.inf
    return None
