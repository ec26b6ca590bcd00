"""Candidate: a sound proposal that waits for its score."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

from evolute.lang.rule import Rule
from evolute.runs.config import RunConfig
from evolute.runs.evaluate import Evaluator
from evolute.runs.executors.base import TrialRequest
from evolute.runs.screening import Screened, TwinFinder
from evolute.runs.settled import Settled
from evolute.search.base import Result, Stage
from evolute.search.state import proposal_from_json
from evolute.store.base import Store
from evolute.trial import Outcome, OutcomeKind, Trial


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sound proposal waiting for its score: trained itself, or answered by its twin's trial.

    Parameters
    ----------
    screened
        The proposal and the rule to train.
    request
        The trial that scores it.
    digest
        Digest of that trial.
    twin
        Digest of an equal rule's trial, that scores it instead.
    """

    screened: Screened
    request: TrialRequest
    digest: str
    twin: str | None

    @classmethod
    def of(
        cls, item: Screened, config: RunConfig, *, evaluator: Evaluator, twins: TwinFinder | None
    ) -> Self:
        """Return a sound proposal with the trial that answers it, its own or its twin's."""
        protocol = config.protocol(item.proposal.stage)
        request = TrialRequest(item.rule, protocol, config.seed)
        digest, twin = evaluator.digest(request), None
        if twins is not None:
            twin = twins.find_or_add(item.rule, protocol=protocol.to_json(), digest=digest)
        return cls(item, request, digest, twin)

    @property
    def is_drawn_again(self) -> bool:
        """Whether another takes its place, whatever its twin comes to."""
        return self.twin is not None and self.screened.proposal.stage is Stage.INITIAL

    @property
    def answer(self) -> str:
        """Digest of the trial that answers it."""
        return self.twin or self.digest

    @property
    def number(self) -> int:
        """By which its result is told to the search."""
        return self.screened.proposal.number

    def result(self, settled: Settled) -> Result:
        """Return what the search is told: its own result, or as a duplicate its twin's fitness."""
        if self.twin is None:
            return settled[self.digest]
        return Result(OutcomeKind.DUPLICATE, settled[self.twin].fitness)

    def to_json(self) -> Any:
        """Return plain data; :meth:`from_json` reverses it for the same run."""
        return [self.screened.proposal.to_dict(), self.screened.rule.to_json(), self.twin]

    @classmethod
    def from_json(
        cls, data: Any, config: RunConfig, *, digest_of: Callable[[TrialRequest], str]
    ) -> Self:
        """Read what :meth:`to_json` wrote; one of ``MALFORMED`` if it is anything else."""
        proposal, rule, twin = data
        screened = Screened(proposal_from_json(proposal), Rule.from_json(rule), None)
        protocol = config.protocol(screened.proposal.stage)
        request = TrialRequest(screened.rule, protocol, config.seed)
        return cls(screened, request, digest_of(request), None if twin is None else str(twin))


def degenerate(item: Screened, config: RunConfig, *, evaluator: Evaluator) -> Trial:
    """Return the trial of a degenerate proposal, which nobody trains."""
    request = TrialRequest(item.rule, config.protocol(item.proposal.stage), config.seed)
    outcome = Outcome(OutcomeKind.DEGENERATE, item.fault or "")
    return Trial(evaluator.key(request), outcome, None)


def rule_of(digest: str, store: Store, *, waiting: Iterable[Candidate]) -> Rule:
    """Return the rule of a trial that is stored or waited for; ValueError if it is neither."""
    trial = store.get(digest)
    if trial is not None:
        return Rule.parse(trial.key.rule)
    found = next((item for item in waiting if item.digest == digest), None)
    if found is None:
        raise ValueError("a fingerprint of a trial that nobody asked for")
    return found.screened.rule
