"""Regularised (ageing) evolution: tournament parents, and the oldest dies, never the worst.

Source: Real, Aggarwal, Huang and Le, Regularized Evolution for Image Classifier Architecture
Search, AAAI 2019, algorithm 1. Draws and mutations are those of the published method, sections 3
and 4. Children are drawn in batches from one state of the population, so that they can be scored
side by side; with a batch of 1 it is the algorithm as printed.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Container
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from evolute.search.base import Search
from evolute.search.batch_search import BatchSearch
from evolute.search.brood import Brood, Scored
from evolute.search.candidate import Candidate, mutant_candidate, random_candidate
from evolute.search.drawing import DrawConfig
from evolute.search.mutation import MutationConfig
from evolute.search.space import SearchSpace
from evolute.seeds import python_generator


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class EvolutionConfig:
    """Size of the search and its probabilities; population and sample as in the paper.

    Parameters
    ----------
    candidates
        How many candidates are scored, the first population included, degenerate ones and
        duplicates not; None goes on until the budget is spent or a batch brings nothing new.
    population
        Members alive, P.
    sample
        Members drawn for a tournament, S; the fittest of them is the parent.
    batch
        Children drawn from one state of the population.
    drawing, mutation
        Probabilities of sections 3 and 4.
    """

    candidates: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    population: Annotated[int, Field(ge=1, le=100_000)] = 100
    sample: Annotated[int, Field(ge=1, le=100_000)] = 25
    batch: Annotated[int, Field(ge=1, le=10_000)] = 8
    drawing: DrawConfig = DrawConfig()
    mutation: MutationConfig = MutationConfig()

    def __post_init__(self) -> None:
        if self.sample > self.population:
            raise ValueError(
                f"sample is {self.sample}, more than the population of {self.population} it is "
                "drawn from: lower it, or raise population"
            )


def regularized_evolution(
    config: EvolutionConfig, *, seed: int, space: SearchSpace | None = None
) -> Search:
    """Return a search by ageing evolution.

    Candidates that fail never join the population. If none of the first population finishes, the
    search is finished and has no best.

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
    >>> search = regularized_evolution(EvolutionConfig(population=3, sample=2), seed=0)
    >>> len(search.ask())
    3
    """
    return BatchSearch(_EvolutionPlan(config, seed, space or SearchSpace.from_registries()))


class _EvolutionPlan:
    """The first batch is the population; every other one are children of those alive."""

    def __init__(self, config: EvolutionConfig, seed: int, space: SearchSpace) -> None:
        self._config = config
        self._seed = seed
        self._space = space
        # A deque of this length drops its oldest member when a child joins.
        self._alive: deque[Scored] = deque(maxlen=config.population)

    @property
    def total(self) -> int | None:
        return self._config.candidates

    def phase(self, index: int) -> str:
        return "first population" if index == 0 else f"evolution, batch {index}"

    def state(self) -> Any:
        return [member.to_json() for member in self._alive]

    def restored(self, state: Any) -> _EvolutionPlan:
        restored = _EvolutionPlan(self._config, self._seed, self._space)
        restored._alive.extend(map(Scored.from_json, state))
        return restored

    def next_batch(self, index: int, last: Brood | None, tried: Container[str], /) -> Brood | None:
        self._alive.extend(last.scored if last is not None else ())
        size = self._size(index)
        if size <= 0 or (index > 0 and not self._alive):
            return None

        def draw(slot: int, attempt: int, taken: Container[str]) -> Candidate | None:
            generator = python_generator(self._seed, "evolution", index, slot, attempt)
            return self._candidate(index, taken, generator)

        return Brood(draw, size=size, tried=tried, tries=1, redraw_duplicates=True)

    def _size(self, index: int) -> int:
        """Return how many candidates a batch holds, cut to what is left of the total."""
        config = self._config
        size = config.population if index == 0 else config.batch
        if config.candidates is None:
            return size
        before = 0 if index == 0 else config.population + (index - 1) * config.batch
        return min(size, config.candidates - before)

    def _candidate(
        self, index: int, taken: Container[str], generator: random.Random
    ) -> Candidate | None:
        config = self._config
        if index == 0:
            return random_candidate(self._space, config.drawing, taken=taken, generator=generator)
        parent = tournament(tuple(self._alive), config.sample, generator=generator)
        return mutant_candidate(
            parent.candidate,
            parent.number,
            space=self._space,
            drawing=config.drawing,
            mutation=config.mutation,
            taken=taken,
            generator=generator,
        )


def tournament(members: tuple[Scored, ...], sample: int, *, generator: random.Random) -> Scored:
    """Return the fittest of ``sample`` members drawn without replacement, of all if fewer."""
    rivals = generator.sample(members, min(sample, len(members)))
    return max(rivals, key=lambda member: member.fitness)
