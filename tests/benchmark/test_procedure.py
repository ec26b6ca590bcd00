from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence

import pytest
from benchmark.laboratory import (
    FOUND,
    KNOWN,
    PROTOCOL,
    SEED,
    SMALL,
    Laboratory,
    Response,
    candidates,
    verdict_of,
)

from evolute.benchmark.comparison import Finding
from evolute.benchmark.config import VerdictConfig, expected_trials
from evolute.benchmark.procedure import fresh_seeds, judge
from evolute.benchmark.tuning import tune
from evolute.benchmark.verdict import Side, Verdict
from evolute.errors import InputError
from evolute.runs.executors.base import TrialRequest
from evolute.trial import Trial

NOISE = 0.02
FOUND_ANSWERS = [Response(0.30, noise=NOISE), Response(0.32, noise=NOISE)]
KNOWN_ANSWERS = [Response(0.40, noise=NOISE), Response(0.38, noise=NOISE)]


def test_a_verdict_costs_the_trials_expected_in_three_batches() -> None:
    _, laboratory = verdict_of(FOUND_ANSWERS, KNOWN_ANSWERS)
    assert len(laboratory.requests) == expected_trials(SMALL, len(KNOWN_ANSWERS))
    assert len(laboratory.batches) == 3


def test_hand_made_optimizers_get_the_probes_the_protocol_and_the_seed_of_the_search() -> None:
    _, laboratory = verdict_of(FOUND_ANSWERS, KNOWN_ANSWERS)
    assert laboratory.batches[0] == [
        TrialRequest(KNOWN[name], PROTOCOL, SEED) for name in ("Adam", "Lion")
    ]


def test_every_finalist_gets_quarter_decades_around_its_own_best_rate() -> None:
    found = [Response(0.3, log_rate=-3.0), Response(0.3, log_rate=0.0)]
    _, laboratory = verdict_of(found, [Response(0.4, log_rate=-1.0)])
    for rule, center in ((FOUND[0], 1e-3), (FOUND[1], 1.0), (KNOWN["Adam"], 0.1)):
        asked = [each for each in laboratory.batches[1] if each.rule == rule]
        rates = sorted({each.protocol.learning_rate or 0.0 for each in asked})
        expected = [center * 10 ** (step / 4) for step in range(-3, 4)]
        assert rates == pytest.approx(expected, rel=1e-5)
        assert len(asked) == len(rates) * SMALL.tuning_seeds
        assert center in rates


def test_tuning_reads_the_validation_split_also_under_a_protocol_of_the_test_split() -> None:
    laboratory = Laboratory({FOUND[0]: Response(0.3)})
    testing = dataclasses.replace(PROTOCOL, split="test")
    tune([(FOUND[0], 1e-2)], evaluate=laboratory, protocol=testing, seeds=(1, 2), config=SMALL)
    assert laboratory.split("validation") == laboratory.requests != []


def test_the_finer_grid_finds_the_rate_between_the_decades() -> None:
    verdict, _ = verdict_of([Response(0.3, log_rate=-2.5)], [Response(0.4, log_rate=-1.25)])
    rates = [f.tuning.best.learning_rate for f in verdict.finalists if f.tuning.best is not None]
    assert rates == pytest.approx([10**-2.5, 10**-1.25], rel=1e-5)
    assert [f.tuning.widenings for f in verdict.finalists] == [0, 0]


@pytest.mark.parametrize(("log_rate", "direction"), [(-3.25, -1), (-0.75, 1)])
def test_a_grid_whose_best_rate_is_its_edge_grows_on_that_side_alone(
    log_rate: float, direction: int
) -> None:
    answer = Response(0.3, log_rate=log_rate, coarse_rate=1e-2)
    verdict, laboratory = verdict_of([answer], [Response(0.4)])
    tuning = verdict.finalists[0].tuning
    steps = [round(4 * math.log10(point.learning_rate / 1e-2)) for point in tuning.points]
    assert sorted(direction * step for step in steps) == list(range(-3, 8))
    assert tuning.widenings == 2
    assert not tuning.on_edge
    assert tuning.best is not None
    assert tuning.best.learning_rate == pytest.approx(10**log_rate, rel=1e-5)
    assert {each.rule for each in laboratory.batches[2]} == {FOUND[0]}


def test_a_grid_grows_no_further_than_its_limit_and_says_that_it_ends_on_its_edge() -> None:
    config = dataclasses.replace(SMALL, widenings=1)
    answer = Response(0.3, log_rate=4.0, coarse_rate=1e-2)
    verdict, _ = verdict_of([answer], [Response(0.4)], config=config)
    tuning = verdict.finalists[0].tuning
    assert len(tuning.points) == 9
    assert tuning.on_edge
    assert any("rule 1, 0.178, is the edge of its grid, widened once" in n for n in verdict.notes)


def test_where_no_rate_finishes_the_grid_grows_towards_lower_ones() -> None:
    """A function taken out of a rule may make its update many times as large."""
    answer = Response(0.3, log_rate=-2.0, coarse_rate=1.0, diverges_above=-0.9)
    verdict, _ = verdict_of([answer], [Response(0.4)])
    tuning = verdict.finalists[0].tuning
    assert [point.fitness is None for point in tuning.points[-7:]] == [True] * 7
    assert tuning.best is not None
    assert tuning.best.learning_rate < 10**-0.9


def test_a_rate_beyond_which_runs_diverge_is_no_edge_to_widen() -> None:
    answer = Response(0.3, log_rate=-1.25, coarse_rate=1e-2, diverges_above=-1.4)
    verdict, _ = verdict_of([answer], [Response(0.4)])
    tuning = verdict.finalists[0].tuning
    assert tuning.widenings == 0
    assert [point.fitness is None for point in tuning.points] == [False] * 6 + [True]
    assert tuning.best is not None
    assert tuning.best.learning_rate == pytest.approx(10**-1.5, rel=1e-5)


def test_a_rate_that_fails_on_one_tuning_seed_is_out() -> None:
    spoiled = 10**-2.5

    class OneFailure(Laboratory):
        def __call__(self, requests: Sequence[TrialRequest]) -> list[Trial]:
            trials = super().__call__(requests)
            for index, request in enumerate(requests):
                rate = request.protocol.learning_rate or 0.0
                at_spoiled = math.isclose(rate, spoiled, rel_tol=1e-5)
                if at_spoiled and request.seed == requests[0].seed:
                    trials[index] = dataclasses.replace(trials[index], score=None)
            return trials

    answers = [Response(0.3, log_rate=-2.55), Response(0.4)]
    laboratory = OneFailure(dict(zip([FOUND[0], KNOWN["Adam"]], answers, strict=True)))
    verdict = run(laboratory, answers[:1])
    best = verdict.finalists[0].tuning.best
    assert best is not None
    assert best.learning_rate == pytest.approx(10**-2.75, rel=1e-5)


def run(laboratory: Laboratory, found: list[Response]) -> Verdict:
    return judge(
        candidates(*found),
        {"Adam": KNOWN["Adam"]},
        evaluate=laboratory,
        protocol=PROTOCOL,
        seed=SEED,
        metric="accuracy",
        config=SMALL,
    )


def test_both_sides_are_compared_on_the_same_seeds_which_nothing_before_has_used() -> None:
    verdict, laboratory = verdict_of(FOUND_ANSWERS, KNOWN_ANSWERS)
    fresh = [tuple(run.seed for run in finalist.runs) for finalist in verdict.finalists]
    assert len(set(fresh)) == 1
    assert len(set(fresh[0])) == SMALL.fresh_seeds
    tuning = {each.seed for each in laboratory.batches[1]}
    assert len(tuning) == SMALL.tuning_seeds
    assert SEED not in tuning | set(fresh[0])
    assert not tuning & set(fresh[0])


def test_a_derived_seed_that_is_the_searchs_own_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("evolute.benchmark.procedure.derive", lambda s, p, index: index // 2)
    assert fresh_seeds(1, "any", 3) == (0, 2, 3)


def test_the_test_split_is_read_in_the_last_batch_alone_at_the_tuned_rates() -> None:
    verdict, laboratory = verdict_of(FOUND_ANSWERS, KNOWN_ANSWERS)
    assert laboratory.split("test") == laboratory.batches[-1]
    for finalist in verdict.finalists:
        rates = {
            each.protocol.learning_rate
            for each in laboratory.batches[-1]
            if str(each.rule) == finalist.rule
        }
        assert finalist.tuning.best is not None
        assert rates == {finalist.tuning.best.learning_rate}


@pytest.mark.parametrize(
    "shifts", [(9.0, 0.0, 0.0, 9.0), (0.0, 9.0, 9.0, 0.0), (5.0, -5.0, 5.0, 0)]
)
def test_nothing_on_the_test_split_changes_what_was_chosen(
    shifts: tuple[float, float, float, float],
) -> None:
    plain, _ = verdict_of(FOUND_ANSWERS, KNOWN_ANSWERS)
    answers = [
        dataclasses.replace(answer, test_shift=shift)
        for answer, shift in zip([*FOUND_ANSWERS, *KNOWN_ANSWERS], shifts, strict=True)
    ]
    shifted, _ = verdict_of(answers[:2], answers[2:])
    assert [f.tuning for f in shifted.finalists] == [f.tuning for f in plain.finalists]
    for side in Side:
        chosen, before = shifted.champion(side), plain.champion(side)
        assert chosen is not None
        assert before is not None
        assert chosen.name == before.name
    assert shifted.finalists != plain.finalists


def test_the_champion_is_the_best_in_tuning_not_in_the_search() -> None:
    found = [
        Response(0.30, log_rate=-2.0, coarse_rate=1e-2),
        Response(0.25, log_rate=-2.5, coarse_rate=1e-2),
    ]
    hand_made = {"Adam": KNOWN["Adam"]}
    laboratory = Laboratory(dict(zip([*FOUND[:2], *hand_made.values()],
                                     [*found, Response(0.4)], strict=True)))  # fmt: skip
    entrants = candidates(*found)
    entrants[0] = dataclasses.replace(entrants[0], fitness=10.0)
    verdict = judge(
        entrants, hand_made, evaluate=laboratory, protocol=PROTOCOL, seed=SEED, metric=None,
        config=SMALL,
    )  # fmt: skip
    champion = verdict.champion(Side.DISCOVERED)
    assert champion is not None
    assert champion.name == "rule 2"


def test_the_best_of_the_search_become_finalists() -> None:
    config = dataclasses.replace(SMALL, finalists=1)
    verdict, _ = verdict_of([Response(0.32), Response(0.30)], [Response(0.4)], config=config)
    assert [f.name for f in verdict.of_side(Side.DISCOVERED)] == ["rule 2"]


def test_a_truly_equal_rule_shows_no_difference_about_as_often_as_the_interval_says() -> None:
    config = VerdictConfig(
        finalists=1, tuning_seeds=1, grid_half_width=1, widenings=0, fresh_seeds=6
    )
    equal = Response(0.3, noise=0.05)
    verdicts = [verdict_of([equal], [equal], config=config, seed=seed)[0] for seed in range(400)]
    claims = [v.finding for v in verdicts if v.finding is not Finding.NO_DIFFERENCE]
    assert 8 <= len(claims) <= 34  # 20 ± 4.4 expected
    assert 1 <= claims.count(Finding.BETTER) < len(claims)


def test_failed_runs_leave_no_nan_in_the_verdict() -> None:
    found = Response(0.3, noise=NOISE, diverges_above=-2.1, fails_on=frozenset({0, 3}))
    dead = Response(0.3, diverges_above=-5.0)
    verdict, _ = verdict_of([found], [Response(0.4, fails_on=frozenset({3})), dead])
    text = json.dumps(verdict.to_json(), allow_nan=False)
    assert Verdict.from_json(json.loads(text)) == verdict
    assert "nan" not in verdict.sentence + " ".join(verdict.notes)


def test_two_optimizers_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="two optimizers of a verdict are called 'rule 1'"):
        judge(
            candidates(Response(0.3)),
            {"rule 1": KNOWN["Adam"]},
            evaluate=Laboratory({}),
            protocol=PROTOCOL,
            seed=SEED,
            metric=None,
        )


def test_an_evaluation_that_is_stopped_stops_the_verdict() -> None:
    def stopped(requests: Sequence[TrialRequest]) -> list[Trial]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(
            candidates(Response(0.3)),
            {"Adam": KNOWN["Adam"]},
            evaluate=stopped,
            protocol=PROTOCOL,
            seed=SEED,
            metric=None,
        )
