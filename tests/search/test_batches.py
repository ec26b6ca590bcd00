"""Random search and regularised evolution: batches, tournaments and ageing."""

from __future__ import annotations

import random
from collections import deque

import pytest
from pydantic import ValidationError
from search.statistics import assert_even

from evolute.lang.rule import Rule
from evolute.search.base import Proposal, ProposalKind, Result
from evolute.search.brood import Scored
from evolute.search.candidate import Candidate
from evolute.search.drawing import DrawConfig, draw_genome
from evolute.search.random_search import RandomConfig, random_search
from evolute.search.regularized_evolution import (
    EvolutionConfig,
    regularized_evolution,
    tournament,
)
from evolute.search.space import SearchSpace
from evolute.testing.search_contract import always, imagined_result, play
from evolute.trial import OutcomeKind

FINISHED = always(OutcomeKind.FINISHED)
ONE_NODE = DrawConfig(hidden_nodes=1)
TINY = SearchSpace.from_registries(
    operands=("g", "v"),
    functions=("identity", "add"),
    base_decays=(),
    momentum_types=("none",),
)


def members(count: int) -> tuple[Scored, ...]:
    genome = draw_genome(SearchSpace.from_registries(), DrawConfig(), generator=random.Random(0))
    candidate = Candidate.of(genome)
    return tuple(Scored(candidate, number, fitness=float(number)) for number in range(count))


def test_random_search_scores_as_many_candidates_as_configured() -> None:
    told = play(random_search(RandomConfig(candidates=10, batch=4), seed=0), FINISHED)
    assert [proposal.depth for proposal, _ in told] == [0] * 4 + [1] * 4 + [2] * 2
    assert {proposal.kind for proposal, _ in told} == {ProposalKind.RANDOM}


def test_random_search_replaces_degenerate_candidates_and_duplicates() -> None:
    told = play(random_search(RandomConfig(candidates=30, batch=10), seed=0), imagined_result)
    settled = [
        result
        for _, result in told
        if result.kind not in (OutcomeKind.DEGENERATE, OutcomeKind.DUPLICATE)
    ]
    assert len(settled) == 30
    assert len(told) > 30


def test_random_search_without_a_limit_ends_when_it_finds_no_new_rule() -> None:
    search = random_search(RandomConfig(batch=5, drawing=ONE_NODE), seed=0, space=TINY)
    assert search.expected_evaluations is None
    told = play(search, FINISHED)
    texts = {str(proposal.rule.canonical()) for proposal, _ in told}
    assert len(texts) == len(told)
    assert {"none: g", "none: v"} <= texts


def test_a_tournament_returns_the_fittest_of_its_sample() -> None:
    alive = members(20)
    assert tournament(alive, 20, generator=random.Random(0)).number == 19
    assert tournament(alive, 50, generator=random.Random(0)).number == 19
    generator, four = random.Random(0), members(4)
    winners = [tournament(four, 1, generator=generator).number for _ in range(2000)]
    assert_even(winners, range(4))


def test_a_parent_is_the_fittest_among_the_youngest_members() -> None:
    size = 6
    config = EvolutionConfig(candidates=60, population=size, sample=size, batch=1)

    def objective(proposal: Proposal) -> Result:
        # Never degenerate, so that the order of numbers is the order of joining.
        return Result(OutcomeKind.FINISHED, random.Random(str(proposal.rule)).random())

    told = play(regularized_evolution(config, seed=0), objective)
    alive: deque[tuple[float, int]] = deque(maxlen=size)  # the oldest drops out
    for proposal, result in told:
        if proposal.kind is ProposalKind.MUTATION:
            assert proposal.parent == max(alive)[1]
        assert result.fitness is not None
        alive.append((result.fitness, proposal.number))
    assert len({proposal.parent for proposal, _ in told}) > 5


def test_all_children_of_a_batch_have_parents_of_one_population() -> None:
    config = EvolutionConfig(candidates=40, population=8, sample=2, batch=8)
    told = play(regularized_evolution(config, seed=0), FINISHED)
    for proposal, _ in told:
        if proposal.parent is not None:
            parent = told[proposal.parent][0]
            assert parent.depth < proposal.depth


def test_a_member_older_than_the_population_is_never_a_parent() -> None:
    config = EvolutionConfig(candidates=60, population=8, sample=1, batch=4)
    told = play(regularized_evolution(config, seed=0), FINISHED)
    for proposal, _ in told:
        if proposal.parent is not None:
            alive_from = 8 + 4 * (proposal.depth - 1) - 8
            assert alive_from <= proposal.parent < alive_from + 8


def test_a_failed_candidate_is_never_a_parent() -> None:
    def objective(proposal: Proposal) -> Result:
        failed = proposal.slot % 2 == 0
        return Result(OutcomeKind.DIVERGED) if failed else Result(OutcomeKind.FINISHED, 0.5)

    config = EvolutionConfig(candidates=60, population=8, sample=4, batch=4)
    told = play(regularized_evolution(config, seed=0), objective)
    parents = {proposal.parent for proposal, _ in told if proposal.parent is not None}
    assert len(parents) > 4
    assert all(told[number][0].slot % 2 == 1 for number in parents)


def test_a_sample_larger_than_the_population_is_refused() -> None:
    with pytest.raises(ValidationError, match="more than the population of 4"):
        EvolutionConfig(population=4, sample=5)


def test_the_default_sizes_are_those_of_the_paper() -> None:
    assert (EvolutionConfig().population, EvolutionConfig().sample) == (100, 25)


def test_rules_and_their_negatives_are_one_candidate() -> None:
    space = SearchSpace.from_registries(
        operands=("g", "v"),
        functions=("identity", "neg", "add"),
        base_decays=(),
        momentum_types=("none",),
    )
    config = RandomConfig(batch=10, drawing=ONE_NODE)
    told = play(random_search(config, seed=0, space=space), FINISHED)
    texts = [str(proposal.rule.canonical().with_sign(1)) for proposal, _ in told]
    assert len(set(texts)) == len(texts)
    assert str(Rule.parse("none: g")) in texts
