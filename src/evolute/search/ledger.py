"""Ledger: what a search has proposed and been told, kept once for all algorithms."""

from __future__ import annotations

from typing import Any

from evolute.lang.rule import Rule
from evolute.search.base import Proposal, ProposalKind, Result, Stage
from evolute.search.brood import Brood
from evolute.search.candidate import Candidate
from evolute.search.state import proposal_from_json, told_from_json, told_to_json
from evolute.trial import OutcomeKind

Told = tuple[Proposal, Result]


class Ledger:
    """Gives numbers, refuses misuse, holds back results until they are collected, knows the best.

    Examples
    --------
    >>> from evolute.lang.rule import Rule
    >>> ledger = Ledger()
    >>> proposal = ledger.propose(Rule.parse("none: g"), stage=Stage.MAIN, kind=ProposalKind.RANDOM)
    >>> ledger.tell(proposal.number, Result(OutcomeKind.FINISHED, 0.5))
    >>> [(proposal.number, result.fitness) for proposal, result in ledger.collect()]
    [(0, 0.5)]
    """

    def __init__(self) -> None:
        self._proposed = 0
        self._awaited: dict[int, Proposal] = {}
        self._uncollected: dict[int, Told] = {}
        self._best: Told | None = None

    @property
    def proposed(self) -> int:
        """How many proposals were made."""
        return self._proposed

    @property
    def is_owed(self) -> bool:
        """Whether a proposal still waits for its result."""
        return bool(self._awaited)

    @property
    def best(self) -> Told | None:
        """The fittest proposal and its result; it does not depend on the order of telling."""
        return self._best

    def propose(
        self,
        rule: Rule,
        *,
        stage: Stage,
        kind: ProposalKind,
        particle: int | None = None,
        depth: int = 0,
        slot: int = 0,
        attempt: int = 0,
        parent: int | None = None,
    ) -> Proposal:
        """Give the rule the next number, write the proposal down and return it."""
        number = self._proposed
        proposal = Proposal(number, rule, stage, kind, particle, depth, slot, attempt, parent)
        self._proposed += 1
        self._awaited[number] = proposal
        return proposal

    def propose_brood(
        self, brood: Brood, *, stage: Stage, particle: int | None = None, depth: int = 0
    ) -> list[Proposal]:
        """Propose the candidates that the slots of a brood wait for."""
        return [
            self.propose(
                draft.candidate.rule,
                stage=stage,
                kind=_kind(draft.candidate),
                particle=particle,
                depth=depth,
                slot=draft.slot,
                attempt=draft.attempt,
                parent=draft.candidate.parent,
            )
            for draft in brood.due()
        ]

    def tell(self, number: int, result: Result) -> None:
        """Hold a result back for :meth:`collect`; ValueError where none is awaited."""
        if not 0 <= number < self._proposed:
            raise ValueError(
                f"result told for proposal {number}: {self._proposed} were asked, numbered from 0"
            )
        if number not in self._awaited:
            raise ValueError(f"result of proposal {number} told twice: tell each result once")
        told = (self._awaited.pop(number), result)
        self._uncollected[number] = told
        if result.fitness is not None and (self._best is None or rank(told) < rank(self._best)):
            self._best = told

    def collect(self) -> tuple[Told, ...]:
        """Return the results told since the last call, by number whatever the order of telling."""
        collected = tuple(told for _, told in sorted(self._uncollected.items()))
        self._uncollected.clear()
        return collected

    def state(self) -> Any:
        """Return what it holds as plain data; :meth:`load` takes it in."""
        return {
            "proposed": self._proposed,
            "awaited": [proposal.to_dict() for proposal in self._awaited.values()],
            "uncollected": [told_to_json(told) for told in self._uncollected.values()],
            "best": told_to_json(self._best),
        }

    def load(self, state: Any) -> None:
        """Come to a state; one of ``MALFORMED`` where it is none."""
        self._proposed = int(state["proposed"])
        awaited = [proposal_from_json(data) for data in state["awaited"]]
        self._awaited = {proposal.number: proposal for proposal in awaited}
        uncollected = [told_from_json(data) for data in state["uncollected"]]
        self._uncollected = {told[0].number: told for told in uncollected}
        numbers = {*self._awaited, *self._uncollected}
        if len(numbers) < len(awaited) + len(uncollected):
            raise ValueError("a state in which a proposal stands twice")
        if not all(type(each) is int and 0 <= each < self._proposed for each in numbers):
            raise ValueError(f"a state with a proposal that is not among its {self._proposed}")
        self._best = None if state["best"] is None else told_from_json(state["best"])


def _kind(candidate: Candidate) -> ProposalKind:
    return ProposalKind.RANDOM if candidate.parent is None else ProposalKind.MUTATION


def rank(told: Told) -> tuple[bool, float, bool, int, str, int]:
    """Return what orders scored proposals, best first: stage, fitness, own training, short text.

    The two stages score on different scales, so any fitness of the main stage goes before.
    """
    proposal, result = told
    assert result.fitness is not None
    text = str(proposal.rule)
    return (
        proposal.stage is not Stage.MAIN,
        -result.fitness,
        result.kind is not OutcomeKind.FINISHED,
        len(text),
        text,
        proposal.particle or 0,
    )
