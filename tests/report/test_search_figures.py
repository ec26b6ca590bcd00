"""Figures of a search show what happened in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TypeVar

from report.places import open_run, proposal, record, trial

from evolute.report.facts import Proposed, RunFacts, read_run
from evolute.report.measure import Measure
from evolute.report.pictures import Bars, Dots, Figure, Line
from evolute.report.search_figures import (
    accepted_steps,
    candidates_figure,
    endings_figure,
    paths_figure,
    time_figure,
)
from evolute.search.base import ProposalKind
from evolute.store.sql import open_store
from evolute.trial import OutcomeKind

LOSS = Measure("validation loss", is_loss=True)


def facts_of_a_chain() -> RunFacts:
    """Two particles; the first moves from 2 to 3 (its worse child, as published) to 5."""
    done, crashed = OutcomeKind.FINISHED, OutcomeKind.CRASHED
    promoted, mutated = ProposalKind.PROMOTION, ProposalKind.MUTATION
    made = [
        (proposal(0, kind=ProposalKind.RANDOM), trial("none: g", fitness=-1.0), done),
        (proposal(1, particle=1, kind=promoted, parent=0), trial("none: g", fitness=-1.0), done),
        (proposal(2, particle=0, kind=promoted), trial("none: v", fitness=-0.9), done),
        (proposal(3, particle=0, kind=mutated, depth=1, parent=2),
         trial("none: v+g", fitness=-0.8), done),
        (proposal(4, particle=0, kind=mutated, depth=1, parent=2, slot=1),
         trial("none: v-g", kind=crashed), crashed),
        (proposal(5, particle=0, kind=mutated, depth=2, parent=3),
         trial("none: v*g", fitness=-0.7), done),
        (proposal(6, particle=0, kind=mutated, depth=2, parent=3, slot=1),
         trial("none: g", fitness=-1.0), OutcomeKind.DUPLICATE),
    ]  # fmt: skip
    with open_store(":memory:") as store:
        run = open_run(store)
        record(store, run, *made)
        return read_run(store, run)


MarkT = TypeVar("MarkT", Bars, Dots, Line)


def marks(figure: Figure | None, kind: type[MarkT]) -> dict[str, MarkT]:
    assert figure is not None
    return {mark.name: mark for mark in figure.marks if isinstance(mark, kind)}


def test_a_particle_moved_to_whatever_its_later_children_come_from() -> None:
    paths = accepted_steps(facts_of_a_chain().of_particles())
    assert {key: [each.number for each in path] for key, path in paths.items()} == {
        0: [2, 3, 5],
        1: [1],
    }


def test_every_child_is_a_dot_with_its_rule_on_hover() -> None:
    figure = paths_figure(facts_of_a_chain(), LOSS)
    dots = marks(figure, Dots).values()
    hovers = [text for mark in dots for text in mark.hover]
    assert len(hovers) == 6
    assert any(text.startswith("none: v*g\nvalidation loss 0.7") for text in hovers)
    assert any("crashed: of course" in text for text in hovers)
    assert any("duplicate, with the score of its twin" in text for text in hovers)


def test_the_line_of_a_path_goes_through_the_dots_it_moved_to() -> None:
    figure = paths_figure(facts_of_a_chain(), LOSS)
    line = marks(figure, Line)["best path"]
    dots = marks(figure, Dots)["best path"]
    assert line.y == dots.y == (0.9, 0.8, 0.7)
    assert line.x == dots.x


def test_better_is_up_for_a_loss_and_for_a_metric() -> None:
    for measure in (LOSS, Measure("accuracy", is_loss=False)):
        span = measure.axis([1.0, 3.0]).span
        assert span is not None
        bottom, top = span
        assert measure.is_worse(bottom, top)


def test_a_child_far_worse_than_the_others_is_marked_at_the_edge() -> None:
    made = [(proposal(0, particle=0), trial("none: g", fitness=-1.0), OutcomeKind.FINISHED)]
    for number in range(1, 9):
        fitness = -1e6 if number == 1 else -1.0 - 0.01 * number
        answer = trial(f"none: g+{number}", fitness=fitness)
        child = proposal(number, particle=0, depth=1, parent=0, kind=ProposalKind.MUTATION)
        made.append((child, answer, OutcomeKind.FINISHED))
    with open_store(":memory:") as store:
        run = open_run(store)
        record(store, run, *made)
        figure = paths_figure(read_run(store, run), LOSS)
    assert figure is not None
    assert figure.y.span is not None
    assert max(figure.y.span) < 10
    edge = marks(figure, Dots)["worse than shown"]
    assert "1e+06" in edge.hover[0]


def test_the_best_so_far_only_ever_rises() -> None:
    line = marks(candidates_figure(facts_of_a_chain(), LOSS), Line)["best so far"]
    assert line.y == (1.0, 0.9, 0.8, 0.7, 0.7)


def test_bars_of_endings_add_up_to_all_candidates() -> None:
    facts = facts_of_a_chain()
    figure = endings_figure(facts)
    bars = marks(figure, Bars).values()
    total = sum(sum(mark.lengths) for mark in bars)
    assert total == len(facts.proposals) == 7
    assert figure is not None
    assert [text for _, text in figure.y.ticks] == ["finished  5", "crashed  1", "duplicate  1"]


def test_time_is_counted_once_for_each_training() -> None:
    (bars,) = marks(time_figure(facts_of_a_chain()), Bars).values()
    assert bars.lengths == (2.0, 0.5)


def test_of_very_many_candidates_some_are_drawn_and_the_best_line_holds_all() -> None:
    facts = facts_of_a_chain()
    many = tuple(
        replace(facts.proposals[0], number=number, fitness=-1.0 - (number != 4_999))
        for number in range(10_000)
    )
    figure = candidates_figure(replace(facts, proposals=many), LOSS)
    assert len(marks(figure, Dots)["random candidates"].x) == 3_334
    assert min(y for y in marks(figure, Line)["best so far"].y if y is not None) == 1.0


def test_proposals_keep_their_place_and_parent() -> None:
    kinds = Counter(each.kind for each in facts_of_a_chain().proposals)
    assert kinds == {"random": 1, "promotion": 2, "mutation": 4}
    last = facts_of_a_chain().proposals[-1]
    assert isinstance(last, Proposed)
    assert (last.parent, last.depth, last.fitness) == (3, 2, -1.0)
