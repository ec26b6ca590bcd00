"""The trainer: a rule, a task and a protocol in, a scored trial out, one at a time.

Source of the method: section 6 of the published method (Morgan and Hougen, 2024).
"""

from __future__ import annotations

import math
import platform
import time
from collections import deque
from functools import cache

import torch

from evolute.errors import InputError, TaskError
from evolute.lang.rule import Rule
from evolute.tasks.base import Task
from evolute.train.environment import fixed_environment
from evolute.train.fitting import Fit, Subject
from evolute.train.protocol import Protocol
from evolute.train.scoring import Scoring
from evolute.trial import Provenance, Score, Trial, TrialKey


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
    require_scorable(task, protocol, timeout_seconds=timeout_seconds)
    started = time.monotonic()
    limit = math.inf if timeout_seconds is None else timeout_seconds
    subject = Subject(rule.canonical(), task, protocol, seed, limit, started + limit)
    with fixed_environment():
        key = trial_key(rule, task, protocol, seed=seed)
        scoring = Scoring(protocol, task.metric, task.has_accuracy)
        waiting = deque(scoring.begin())
        while scoring.result is None:
            course = waiting.popleft()
            Fit(subject, course).run()
            waiting.extend(scoring.ended(course))
    return scored_trial(key, scoring, seconds=time.monotonic() - started)


def require_scorable(task: Task, protocol: Protocol, *, timeout_seconds: float | None) -> None:
    """Raise unless a task can be scored under a protocol within a time limit.

    Raises
    ------
    TaskError
        If the protocol scores by a metric that the task has not.
    InputError
        If ``timeout_seconds`` is not above 0.
    """
    if timeout_seconds is not None and not timeout_seconds > 0:
        raise InputError(f"timeout_seconds is {timeout_seconds!r}: give a number above 0, or None")
    if protocol.fitness == "metric" and task.metric is None:
        raise TaskError(
            f"task {task.name!r} has no metric and the protocol scores by it: give the task a "
            "metric=, or score by the loss (fitness='loss')"
        )


def scored_trial(key: TrialKey, scoring: Scoring, *, seconds: float) -> Trial:
    """Return the trial that a scoring with a result comes to.

    Parameters
    ----------
    key
        What was scored.
    scoring
        How it went.
    seconds
        Time that it took.
    """
    score = scoring.result if isinstance(scoring.result, Score) else None
    provenance = Provenance(seconds=seconds, machine=_machine())
    return Trial(key, scoring.outcome, score, scoring.curve, provenance=provenance)


@cache
def _machine() -> str:
    """Return the processor and the version of torch."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {capability}, torch {torch.__version__}"
