"""BatchSearch: a search in batches, each scored to its end before the next is drawn.

What differs between algorithms is the plan, which says what the next batch is.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Protocol, Self

from evolute.search.base import Proposal, Result, Search, Stage
from evolute.search.brood import Brood
from evolute.search.ledger import Ledger
from evolute.search.texts import Texts


class Plan(Protocol):
    """What a search in batches does, batch by batch."""

    @property
    def total(self) -> int | None:
        """Sum of the sizes of all batches, None for a plan without end."""

    def next_batch(self, index: int, last: Brood | None, tried: Container[str], /) -> Brood | None:
        """Return the batch with this index, given the complete one before it; None to finish.

        Called once for each index, in order. ``tried`` holds the texts of all earlier proposals.
        Without the one before it (``last`` is None), a plan that was restored begins a batch anew.
        """

    def state(self) -> Any:
        """Return what it keeps between batches, as plain data that JSON can hold."""

    def restored(self, state: Any) -> Self:
        """Return a plan made like this one that has come to a state."""

    def phase(self, index: int) -> str:
        """Say in words what the batch with this index is."""


class BatchSearch(Search):
    """Runs a plan as ask and tell.

    It is finished when the plan says so, or after a batch that held nothing new: duplicates and
    degenerate candidates only.

    Parameters
    ----------
    plan
        What the batches are.
    begin
        Whether the first batch is drawn; not where a state follows.
    """

    def __init__(self, plan: Plan, *, begin: bool = True) -> None:
        self._plan = plan
        self._ledger = Ledger()
        self._tried = Texts()
        self._index = 0
        self._settled = 0
        self._brood = plan.next_batch(0, None, ()) if begin else None

    def ask(self) -> tuple[Proposal, ...]:
        proposals: list[Proposal] = []
        for proposal, result in self._ledger.collect():
            assert self._brood is not None
            self._brood.settle(
                proposal.slot, result, attempt=proposal.attempt, number=proposal.number
            )
        while self._brood is not None:
            proposals += self._ledger.propose_brood(
                self._brood, stage=Stage.MAIN, depth=self._index
            )
            if not self._brood.complete:
                break
            self._turn_over(self._brood)
        return tuple(proposals)

    def tell(self, number: int, result: Result) -> None:
        self._ledger.tell(number, result)

    def state(self) -> Any:
        return {
            "ledger": self._ledger.state(),
            "tried": self._tried.to_json(),
            "index": self._index,
            "settled": self._settled,
            "plan": self._plan.state(),
            "brood": None if self._brood is None else self._brood.state(),
        }

    def restored(self, state: Any) -> Search:
        restored = type(self)(self._plan.restored(state["plan"]), begin=False)
        restored._ledger.load(state["ledger"])
        restored._tried = Texts.from_json(state["tried"])
        restored._index, restored._settled = int(state["index"]), int(state["settled"])
        if state["brood"] is not None:
            brood = restored._plan.next_batch(restored._index, None, restored._tried)
            assert brood is not None
            brood.load(state["brood"])
            restored._brood = brood
        return restored

    @property
    def finished(self) -> bool:
        return self._brood is None

    @property
    def best(self) -> tuple[Proposal, Result] | None:
        return self._ledger.best

    @property
    def phase(self) -> str:
        return "finished" if self._brood is None else self._plan.phase(self._index)

    @property
    def progress(self) -> float | None:
        if self._brood is None:
            return 1.0
        total = self._plan.total
        return None if total is None else (self._settled + self._brood.closed) / total

    @property
    def proposed(self) -> int:
        return self._ledger.proposed

    @property
    def expected_evaluations(self) -> int | None:
        return self._plan.total

    def _turn_over(self, complete: Brood) -> None:
        """Put a complete batch away and begin the next one, or finish."""
        self._settled += complete.size
        self._tried.add(complete.counted)
        self._index += 1
        self._brood = (
            self._plan.next_batch(self._index, complete, self._tried) if complete.fresh else None
        )
