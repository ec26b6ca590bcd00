"""Ledger: what a search has proposed and been told, kept once for all algorithms."""

from __future__ import annotations

from evolute.lang.rule import Rule
from evolute.search.base import Proposal, ProposalKind, Result, Stage
from evolute.search.brood import Brood
from evolute.search.candidate import Candidate
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
        self._proposals: list[Proposal] = []
        self._told: set[int] = set()
        self._uncollected: dict[int, Result] = {}
        self._best: Told | None = None

    @property
    def proposed(self) -> int:
        """How many proposals were made."""
        return len(self._proposals)

    @property
    def is_owed(self) -> bool:
        """Whether a proposal still waits for its result."""
        return len(self._told) < len(self._proposals)

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
        number = len(self._proposals)
        proposal = Proposal(number, rule, stage, kind, particle, depth, slot, attempt, parent)
        self._proposals.append(proposal)
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
        if not 0 <= number < len(self._proposals):
            raise ValueError(
                f"result told for proposal {number}: {len(self._proposals)} were asked, numbered "
                "from 0"
            )
        if number in self._told:
            raise ValueError(f"result of proposal {number} told twice: tell each result once")
        self._told.add(number)
        self._uncollected[number] = result
        told = (self._proposals[number], result)
        if result.fitness is not None and (self._best is None or rank(told) < rank(self._best)):
            self._best = told

    def collect(self) -> tuple[Told, ...]:
        """Return the results told since the last call, by number whatever the order of telling."""
        numbers = sorted(self._uncollected)
        collected = tuple(
            (self._proposals[number], self._uncollected[number]) for number in numbers
        )
        self._uncollected.clear()
        return collected


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
