"""The table of search algorithms, by the names that users write."""

from __future__ import annotations

from typing import Any, Protocol

from evolute.errors import UnknownNameError
from evolute.search.base import Search
from evolute.search.particles import ParticleConfig, ParticleSearch
from evolute.search.random_search import RandomConfig, random_search
from evolute.search.regularized_evolution import EvolutionConfig, regularized_evolution
from evolute.search.space import SearchSpace


class SearchFactory(Protocol):
    """What makes a search: its configuration, a seed, and a space to draw from."""

    def __call__(self, config: Any, *, seed: int, space: SearchSpace | None = None) -> Search:
        """Return a search at its beginning."""


ALGORITHMS: dict[str, tuple[type[Any], SearchFactory]] = {
    "particles": (ParticleConfig, ParticleSearch),
    "random": (RandomConfig, random_search),
    "regularized_evolution": (EvolutionConfig, regularized_evolution),
}
"""Name -> (configuration class, what makes the search), the default first."""


def find_algorithm(name: str) -> tuple[type[Any], SearchFactory]:
    """Return the configuration class of an algorithm and what makes its search.

    Raises
    ------
    UnknownNameError
        If there is none of that name.
    """
    if name not in ALGORITHMS:
        raise UnknownNameError("search algorithm", name, ALGORITHMS)
    return ALGORITHMS[name]
