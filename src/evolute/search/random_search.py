"""Random search: independent draws, the standard that every other search has to beat.

Source: Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, JMLR 13, 2012; the
draws are those of the published method, section 3.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from evolute.search.base import Proposal, Result, Search, Stage
from evolute.search.brood import Brood
from evolute.search.candidate import Candidate, random_candidate
from evolute.search.drawing import DrawConfig
from evolute.search.ledger import Ledger
from evolute.search.space import SearchSpace
from evolute.seeds import python_generator


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RandomConfig:
    """Size of the search and the probabilities of its draws.

    Parameters
    ----------
    candidates
        How many candidates are scored, degenerate ones and duplicates not counted; None goes on
        until the budget is spent or no new rule is found.
    batch
        Candidates that are drawn and scored side by side.
    drawing
        Probabilities of section 3.
    """

    candidates: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    batch: Annotated[int, Field(ge=1, le=10_000)] = 16
    drawing: DrawConfig = DrawConfig()


class RandomSearch(Search):
    """Draws batch after batch of random candidates.

    The search also ends after a batch that held nothing but duplicates and degenerate candidates.

    Parameters
    ----------
    config
        Size and probabilities.
    seed
        Seed of the run.
    space
        What is drawn; by default everything that is registered when the search is made.

    Examples
    --------
    >>> search = RandomSearch(RandomConfig(candidates=10, batch=4), seed=0)
    >>> [proposal.slot for proposal in search.ask()]
    [0, 1, 2, 3]
    """

    def __init__(
        self, config: RandomConfig, *, seed: int, space: SearchSpace | None = None
    ) -> None:
        self._config = config
        self._seed = seed
        self._space = space or SearchSpace.from_registries()
        self._ledger = Ledger()
        self._tried: set[str] = set()
        self._batch_number = 0
        self._settled = 0
        self._finished = False
        self._brood = self._next_brood()

    def ask(self) -> tuple[Proposal, ...]:
        for proposal, result in self._ledger.collect():
            self._brood.settle(proposal.slot, proposal.number, result)
        proposals = self._propose()
        while self._brood.complete and not self._finished:
            self._turn_over()
            if not self._finished:
                proposals += self._propose()
        return tuple(proposals)

    def tell(self, number: int, result: Result) -> None:
        self._ledger.tell(number, result)

    @property
    def finished(self) -> bool:
        return self._finished

    @property
    def best(self) -> tuple[Proposal, Result] | None:
        return self._ledger.best

    @property
    def phase(self) -> str:
        return "finished" if self._finished else f"random draws, batch {self._batch_number + 1}"

    @property
    def progress(self) -> float | None:
        if self._finished:
            return 1.0
        total = self._config.candidates
        return None if total is None else (self._settled + self._brood.closed) / total

    @property
    def proposed(self) -> int:
        return self._ledger.proposed

    @property
    def expected_evaluations(self) -> int | None:
        return self._config.candidates

    def _propose(self) -> list[Proposal]:
        return self._ledger.propose_brood(self._brood, stage=Stage.MAIN, depth=self._batch_number)

    def _turn_over(self) -> None:
        """Put a complete batch away and begin the next one, or finish."""
        self._settled += self._brood.size
        self._tried |= self._brood.proposed
        self._finished = self._settled == self._config.candidates or not self._brood.fresh
        if not self._finished:
            self._batch_number += 1
            self._brood = self._next_brood()

    def _next_brood(self) -> Brood:
        left = self._config.batch
        if self._config.candidates is not None:
            left = min(left, self._config.candidates - self._settled)
        return Brood(self._draw, size=left, tried=self._tried, tries=1, redraw_duplicates=True)

    def _draw(self, slot: int, attempt: int, taken: Set[str]) -> Candidate | None:
        generator = python_generator(self._seed, "random", self._batch_number, slot, attempt)
        return random_candidate(self._space, self._config.drawing, taken=taken, generator=generator)
