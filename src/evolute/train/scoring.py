"""Scoring: the decisions of a trial, told epoch by epoch; no tensors, no clock, no task.

Probe learning rates, train at the best one, stop what is hopeless (section 6 of the published
method: Morgan and Hougen, 2024). Who trains, one course at a time or many side by side, drives it::

    waiting = scoring.begin()
    while scoring.result is None:
        course = ...                        # any of those waiting
        while not course.ended:
            course.end_epoch(...)           # after course.next_end steps; or course.fail(...)
            while course.wants is not None:
                course.evaluated(...)       # on the split that it wants
        waiting += scoring.ended(course)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from evolute.tasks.base import Evaluation, Split
from evolute.train.protocol import Probe, Protocol, Threshold, Training
from evolute.train.stopping import EpochMeans, shortfall
from evolute.trial import EpochRecord, Outcome, OutcomeKind, Score


@dataclass(slots=True)
class Course:
    """One training of a trial: how far it is, what it reached, and whether it goes on.

    Parameters
    ----------
    protocol
        Protocol of the trial.
    plan
        Lengths and thresholds.
    learning_rate
        Its peak.
    has_accuracy, has_metric
        Whether the task's metric is accuracy, and whether it has a metric.
    """

    protocol: Protocol
    plan: Probe | Training
    learning_rate: float
    has_accuracy: bool
    has_metric: bool
    steps: int = field(default=0, init=False)
    first_loss: float = field(default=math.nan, init=False)
    epochs: list[EpochMeans] = field(default_factory=list, init=False)
    records: list[EpochRecord] = field(default_factory=list, init=False)
    outcome: Outcome | None = field(default=None, init=False)
    wants: Split | None = field(default=None, init=False)
    chosen: Evaluation | None = field(default=None, init=False)
    scored: Evaluation | None = field(default=None, init=False)

    @property
    def is_probe(self) -> bool:
        """Whether it only compares learning rates."""
        return isinstance(self.plan, Probe)

    @property
    def next_end(self) -> int:
        """Number of steps at which the present epoch ends."""
        return min((len(self.epochs) + 1) * self.plan.epoch_steps, self.plan.steps)

    @property
    def finished(self) -> bool:
        """Whether all steps are made."""
        return self.steps == self.plan.steps

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do: it failed, or made all its steps and was evaluated."""
        return self.outcome is not None or (self.finished and self.wants is None)

    def end_epoch(self, loss: float, metric: float, *, broken_weight: float | None) -> None:
        """Say what the epoch that ends at :attr:`next_end` came to.

        Parameters
        ----------
        loss, metric
            Means over its batches; the metric of a task that has none is ignored.
        broken_weight
            NaN or infinity where a weight or buffer of the model holds it, None where all are
            finite.
        """
        self.steps = self.next_end
        if broken_weight is not None:
            self.diverged("a weight", broken_weight)
        elif not math.isfinite(loss):
            self.diverged("the mean training loss", loss)
        elif self.has_metric and not math.isfinite(metric):
            self.diverged("the training metric", metric)
        else:
            self.epochs.append(EpochMeans(loss, metric if self.has_metric else None))
            self._judge()

    def _judge(self) -> None:
        if len(self.epochs) == self.plan.abandon_epoch:
            short = self.shortfall(self.plan.abandon, self.epochs[-1])
            if short is not None:
                sentence = f"below threshold: stopped after {self._place()}: {short}"
                self.fail(Outcome(OutcomeKind.BELOW_THRESHOLD, sentence))
        if self.outcome is None and not self.is_probe:
            self.wants = Split.VALIDATION

    def evaluated(self, evaluation: Evaluation) -> None:
        """Say what the model does on the split that was wanted."""
        split, self.wants = self.wants, None
        assert split is not None
        if not math.isfinite(evaluation.loss):
            self.diverged(f"the {split} loss", evaluation.loss)
        elif evaluation.metric is not None and not math.isfinite(evaluation.metric):
            self.diverged(f"the {split} metric", evaluation.metric)
        elif split is Split.VALIDATION:
            self._validated(evaluation)
        else:
            self.scored = evaluation

    def _validated(self, validation: Evaluation) -> None:
        epoch, protocol = self.epochs[-1], self.protocol
        self.records.append(
            EpochRecord(self.steps, epoch.loss, epoch.metric, validation.loss, validation.metric)
        )
        if protocol.fitness_epoch == "last" and not self.finished:
            return
        if self.chosen is not None and rank(self.chosen, protocol) <= rank(validation, protocol):
            return
        self.chosen = validation
        if protocol.split == "validation":
            self.scored = validation
        else:
            self.wants = Split(protocol.split)

    def shortfall(self, threshold: Threshold, epoch: EpochMeans) -> str | None:
        """Say how an epoch of this training falls short of a threshold; None if it does not."""
        return shortfall(
            threshold, epoch, first_loss=self.first_loss, has_accuracy=self.has_accuracy
        )

    def diverged(self, what: str, value: float) -> None:
        """End it, as something is no longer finite."""
        became = "NaN" if math.isnan(value) else "infinite"
        sentence = f"diverged: {what} became {became} at {self._place()}"
        self.fail(Outcome(OutcomeKind.DIVERGED, sentence))

    def timed_out(self, limit_seconds: float) -> None:
        """End it, as the time of its trial is over."""
        sentence = f"timed out: {limit_seconds:g} seconds were over at {self._place()}"
        self.fail(Outcome(OutcomeKind.TIMED_OUT, sentence))

    def fail(self, outcome: Outcome) -> None:
        """End it with this outcome."""
        self.outcome, self.wants = outcome, None

    def _place(self) -> str:
        stage = "probe" if self.is_probe else "training"
        return f"step {self.steps} of the {stage} at learning rate {self.learning_rate:g}"


@dataclass
class Scoring:
    """The course of a trial: which trainings it needs, and what they come to.

    Its result does not depend on the order in which courses are told to have ended.

    Parameters
    ----------
    protocol
        How the rule is scored.
    metric
        Name of the task's metric, None for a task that has none.
    has_accuracy
        Whether that is accuracy.
    """

    protocol: Protocol
    metric: str | None
    has_accuracy: bool
    result: Score | Outcome | None = field(default=None, init=False)
    _courses: list[Course] = field(default_factory=list, init=False)
    _under_way: int = field(default=0, init=False)

    @property
    def curve(self) -> tuple[EpochRecord, ...]:
        """The learning curve of the training, as far as it went."""
        return tuple(record for course in self._courses for record in course.records)

    @property
    def outcome(self) -> Outcome:
        """How the trial ended; only once there is a result."""
        assert self.result is not None
        if isinstance(self.result, Outcome):
            return self.result
        score = self.result
        metric = "" if score.metric is None else f" and {self.metric} {score.metric:.4g}"
        return Outcome(
            OutcomeKind.FINISHED,
            f"finished: loss {score.loss:.4g}{metric} at learning rate {score.learning_rate:g}",
        )

    def begin(self) -> list[Course]:
        """Return the courses that the trial begins with; they may be trained side by side."""
        if self.protocol.probe is not None:
            return self._probes(self.protocol.probe.first_rates)
        assert self.protocol.learning_rate is not None
        return self._start([self.protocol.learning_rate], self.protocol.training)

    def ended(self, course: Course) -> list[Course]:
        """Take in a course that has ended; return those that follow.

        A course that timed out ends the trial: those still under way are no longer needed.
        """
        self._under_way -= 1
        if course.outcome is not None and course.outcome.kind is OutcomeKind.TIMED_OUT:
            self.result = course.outcome
        elif not course.is_probe:
            self.result = course.outcome or self._score(course)
        elif not self._under_way:
            return self._after_probes()
        return []

    def restarted(self, course: Course) -> Course:
        """Return a course that takes the place of this one, at its beginning."""
        fresh = Course(
            course.protocol,
            course.plan,
            course.learning_rate,
            course.has_accuracy,
            course.has_metric,
        )
        self._courses[self._place(course)] = fresh
        return fresh

    def _place(self, course: Course) -> int:
        return next(at for at, each in enumerate(self._courses) if each is course)

    def _probes(self, rates: Sequence[float]) -> list[Course]:
        assert self.protocol.probe is not None
        return self._start(rates, self.protocol.probe)

    def _start(self, rates: Sequence[float], plan: Probe | Training) -> list[Course]:
        accuracy, metric = self.has_accuracy, self.metric is not None
        begun = [Course(self.protocol, plan, rate, accuracy, metric) for rate in rates]
        self._courses += begun
        self._under_way += len(begun)
        return begun

    def _after_probes(self) -> list[Course]:
        """Return the other probes, then the training at the best rate."""
        probe = self.protocol.probe
        assert probe is not None
        passed = [course for course in self._courses if course.outcome is None]
        if not passed:
            self.result = _all_failed(self._courses)
            return []
        if probe.other_rates and len(self._courses) == len(probe.first_rates):
            return self._probes(probe.other_rates)
        best = min(passed, key=self._rank)
        short, rate = best.shortfall(probe.accept, self._judged(best)), best.learning_rate
        if short is None:
            return self._start([rate], self.protocol.training)
        sentence = f"below threshold: after the best probe, at learning rate {rate:g}, {short}"
        self.result = Outcome(OutcomeKind.BELOW_THRESHOLD, sentence)
        return []

    def _rank(self, probe: Course) -> tuple[float, ...]:
        return *rank(self._judged(probe), self.protocol), probe.learning_rate

    def _judged(self, probe: Course) -> EpochMeans:
        """Return the epoch by which a probe is compared with others."""
        if self.protocol.fitness_epoch == "best":
            return min(probe.epochs, key=lambda epoch: rank(epoch, self.protocol))
        return probe.epochs[-1]

    def _score(self, training: Course) -> Score:
        scored = training.scored
        assert scored is not None
        fitness = -scored.loss if self.protocol.fitness == "loss" else scored.metric
        assert fitness is not None
        return Score(
            fitness,
            training.learning_rate,
            scored.loss,
            scored.metric,
            training.epochs[-1].loss,
            sum(course.steps for course in self._courses),
        )


def rank(means: EpochMeans | Evaluation, protocol: Protocol) -> tuple[float, ...]:
    """Return what is smaller for the better epoch; equal metrics are told apart by the loss."""
    if protocol.fitness == "loss":
        return (means.loss,)
    assert means.metric is not None
    return (-means.metric, means.loss)


def _all_failed(probes: Sequence[Course]) -> Outcome:
    """Return the outcome of a rule whose first probes all failed."""
    failed = [course.outcome for course in probes if course.outcome is not None]
    if len(failed) == 1:
        return failed[0]
    kinds = {outcome.kind for outcome in failed}
    kind = kinds.pop() if len(kinds) == 1 else OutcomeKind.BELOW_THRESHOLD
    rates = ", ".join(f"{course.learning_rate:g}" for course in probes)
    sentence = f"{kind}: every first probe failed (learning rates {rates}); {failed[-1].sentence}"
    return Outcome(kind, sentence)
