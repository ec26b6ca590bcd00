"""Job: a trial that was asked for, as a population keeps it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from evolute.lang.rule import Rule
from evolute.tasks.base import Task
from evolute.train.lane import Account
from evolute.train.planning import kind_of
from evolute.train.protocol import Protocol
from evolute.train.scoring import Scoring
from evolute.train.trainer import scored_trial, trial_key
from evolute.trial import Trial, TrialKey


@dataclass(eq=False, slots=True)
class Job:
    """A trial that was asked for.

    Parameters
    ----------
    ticket
        The name under which it is handed out.
    rule, protocol, seed
        What is tried; the rule in its canonical form.
    limit_seconds
        When it times out; infinity is no limit.
    key, scoring, account
        What it is about, how far it is, and what it took.
    """

    ticket: int
    rule: Rule
    protocol: Protocol
    seed: int
    limit_seconds: float
    key: TrialKey
    scoring: Scoring
    account: Account = field(default_factory=Account)

    @classmethod
    def of(
        cls,
        ticket: int,
        rule: Rule,
        *,
        protocol: Protocol,
        task: Task,
        seed: int,
        timeout_seconds: float | None,
    ) -> Job:
        """Return the job for a request, as :meth:`.population.Population.add` takes it."""
        return cls(
            ticket,
            rule.canonical(),
            protocol,
            seed,
            math.inf if timeout_seconds is None else timeout_seconds,
            trial_key(rule, task, protocol, seed=seed),
            Scoring(protocol, task.metric, task.has_accuracy),
        )

    @property
    def kind(self) -> str:
        """What trials must share to be trained by one deck."""
        return kind_of(self.protocol)

    @property
    def timeout_seconds(self) -> float | None:
        """The limit as it was asked for; None is no limit."""
        return None if math.isinf(self.limit_seconds) else self.limit_seconds

    @property
    def is_late(self) -> bool:
        """Whether its time is over."""
        return self.account.seconds > self.limit_seconds

    def trial(self) -> Trial:
        """Return the trial, once its scoring has a result."""
        return scored_trial(self.key, self.scoring, seconds=self.account.seconds)
