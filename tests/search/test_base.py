"""Proposals, results and the ledger that keeps them."""

from __future__ import annotations

import json
import math

import pytest

from evolute.lang.rule import Rule
from evolute.search.base import Proposal, ProposalKind, Result, Stage
from evolute.search.ledger import Ledger
from evolute.trial import OutcomeKind


def propose(ledger: Ledger, text: str, *, stage: Stage = Stage.MAIN) -> Proposal:
    return ledger.propose(Rule.parse(text), stage=stage, kind=ProposalKind.RANDOM)


def finished(fitness: float) -> Result:
    return Result(OutcomeKind.FINISHED, fitness)


def best_text(ledger: Ledger) -> str:
    assert ledger.best is not None
    return str(ledger.best[0].rule)


@pytest.mark.parametrize("fitness", [math.nan, math.inf, -math.inf])
def test_a_result_is_never_nan_or_infinite(fitness: float) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        finished(fitness)


def test_a_finished_result_has_a_fitness() -> None:
    with pytest.raises(ValueError, match="no fitness"):
        Result(OutcomeKind.FINISHED)


@pytest.mark.parametrize(
    "kind",
    [kind for kind in OutcomeKind if kind not in (OutcomeKind.FINISHED, OutcomeKind.DUPLICATE)],
)
def test_a_failed_result_has_no_fitness(kind: OutcomeKind) -> None:
    with pytest.raises(ValueError, match="only a finished or duplicate"):
        Result(kind, 0.5)


def test_results_are_collected_by_number_and_once() -> None:
    ledger = Ledger()
    for text in ("g", "v", "s"):
        propose(ledger, text)
    for number in (2, 0):
        ledger.tell(number, finished(0.5))
    assert [proposal.number for proposal, _ in ledger.collect()] == [0, 2]
    assert ledger.collect() == ()


def test_the_main_stage_outranks_the_initial_one() -> None:
    ledger = Ledger()
    propose(ledger, "g", stage=Stage.INITIAL)
    propose(ledger, "v")
    ledger.tell(0, finished(0.9))
    assert best_text(ledger) == "none: g"
    ledger.tell(1, finished(0.1))
    assert best_text(ledger) == "none: v"


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
def test_ties_go_to_the_shorter_text_then_the_alphabet(order: tuple[int, ...]) -> None:
    ledger = Ledger()
    for text in ("v+g", "v", "s", "g*g"):
        propose(ledger, text)
    for number in order:
        ledger.tell(number, finished(0.5))
    assert best_text(ledger) == "none: s"


def test_a_trial_of_its_own_outranks_a_duplicate() -> None:
    ledger = Ledger()
    for text in ("v", "v+v-v"):
        propose(ledger, text)
    ledger.tell(0, Result(OutcomeKind.DUPLICATE, 0.5))
    ledger.tell(1, finished(0.5))
    assert best_text(ledger) == "none: v+v-v"


def test_a_proposal_is_plain_data_that_json_holds() -> None:
    proposal = Proposal(
        3, Rule.parse("nesterov: -g"), Stage.MAIN, ProposalKind.MUTATION, 1, 2, 5, 4, 0
    )
    data = json.loads(json.dumps(proposal.to_dict()))
    assert Rule.from_json(data.pop("rule")) == proposal.rule
    assert data == {
        "number": 3,
        "stage": "main",
        "kind": "mutation",
        "particle": 1,
        "depth": 2,
        "slot": 5,
        "attempt": 4,
        "parent": 0,
    }
