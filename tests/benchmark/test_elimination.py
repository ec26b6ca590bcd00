"""Elimination: fresh seeds in every round, and only the best go on."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import pytest
from benchmark.laboratory import (
    FOUND,
    KNOWN,
    PROTOCOL,
    SMALL,
    Laboratory,
    Response,
    candidates,
)
from pydantic import ValidationError

from evolute.benchmark.elimination import (
    Candidate,
    EliminationConfig,
    EliminationResult,
    RungConfig,
    pick_candidates,
    resized,
    run_rung,
)
from evolute.benchmark.procedure import judge
from evolute.benchmark.verdict import Side
from evolute.errors import InputError

ANSWERS = [Response(0.30), Response(0.32), Response(0.28)]


def laboratory(*answers: Response) -> Laboratory:
    return Laboratory(dict(zip(FOUND, answers, strict=False)))


def test_a_rung_keeps_the_best_by_the_mean_over_its_seeds() -> None:
    rung = run_rung(
        candidates(*ANSWERS),
        task="t",
        evaluate=laboratory(*ANSWERS),
        protocol=PROTOCOL,
        seeds=(1, 2, 3),
        config=RungConfig(keep=2),
    )
    assert [each.name for each in rung.standings] == ["rule 3", "rule 1", "rule 2"]
    assert [each.name for each in rung.survivors] == ["rule 3", "rule 1"]


def test_a_candidate_that_fails_on_a_seed_stands_behind_those_that_finish() -> None:
    answers = [replace(ANSWERS[0], diverges_above=-9.0), *ANSWERS[1:]]
    rung = run_rung(
        candidates(*answers),
        task="t",
        evaluate=laboratory(*answers),
        protocol=PROTOCOL,
        seeds=(1, 2),
        config=RungConfig(keep=3),
    )
    assert [each.name for each in rung.standings] == ["rule 3", "rule 2", "rule 1"]
    assert rung.standings[-1].failed == 2
    assert [each.name for each in rung.survivors] == ["rule 3", "rule 2"]


@pytest.mark.parametrize("probe", [True, False])
def test_a_rung_finds_rates_anew_by_probes_or_keeps_those_known(probe: bool) -> None:
    lab = laboratory(*ANSWERS)
    run_rung(
        candidates(*ANSWERS),
        task="t",
        evaluate=lab,
        protocol=PROTOCOL,
        seeds=(1,),
        config=RungConfig(keep=1, probe=probe),
    )
    assert {each.protocol.probe is not None for each in lab.requests} == {probe}
    assert {each.protocol.split for each in lab.requests} == {"validation"}


def test_a_longer_training_has_warm_up_and_epochs_in_proportion() -> None:
    longer = resized(PROTOCOL, 2 * PROTOCOL.training.steps).training
    plain = PROTOCOL.training
    assert longer.warmup_steps == 2 * plain.warmup_steps
    assert longer.epoch_steps == 2 * plain.epoch_steps
    assert resized(PROTOCOL, None) == PROTOCOL
    held = replace(PROTOCOL, training=replace(plain, hold_steps=30))
    assert resized(held, 2 * plain.steps).training.hold_steps == 60
    wide = RungConfig(keep=1, width=7).protocol(replace(PROTOCOL, split="test"))
    assert (wide.width, wide.split) == (7, "validation")


def test_candidates_come_from_all_particles() -> None:
    ranked = [Candidate(f"c{index}", FOUND[0], -index, 0.1) for index in range(6)]
    particles = {"c0": 1, "c1": 1, "c2": 1, "c3": 2}
    config = EliminationConfig(candidates=4, per_particle=2, rungs=(RungConfig(keep=1),))
    picked = pick_candidates(ranked, particles, config=config)
    assert [each.name for each in picked] == ["c0", "c1", "c3", "c4"]


def test_rounds_that_keep_more_than_the_one_before_are_refused() -> None:
    with pytest.raises(ValidationError, match="give falling numbers"):
        EliminationConfig(candidates=5, rungs=(RungConfig(keep=2), RungConfig(keep=3)))


def test_an_elimination_survives_json() -> None:
    rung = run_rung(
        candidates(*ANSWERS),
        task="t",
        evaluate=laboratory(*ANSWERS),
        protocol=PROTOCOL,
        seeds=(1, 2),
        config=RungConfig(keep=2),
    )
    result = EliminationResult("e", "0", "run", (rung,), None)
    assert EliminationResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    assert "of 3 candidates of run, 2 came through 1 rounds" in result.sentence
    with pytest.raises(InputError, match="not an elimination"):
        EliminationResult.from_dict({})


def test_a_verdict_begins_with_a_round_on_fresh_seeds_that_picks_its_finalists() -> None:
    # By the search's figures rule 3 is the worst of three; on other seeds it is the best.
    answers = [Response(0.30), Response(0.32), Response(0.28)]
    told = [replace(each, fitness=-index) for index, each in enumerate(candidates(*answers))]
    lab = Laboratory({**dict(zip(FOUND, answers, strict=True)), KNOWN["Adam"]: Response(0.4)})
    config = dataclasses.replace(SMALL, candidates=3, finalists=1, rung_seeds=2)
    verdict = judge(
        told,
        {"Adam": KNOWN["Adam"]},
        evaluate=lab,
        protocol=PROTOCOL,
        seed=7,
        metric=None,
        config=config,
    )
    assert [f.name for f in verdict.finalists if f.side is Side.DISCOVERED] == ["rule 3"]
    met = {each.seed for batch in lab.batches for each in batch if len(batch) == 6}
    later = {each.seed for each in lab.requests if each.protocol.split == "test"}
    assert met
    assert not met & later
