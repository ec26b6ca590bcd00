"""The trainer: a rule, a task and a protocol in, a scored trial out, one at a time.

Source of the method: section 6 of the published method (Morgan and Hougen, 2024).
"""

from __future__ import annotations

import math
import platform
import time
from dataclasses import dataclass, field
from functools import cache

import torch

from evolute.errors import InputError, TaskError
from evolute.lang.rule import Rule
from evolute.tasks.base import Evaluation, Split, Task
from evolute.train.environment import fixed_environment
from evolute.train.fitting import Fit, Subject
from evolute.train.protocol import Probe, Protocol
from evolute.train.stopping import EpochMeans
from evolute.trial import (
    EpochRecord,
    Outcome,
    OutcomeKind,
    Provenance,
    Score,
    Trial,
    TrialKey,
)


def trial_key(rule: Rule, task: Task, protocol: Protocol, *, seed: int) -> TrialKey:
    """Return the key of a trial: everything that its result depends on."""
    return TrialKey(str(rule.canonical()), task.name, task.version, protocol.to_json(), seed)


def run_trial(
    rule: Rule,
    task: Task,
    protocol: Protocol,
    *,
    seed: int,
    timeout_seconds: float | None = None,
) -> Trial:
    """Score a rule once: probe learning rates, train at the best one, measure the fitness.

    A pure function of its first four arguments: the figures are bit-identical whatever ran before
    in the process, on however many threads torch is set, and nothing global is left changed. One
    trial at a time per process (settings of torch belong to the whole process). The rule is
    trained in its canonical form, so that all ways to write it are one trial.

    Parameters
    ----------
    rule
        The rule, sign included.
    task
        What it is tried on.
    protocol
        How it is scored.
    seed
        Seed of first weights, batches and noise. All rules of one seed see the same.
    timeout_seconds
        The trial ends as *timed out* after this time; None is no limit.

    Returns
    -------
    Trial
        With a score if it finished; else with an outcome whose sentence says why. Loss, metric and
        weights that are NaN or infinite end a trial as *diverged*: they are in no score.

    Raises
    ------
    TaskError
        If the user's code raises, or the protocol scores by a metric that the task has not.
    InputError
        If ``timeout_seconds`` is not above 0.

    Examples
    --------
    >>> from evolute.tasks.user import load_task
    >>> from evolute.train.protocol import PROTOCOLS
    >>> protocol = PROTOCOLS["quick"].main.at_rate(1e-3)
    >>> run_trial(Rule.parse("v/sqrt(s)"), load_task("digits"), protocol, seed=0).outcome.kind.value
    'finished'
    """
    if timeout_seconds is not None and not timeout_seconds > 0:
        raise InputError(f"timeout_seconds is {timeout_seconds!r}: give a number above 0, or None")
    if protocol.fitness == "metric" and task.metric is None:
        raise TaskError(
            f"task {task.name!r} has no metric and the protocol scores by it: give the task a "
            "metric=, or score by the loss (fitness='loss')"
        )
    started = time.monotonic()
    limit = math.inf if timeout_seconds is None else timeout_seconds
    subject = Subject(rule.canonical(), task, protocol, seed, limit, started + limit)
    with fixed_environment():
        key = trial_key(rule, task, protocol, seed=seed)
        scoring = _Scoring(subject)
        result = scoring.run()
    score = result if isinstance(result, Score) else None
    outcome = (
        result
        if isinstance(result, Outcome)
        else Outcome(OutcomeKind.FINISHED, _finished(task, result))
    )
    provenance = Provenance(seconds=time.monotonic() - started, machine=_machine())
    return Trial(key, outcome, score, tuple(scoring.curve), provenance=provenance)


@dataclass(frozen=True, slots=True)
class _Probed:
    """What a probe reached, and how that falls short of what the protocol accepts."""

    epoch: EpochMeans
    shortfall: str | None


@dataclass
class _Scoring:
    """One trial under way."""

    subject: Subject
    steps: int = 0
    curve: list[EpochRecord] = field(default_factory=list)

    def run(self) -> Score | Outcome:
        """Find the learning rate and train at it."""
        rate = self._learning_rate()
        return rate if isinstance(rate, Outcome) else self._train(rate)

    def _learning_rate(self) -> float | Outcome:
        """Return the protocol's learning rate, or the best of its probes."""
        protocol = self.subject.protocol
        if protocol.probe is None:
            assert protocol.learning_rate is not None
            return protocol.learning_rate
        probed: dict[float, _Probed] = {}
        failed: dict[float, Outcome] = {}
        for rates in (protocol.probe.first_rates, protocol.probe.other_rates):
            for rate in rates:
                result = self._probe(protocol.probe, rate)
                if isinstance(result, _Probed):
                    probed[rate] = result
                elif result.kind is OutcomeKind.TIMED_OUT:
                    return result
                else:
                    failed[rate] = result
            if not probed:
                return _all_failed(failed)
        best = min(probed, key=lambda rate: (*self._rank(probed[rate].epoch), rate))
        short = probed[best].shortfall
        if short is not None:
            sentence = f"below threshold: after the best probe, at learning rate {best:g}, {short}"
            return Outcome(OutcomeKind.BELOW_THRESHOLD, sentence)
        return best

    def _probe(self, probe: Probe, rate: float) -> _Probed | Outcome:
        """Train for a short while at this rate."""
        fit = Fit(self.subject, probe, learning_rate=rate)
        epochs: list[EpochMeans] = []
        for epoch in fit.epochs():
            if isinstance(epoch, Outcome):
                self.steps += fit.steps
                return epoch
            epochs.append(epoch)
        self.steps += fit.steps
        best = self.subject.protocol.fitness_epoch == "best"
        judged = min(epochs, key=self._rank) if best else epochs[-1]
        return _Probed(judged, fit.shortfall(probe.accept, judged))

    def _rank(self, means: EpochMeans | Evaluation) -> tuple[float, ...]:
        """Return what is smaller for the better epoch; equal metrics are told apart by the loss."""
        if self.subject.protocol.fitness == "loss":
            return (means.loss,)
        assert means.metric is not None
        return (-means.metric, means.loss)

    def _train(self, rate: float) -> Score | Outcome:
        """Train at this rate and measure the fitness."""
        protocol = self.subject.protocol
        fit = Fit(self.subject, protocol.training, learning_rate=rate)
        chosen: Evaluation | None = None
        scored: Evaluation | None = None
        train_loss = math.nan
        for epoch in fit.epochs():
            if isinstance(epoch, Outcome):
                return epoch
            train_loss = epoch.loss
            validation = self._evaluate(fit, Split.VALIDATION)
            if isinstance(validation, Outcome):
                return validation
            self._record(fit, epoch, validation)
            if protocol.fitness_epoch == "last" and not fit.finished:
                continue
            if chosen is not None and self._rank(chosen) <= self._rank(validation):
                continue
            chosen = validation
            split = Split(protocol.split)
            on_split = validation if split is Split.VALIDATION else self._evaluate(fit, split)
            if isinstance(on_split, Outcome):
                return on_split
            scored = on_split
        assert scored is not None
        fitness = -scored.loss if protocol.fitness == "loss" else scored.metric
        assert fitness is not None
        steps = self.steps + fit.steps
        return Score(fitness, rate, scored.loss, scored.metric, train_loss, steps)

    def _evaluate(self, fit: Fit, split: Split) -> Evaluation | Outcome:
        """Return what the model does on a split; an Outcome if that is not finite."""
        evaluation = self.subject.task.evaluate(fit.model, split)
        if not math.isfinite(evaluation.loss):
            return fit.diverged(f"the {split} loss", evaluation.loss)
        if evaluation.metric is not None and not math.isfinite(evaluation.metric):
            return fit.diverged(f"the {split} metric", evaluation.metric)
        return evaluation

    def _record(self, fit: Fit, epoch: EpochMeans, validation: Evaluation) -> None:
        self.curve.append(
            EpochRecord(fit.steps, epoch.loss, epoch.metric, validation.loss, validation.metric)
        )


def _all_failed(failed: dict[float, Outcome]) -> Outcome:
    """Return the outcome of a rule whose first probes all failed."""
    if len(failed) == 1:
        return next(iter(failed.values()))
    kinds = {outcome.kind for outcome in failed.values()}
    kind = kinds.pop() if len(kinds) == 1 else OutcomeKind.BELOW_THRESHOLD
    rates = ", ".join(f"{rate:g}" for rate in failed)
    last = list(failed.values())[-1].sentence
    return Outcome(kind, f"{kind}: every first probe failed (learning rates {rates}); {last}")


def _finished(task: Task, score: Score) -> str:
    metric = "" if score.metric is None else f" and {task.metric} {score.metric:.4g}"
    return f"finished: loss {score.loss:.4g}{metric} at learning rate {score.learning_rate:g}"


@cache
def _machine() -> str:
    """Return the processor and the version of torch."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {capability}, torch {torch.__version__}"
