"""The contract of searches, over every algorithm of the table."""

from __future__ import annotations

from typing import Any

import pytest

from evolute.errors import UnknownNameError
from evolute.search.algorithms import ALGORITHMS, find_algorithm
from evolute.search.base import Search
from evolute.search.particles import Accept, ParticleConfig, ParticleSearch
from evolute.search.random_search import RandomConfig
from evolute.search.regularized_evolution import EvolutionConfig
from evolute.testing.search_contract import SearchContract

SMALL: dict[str, Any] = {
    "particles": ParticleConfig(initial_candidates=9, particles=3, time_steps=3, children=4),
    "random": RandomConfig(candidates=40, batch=9),
    "regularized_evolution": EvolutionConfig(candidates=50, population=8, sample=4, batch=6),
}


def make_small(name: str, seed: int) -> Search:
    _, make = find_algorithm(name)
    return make(SMALL[name], seed=seed)


class TestParticles(SearchContract):
    def make(self, seed: int) -> Search:
        return make_small("particles", seed)


class TestImprovingParticles(SearchContract):
    def make(self, seed: int) -> Search:
        config = ParticleConfig(
            initial_candidates=8, particles=3, time_steps=3, children=3, accept=Accept.IMPROVING
        )
        return ParticleSearch(config, seed=seed)


class TestParticlesWithSpares(SearchContract):
    def make(self, seed: int) -> Search:
        config = ParticleConfig(
            initial_candidates=9, particles=3, time_steps=3, children=4, spares=2
        )
        return ParticleSearch(config, seed=seed)


class TestRandomSearch(SearchContract):
    def make(self, seed: int) -> Search:
        return make_small("random", seed)


class TestRegularizedEvolution(SearchContract):
    def make(self, seed: int) -> Search:
        return make_small("regularized_evolution", seed)


def test_every_algorithm_of_the_table_stands_under_the_contract() -> None:
    assert set(SMALL) == set(ALGORITHMS)
    assert len(SearchContract.__subclasses__()) > len(ALGORITHMS)


def test_an_unknown_algorithm_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'particles'"):
        find_algorithm("particle")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_search_draws_from_everything_registered_unless_told_otherwise(name: str) -> None:
    config_class, make = find_algorithm(name)
    assert make(config_class(), seed=0).ask()
