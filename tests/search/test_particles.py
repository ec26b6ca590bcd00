"""The published search: stages, steps, tries and moves (published method, section 7)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from pydantic import ValidationError

from evolute.search import particles
from evolute.search.base import Proposal, ProposalKind, Result, Stage
from evolute.search.drawing import DrawConfig
from evolute.search.particles import Accept, ParticleConfig, ParticleSearch
from evolute.search.space import SearchSpace
from evolute.seeds import python_generator
from evolute.testing.search_contract import Told, always, imagined_result, play
from evolute.trial import OutcomeKind

CONFIG = ParticleConfig(initial_candidates=8, particles=3, time_steps=2, children=3, tries=4)
FAILED = Result(OutcomeKind.DIVERGED)


def scored(fitness: float) -> Result:
    return Result(OutcomeKind.FINISHED, fitness)


def run(
    objective: Callable[[Proposal], Result], config: ParticleConfig = CONFIG
) -> tuple[ParticleSearch, list[Told]]:
    search = ParticleSearch(config, seed=0)
    return search, play(search, objective)


def of(told: list[Told], kind: ProposalKind, **facts: int) -> list[Proposal]:
    return [
        proposal
        for proposal, _ in told
        if proposal.kind is kind
        and all(getattr(proposal, name) == value for name, value in facts.items())
    ]


def by_slot(proposal: Proposal) -> Result:
    """Initial candidates: later is better. Children: the first is best, all below their parent."""
    if proposal.stage is Stage.INITIAL:
        return scored(proposal.slot / 10)
    if proposal.kind is ProposalKind.PROMOTION:
        return scored(0.9)
    return scored(0.5 - proposal.slot / 10 - proposal.depth / 100)


def test_the_default_sizes_are_the_published_ones() -> None:
    config = ParticleConfig()
    assert (config.initial_candidates, config.particles) == (500, 50)
    assert (config.time_steps, config.children, config.tries) == (5, 7, 4)
    assert config.accept is Accept.ALWAYS
    assert ParticleSearch(config, seed=0).expected_evaluations == 500 + 50 * (1 + 5 * 7)


def test_without_failures_each_stage_has_its_published_size() -> None:
    _, told = run(always(OutcomeKind.FINISHED))
    assert len(of(told, ProposalKind.RANDOM)) == 8
    assert len(of(told, ProposalKind.PROMOTION)) == 3
    assert len(of(told, ProposalKind.MUTATION)) == 3 * 2 * 3


def test_the_best_initial_candidates_become_particles_and_are_scored_on_the_main_stage() -> None:
    _, told = run(by_slot)
    promotions = of(told, ProposalKind.PROMOTION)
    initial = {proposal.number: proposal for proposal in of(told, ProposalKind.RANDOM)}
    parents = [initial[each.parent] for each in promotions if each.parent is not None]
    assert [parent.slot for parent in parents] == [7, 6, 5]
    assert [each.rule for each in promotions] == [parent.rule for parent in parents]
    assert {each.stage for each in promotions} == {Stage.MAIN}
    assert [each.particle for each in promotions] == [0, 1, 2]


def test_a_particle_moves_to_its_best_child_even_if_that_is_worse() -> None:
    _, told = run(by_slot)
    (best,) = of(told, ProposalKind.MUTATION, particle=1, depth=1, slot=0)
    assert {each.parent for each in of(told, ProposalKind.MUTATION, particle=1, depth=2)} == {
        best.number
    }


def test_an_improving_particle_stays_where_no_child_beats_it() -> None:
    _, told = run(by_slot, replace(CONFIG, accept=Accept.IMPROVING))
    (promotion,) = of(told, ProposalKind.PROMOTION, particle=1)
    assert {each.parent for each in of(told, ProposalKind.MUTATION, particle=1)} == {
        promotion.number
    }


def test_an_improving_particle_moves_to_a_child_that_beats_its_own_score() -> None:
    def objective(proposal: Proposal) -> Result:
        return scored(0.95 if proposal.depth == 1 and proposal.slot == 2 else 0.5)

    _, told = run(objective, replace(CONFIG, accept=Accept.IMPROVING))
    (better,) = of(told, ProposalKind.MUTATION, particle=0, depth=1, slot=2)
    assert {each.parent for each in of(told, ProposalKind.MUTATION, particle=0, depth=2)} == {
        better.number
    }


def test_an_improving_particle_whose_promotion_failed_moves_to_any_scored_child() -> None:
    def objective(proposal: Proposal) -> Result:
        return FAILED if proposal.kind is ProposalKind.PROMOTION else scored(0.1)

    _, told = run(objective, replace(CONFIG, accept=Accept.IMPROVING))
    (first,) = of(told, ProposalKind.MUTATION, particle=0, depth=1, slot=0)
    assert of(told, ProposalKind.MUTATION, particle=0, depth=2)[0].parent == first.number


def test_a_failed_child_is_drawn_again_up_to_the_tries() -> None:
    def objective(proposal: Proposal) -> Result:
        return FAILED if proposal.depth == 1 and proposal.slot == 1 else scored(0.5)

    _, told = run(objective)
    tried = of(told, ProposalKind.MUTATION, particle=0, depth=1, slot=1)
    assert [each.attempt for each in tried] == [0, 1, 2, 3]
    assert len({each.rule for each in tried}) == 4


def test_a_degenerate_child_costs_no_try() -> None:
    def objective(proposal: Proposal) -> Result:
        if proposal.depth == 1 and proposal.slot == 1:
            return Result(OutcomeKind.DEGENERATE) if proposal.attempt < 10 else FAILED
        return scored(0.5)

    _, told = run(objective)
    tried = of(told, ProposalKind.MUTATION, particle=0, depth=1, slot=1)
    assert len(tried) == 10 + 4


def test_a_particle_whose_children_all_fail_stays_where_it_is() -> None:
    def objective(proposal: Proposal) -> Result:
        return FAILED if proposal.particle == 1 and proposal.depth == 1 else scored(0.5)

    _, told = run(objective)
    (promotion,) = of(told, ProposalKind.PROMOTION, particle=1)
    children = of(told, ProposalKind.MUTATION, particle=1, depth=2)
    assert {each.parent for each in children} == {promotion.number}


def test_a_duplicate_child_has_the_fitness_of_its_twin() -> None:
    def objective(proposal: Proposal) -> Result:
        if proposal.depth == 1 and proposal.slot == 2:
            return Result(OutcomeKind.DUPLICATE, 0.8)
        return scored(0.5)

    _, told = run(objective)
    (twin,) = of(told, ProposalKind.MUTATION, particle=0, depth=1, slot=2)
    assert of(told, ProposalKind.MUTATION, particle=0, depth=2)[0].parent == twin.number


def test_a_child_that_duplicates_a_failed_rule_fails() -> None:
    def objective(proposal: Proposal) -> Result:
        is_child = proposal.kind is ProposalKind.MUTATION
        return Result(OutcomeKind.DUPLICATE) if is_child else scored(0.5)

    _, told = run(objective)
    assert len(of(told, ProposalKind.MUTATION, particle=0, depth=1, slot=0)) == CONFIG.tries


@pytest.mark.parametrize("kind", [OutcomeKind.DEGENERATE, OutcomeKind.DUPLICATE])
def test_initial_candidates_that_say_nothing_new_are_replaced(kind: OutcomeKind) -> None:
    fitness = 0.5 if kind is OutcomeKind.DUPLICATE else None

    def objective(proposal: Proposal) -> Result:
        again = proposal.stage is Stage.INITIAL and proposal.attempt < 3
        return Result(kind, fitness) if again else scored(0.5)

    _, told = run(objective)
    assert len(of(told, ProposalKind.RANDOM)) == 8 * 4
    assert len(of(told, ProposalKind.RANDOM, attempt=3)) == 8


def test_failed_initial_candidates_are_not_replaced() -> None:
    search, told = run(lambda proposal: FAILED)
    assert len(told) == 8
    assert search.best is None


def test_fewer_survivors_make_fewer_particles() -> None:
    def objective(proposal: Proposal) -> Result:
        failed = proposal.stage is Stage.INITIAL and proposal.slot > 1
        return FAILED if failed else scored(0.5)

    search, told = run(objective)
    assert {each.particle for each in of(told, ProposalKind.PROMOTION)} == {0, 1}
    assert search.progress == 1.0


def test_a_particle_goes_on_without_waiting_for_the_others() -> None:
    search = ParticleSearch(CONFIG, seed=0)
    for proposal in search.ask():
        search.tell(proposal.number, scored(0.5))
    first, *others = search.ask()
    assert len(others) == 2
    for depth in (1, 2):
        search.tell(first.number, scored(0.5))
        children = search.ask()
        assert {(each.particle, each.depth) for each in children} == {(first.particle, depth)}
        assert len(children) == CONFIG.children
        first, *rest = children
        for proposal in rest:
            search.tell(proposal.number, scored(0.5))
    assert search.phase == "particles on the main stage"  # where the others still are


def test_a_chain_does_not_depend_on_the_results_of_other_chains() -> None:
    def objective(proposal: Proposal) -> Result:
        return FAILED if proposal.particle == 1 else imagined_result(proposal)

    def chain(told: list[Told]) -> list[str]:
        return [str(each.rule) for each, _ in told if each.particle == 0]

    _, told = run(imagined_result)
    _, other = run(objective)
    assert chain(told) == chain(other)
    assert len(other) != len(told)


def test_a_particle_never_tries_a_rule_again_at_a_later_step() -> None:
    space = SearchSpace.from_registries(
        operands=("g", "v", "s", "sign_g"),
        functions=("identity", "tanh", "exp", "add", "sub", "mul"),
        base_decays=(),
        momentum_types=("none",),
    )
    config = ParticleConfig(
        initial_candidates=1,
        particles=1,
        time_steps=4,
        children=4,
        accept=Accept.IMPROVING,
        drawing=DrawConfig(hidden_nodes=1),
    )
    told = play(ParticleSearch(config, seed=0, space=space), always(OutcomeKind.FINISHED))
    texts = [str(each.rule.canonical()) for each, _ in told if each.stage is Stage.MAIN]
    assert len(texts) > 10
    assert len(set(texts)) == len(texts)


def test_every_candidate_is_drawn_from_a_generator_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[tuple[object, ...]] = []

    def note(seed: int, purpose: str, *indices: int) -> random.Random:
        made.append((seed, purpose, *indices))
        return python_generator(seed, purpose, *indices)

    monkeypatch.setattr(particles, "python_generator", note)
    run(imagined_result)
    assert len(made) > 40
    assert len(set(made)) == len(made)


def test_a_search_without_time_steps_scores_its_particles_and_ends() -> None:
    _, told = run(always(OutcomeKind.FINISHED), replace(CONFIG, time_steps=0))
    assert len(told) == 8 + 3


def test_more_particles_than_candidates_are_refused() -> None:
    with pytest.raises(ValidationError, match="more than the 10 initial candidates"):
        ParticleConfig(initial_candidates=10, particles=11)


def test_an_unknown_key_of_the_configuration_is_refused() -> None:
    with pytest.raises(ValidationError, match="unexpected"):
        ParticleConfig(partcles=3)  # type: ignore[call-arg]


def by_text(proposal: Proposal) -> Result:
    """Fail every second rule; score the others by their text."""
    generator = random.Random(f"{proposal.stage} {proposal.rule}")
    return scored(generator.random()) if generator.random() < 0.5 else FAILED


def paths(told: list[Told]) -> dict[tuple[int | None, int, int], set[str]]:
    """What each particle mutated at each step, and what won each of its slots."""
    rules = {proposal.number: str(proposal.rule) for proposal, _ in told}
    won: dict[tuple[int | None, int, int], set[str]] = {}
    for proposal, result in sorted(told, key=lambda each: each[0].attempt):
        place = (proposal.particle, proposal.depth, proposal.slot)
        if proposal.kind is ProposalKind.MUTATION:
            parent = rules[proposal.parent or 0]
            won.setdefault((proposal.particle, proposal.depth, -1), set()).add(parent)
            if result.fitness is not None and place not in won:
                won[place] = {rules[proposal.number]}
    return won


@pytest.mark.parametrize("spares", [1, 3])
def test_spares_cost_trainings_and_change_nothing_else(spares: int) -> None:
    _, told = run(by_text)
    _, more = run(by_text, replace(CONFIG, spares=spares))
    assert paths(more) == paths(told)
    assert len(more) > len(told)


def test_a_child_is_scored_in_one_round_where_there_are_enough_spares() -> None:
    """Rounds of asking that a search of failing children takes: fewer with spares."""
    rounds = []
    for spares in (0, 3):
        search = ParticleSearch(replace(CONFIG, spares=spares), seed=0)
        rounds.append(0)
        while not search.finished:
            for proposal in search.ask():
                search.tell(proposal.number, by_text(proposal))
            rounds[-1] += 1
    assert rounds[0] > rounds[1] == 3 + CONFIG.time_steps  # initial, promotion, steps, the end


def test_no_more_spares_are_drawn_than_a_child_has_tries() -> None:
    _, told = run(always(OutcomeKind.FINISHED), replace(CONFIG, tries=2, spares=99))
    children = of(told, ProposalKind.MUTATION)
    assert {each.attempt for each in children} == {0, 1}
