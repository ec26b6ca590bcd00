"""Random search: independent draws, the standard that every other search has to beat.

Source: Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, JMLR 13, 2012; the
draws are those of the published method, section 3.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from evolute.search.base import Search
from evolute.search.batch_search import BatchSearch
from evolute.search.brood import Brood
from evolute.search.candidate import Candidate, random_candidate
from evolute.search.drawing import DrawConfig
from evolute.search.space import SearchSpace
from evolute.seeds import python_generator


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RandomConfig:
    """Size of the search and the probabilities of its draws.

    Parameters
    ----------
    candidates
        How many candidates are scored, degenerate ones and duplicates not counted; None goes on
        until the budget is spent or a whole batch brings nothing new.
    batch
        Candidates that are drawn and scored side by side.
    drawing
        Probabilities of section 3.
    """

    candidates: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    batch: Annotated[int, Field(ge=1, le=10_000)] = 16
    drawing: DrawConfig = DrawConfig()


def random_search(config: RandomConfig, *, seed: int, space: SearchSpace | None = None) -> Search:
    """Return a search that draws batch after batch of random candidates.

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
    >>> search = random_search(RandomConfig(candidates=10, batch=4), seed=0)
    >>> [proposal.slot for proposal in search.ask()]
    [0, 1, 2, 3]
    """
    return BatchSearch(_RandomPlan(config, seed, space or SearchSpace.from_registries()))


class _RandomPlan:
    """The next batch is drawn afresh."""

    def __init__(self, config: RandomConfig, seed: int, space: SearchSpace) -> None:
        self._config = config
        self._seed = seed
        self._space = space

    @property
    def total(self) -> int | None:
        return self._config.candidates

    def phase(self, index: int) -> str:
        return f"random candidates, batch {index + 1}"

    def state(self) -> Any:
        return None

    def restored(self, _state: Any) -> _RandomPlan:
        return _RandomPlan(self._config, self._seed, self._space)

    def next_batch(self, index: int, _last: Brood | None, tried: Container[str], /) -> Brood | None:
        size = self._config.batch
        if self._config.candidates is not None:
            size = min(size, self._config.candidates - index * self._config.batch)
        if size <= 0:
            return None

        def draw(slot: int, attempt: int, taken: Container[str]) -> Candidate | None:
            generator = python_generator(self._seed, "random", index, slot, attempt)
            return random_candidate(
                self._space, self._config.drawing, taken=taken, generator=generator
            )

        return Brood(draw, size=size, tried=tried, tries=1, redraw_duplicates=True)
