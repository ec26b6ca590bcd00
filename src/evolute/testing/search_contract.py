"""What every Search promises, as tests to inherit.

A test file of a search holds no more than how it is made::

    class TestMySearch(SearchContract):
        def make(self, seed: int) -> Search:
            return my_search(MyConfig(candidates=60), seed=seed)
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable

import pytest

from evolute.lang.rule import Rule
from evolute.search.base import Proposal, ProposalKind, Result, Search, Stage
from evolute.search.state import MALFORMED
from evolute.trial import OutcomeKind

Told = tuple[Proposal, Result]
Coordinates = tuple[Stage, int | None, int, int, int]
Objective = Callable[[Proposal], Result]
Order = Callable[[tuple[Proposal, ...]], list[Proposal]]


def imagined_result(proposal: Proposal) -> Result:
    """Return a result made up from the rule's text and its stage alone, of all kinds."""
    text = f"{proposal.stage}/{proposal.rule}"
    kind, level = hashlib.sha256(text.encode()).digest()[:2]
    if kind < 60:
        return Result(OutcomeKind.DEGENERATE)
    if kind < 90:
        return Result(OutcomeKind.DIVERGED)
    if kind < 100:
        return Result(OutcomeKind.DUPLICATE)
    return Result(OutcomeKind.DUPLICATE if kind < 110 else OutcomeKind.FINISHED, level / 255)


def always(kind: OutcomeKind) -> Objective:
    """Return an objective by which every proposal ends alike, with fitness 0.5 if it finishes."""
    return lambda _proposal: Result(kind, 0.5 if kind is OutcomeKind.FINISHED else None)


def play(
    search: Search,
    objective: Objective = imagined_result,
    *,
    order: Order = list,
    most_asks: int = 100_000,
) -> list[Told]:
    """Drive a search to its end, telling all that was asked before asking again."""
    told = []
    for _ in range(most_asks):
        for proposal in order(search.ask()):
            told.append((proposal, objective(proposal)))
            search.tell(proposal.number, told[-1][1])
        if search.finished:
            return told
    raise AssertionError(f"the search was not finished after {most_asks} calls of ask")


def play_one_by_one(search: Search, generator: random.Random) -> list[Told]:
    """Drive a search to its end, telling one result at a time, any of those awaited."""
    awaited: list[Proposal] = []
    told = []
    while not search.finished:
        awaited += search.ask()
        if awaited:
            proposal = awaited.pop(generator.randrange(len(awaited)))
            told.append((proposal, imagined_result(proposal)))
            search.tell(proposal.number, told[-1][1])
    return told


def coordinates(proposal: Proposal) -> Coordinates:
    """Return what names a proposal whatever the pace of the run."""
    return (
        proposal.stage,
        proposal.particle,
        proposal.depth,
        proposal.slot,
        proposal.attempt,
    )


def proposals_of(told: list[Told]) -> list[Proposal]:
    """Return the proposals by number."""
    return sorted((proposal for proposal, _ in told), key=lambda proposal: proposal.number)


class SearchContract(ABC):
    """Guarantees of every search (see :class:`evolute.search.base.Search`)."""

    @abstractmethod
    def make(self, seed: int) -> Search:
        """Return a search at its beginning that ends by itself after some 50 to 500 results."""

    def test_equal_seeds_make_equal_searches(self) -> None:
        assert play(self.make(3)) == play(self.make(3))

    def test_another_seed_makes_another_search(self) -> None:
        rules = [{proposal.rule for proposal, _ in play(self.make(seed))} for seed in (3, 4)]
        assert rules[0] != rules[1]

    def test_the_order_of_telling_changes_nothing(self) -> None:
        forward, backward = self.make(0), self.make(0)
        first = play(forward)
        second = play(backward, order=lambda proposals: list(reversed(proposals)))
        assert proposals_of(first) == proposals_of(second)
        assert forward.best == backward.best

    def test_restored_from_its_state_it_goes_on_as_it_would_have(self) -> None:
        undisturbed, search = self.make(5), self.make(5)
        expected = play_one_by_one(undisturbed, random.Random(5))
        generator, awaited = random.Random(5), list[Proposal]()
        told: list[Told] = []
        while not search.finished:
            awaited += search.ask()
            if len(told) % 7 == 0:
                search = self.restored(search)
            if awaited:
                proposal = awaited.pop(generator.randrange(len(awaited)))
                told.append((proposal, imagined_result(proposal)))
                search.tell(proposal.number, told[-1][1])
            if len(told) % 11 == 0:
                search = self.restored(search)
        assert told == expected
        for ended in (search, self.restored(search)):
            assert ended.ask() == ()
            for name in ("finished", "best", "phase", "progress", "proposed"):
                assert getattr(ended, name) == getattr(undisturbed, name)

    def restored(self, search: Search) -> Search:
        """Return a search made alike that has come to the state of this one."""
        return self.make(5).restored(json.loads(json.dumps(search.state())))

    @pytest.mark.parametrize("state", [None, [], {}, {"ledger": {}}, 3, "state"])
    def test_what_is_no_state_is_refused(self, state: object) -> None:
        with pytest.raises(MALFORMED):
            self.make(0).restored(state)

    def test_the_pace_of_telling_changes_numbers_alone(self) -> None:
        quick, slow = self.make(1), self.make(1)
        first, second = play(quick), play_one_by_one(slow, random.Random(0))
        assert {coordinates(each): each.rule for each in proposals_of(first)} == {
            coordinates(each): each.rule for each in proposals_of(second)
        }
        assert quick.best is not None
        assert slow.best is not None
        assert coordinates(quick.best[0]) == coordinates(slow.best[0])

    def test_proposals_are_numbered_in_the_order_of_asking(self) -> None:
        search = self.make(0)
        told = play(search)
        assert [proposal.number for proposal, _ in told] == list(range(len(told)))
        assert search.proposed == len(told)

    def test_coordinates_name_one_proposal(self) -> None:
        told = play(self.make(0))
        assert len({coordinates(proposal) for proposal, _ in told}) == len(told)

    def test_a_parent_was_proposed_before_its_child(self) -> None:
        for proposal, _ in play(self.make(0)):
            if proposal.kind is ProposalKind.RANDOM:
                assert proposal.parent is None
            else:
                assert proposal.parent is not None
                assert proposal.parent < proposal.number

    def test_no_chain_proposes_two_rules_of_one_canonical_text(self) -> None:
        texts = Counter(
            (proposal.particle, str(proposal.rule.canonical()))
            for proposal, _ in play(self.make(0))
            if proposal.kind is not ProposalKind.PROMOTION
        )
        assert texts.most_common(1)[0][1] == 1

    def test_rules_survive_their_text(self) -> None:
        for proposal, _ in play(self.make(0)):
            assert Rule.parse(str(proposal.rule)) == proposal.rule

    def test_nothing_is_asked_while_all_results_are_awaited(self) -> None:
        search = self.make(0)
        assert search.ask()
        assert search.ask() == ()
        assert not search.finished

    def test_nothing_is_asked_of_a_finished_search(self) -> None:
        search = self.make(0)
        play(search)
        assert search.ask() == ()
        assert search.finished

    def test_a_degenerate_proposal_is_replaced_at_the_next_ask(self) -> None:
        search = self.make(0)
        first = search.ask()[0]
        search.tell(first.number, Result(OutcomeKind.DEGENERATE))
        (second,) = search.ask()
        assert coordinates(second) == (*coordinates(first)[:-1], first.attempt + 1)
        assert second.rule != first.rule

    def test_a_result_for_an_unknown_number_is_refused(self) -> None:
        search = self.make(0)
        asked = search.ask()
        for number in (-1, len(asked)):
            with pytest.raises(ValueError, match="were asked"):
                search.tell(number, Result(OutcomeKind.FINISHED, 1.0))
        assert search.best is None

    def test_a_result_told_twice_is_refused_and_changes_nothing(self) -> None:
        search = self.make(0)
        proposal = search.ask()[0]
        search.tell(proposal.number, Result(OutcomeKind.FINISHED, 0.1))
        with pytest.raises(ValueError, match="told twice"):
            search.tell(proposal.number, Result(OutcomeKind.FINISHED, 0.9))
        assert search.best == (proposal, Result(OutcomeKind.FINISHED, 0.1))

    @pytest.mark.parametrize("fitness", [math.nan, math.inf, -math.inf])
    def test_a_fitness_that_is_not_finite_never_becomes_best(self, fitness: float) -> None:
        search = self.make(0)
        proposal = search.ask()[0]
        with pytest.raises(ValueError, match="finite"):
            search.tell(proposal.number, Result(OutcomeKind.FINISHED, fitness))
        assert search.best is None

    def test_the_best_is_the_fittest_of_the_main_stage(self) -> None:
        search = self.make(0)
        scored = [
            (result.fitness, proposal)
            for proposal, result in play(search)
            if proposal.stage is Stage.MAIN and result.fitness is not None
        ]
        assert search.best is not None
        assert search.best[0].stage is Stage.MAIN
        assert search.best[1].fitness == max(fitness for fitness, _ in scored)

    @pytest.mark.parametrize(
        "kind",
        [kind for kind in OutcomeKind if kind is not OutcomeKind.FINISHED],
    )
    def test_a_search_where_all_fail_ends_without_a_best(self, kind: OutcomeKind) -> None:
        search = self.make(0)
        play(search, always(kind))
        assert search.finished
        assert search.best is None

    def test_progress_never_falls_and_ends_at_one(self) -> None:
        search = self.make(0)
        shares = []

        def look(proposal: Proposal) -> Result:
            shares.append(search.progress)
            return imagined_result(proposal)

        play(search, look)
        known = [share for share in shares if share is not None]
        assert known == sorted(known)
        assert all(0.0 <= share <= 1.0 for share in known)
        assert search.progress == 1.0

    def test_the_forecast_holds_where_nothing_fails(self) -> None:
        search = self.make(0)
        forecast = search.expected_evaluations
        told = play(search, always(OutcomeKind.FINISHED))
        assert forecast is None or len(told) == forecast

    def test_the_phase_is_told_in_words(self) -> None:
        search = self.make(0)
        phases = set()
        while not search.finished:
            for proposal in search.ask():
                search.tell(proposal.number, imagined_result(proposal))
            phases.add(search.phase)
        assert len(phases) > 1
        assert search.phase == "finished"
