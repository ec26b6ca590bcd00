"""What a benchmark asks for, measures and finds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from benchmark.bench_laboratory import (
    CONFIG,
    FOUND,
    PROTOCOL,
    Answer,
    BenchLaboratory,
    found,
    known,
    run_bench,
    whole,
)

from evolute.benchmark.comparison import Measure
from evolute.benchmark.measured import EntrantResult
from evolute.benchmark.result import BenchResult, TaskResult
from evolute.benchmark.tables import tables
from evolute.benchmark.verdicts import judge_tasks
from evolute.errors import InputError
from evolute.lang.rule import Rule
from evolute.runs.executors.base import TrialRequest

ADAMW, LION, TANH = "quotient(", "sign(", "tanh("
EQUAL = {TANH: Answer(0.5), LION: Answer(0.5, log_rate=-4.0), ADAMW: Answer(0.5)}


def entrant(task: TaskResult, name: str) -> EntrantResult:
    return next(each for each in task.entrants if each.name == name)


def finding(task: TaskResult, name: str) -> str | None:
    return next(each.finding for each in task.verdicts if each.entrant == name)


def sentence(task: TaskResult, name: str) -> str:
    return next(each.sentence for each in task.verdicts if each.entrant == name)


def of(laboratory: BenchLaboratory, text: str, split: str) -> list[TrialRequest]:
    return [
        each
        for each in laboratory.requests
        if text in str(each.rule) and each.protocol.split == split
    ]


def identity(request: TrialRequest) -> tuple[str, str, int]:
    return str(request.rule), request.protocol.to_json(), request.seed


def test_every_optimizer_tries_equally_many_settings_widened_or_not() -> None:
    answers = {**EQUAL, LION: Answer(0.5, log_rate=-1.0)}
    task = run_bench(BenchLaboratory(answers), [found(), *known("adamw", "lion")], cross=False)
    assert [len(each.tuning.trials) for each in task.entrants] == [CONFIG.budget] * 3
    assert entrant(task, "lion").tuning.widenings
    assert not entrant(task, "found").tuning.widenings


def test_tuning_reads_validation_on_its_own_seeds_and_measurement_test_on_others() -> None:
    laboratory = BenchLaboratory(EQUAL)
    run_bench(laboratory, [found(), *known("adamw")])
    seeds = {
        split: {r.seed for r in laboratory.requests if r.protocol.split == split}
        for split in ("validation", "test")
    }
    assert len(seeds["validation"]) == CONFIG.tuning_seeds
    assert len(seeds["test"]) == CONFIG.seeds
    assert not seeds["validation"] & seeds["test"]


def test_another_hand_made_optimizer_costs_its_own_trials_alone() -> None:
    few, more = BenchLaboratory(EQUAL), BenchLaboratory(EQUAL)
    run_bench(few, [found(), *known("adamw")])
    run_bench(more, [found(), *known("adamw", "lion")])
    before = set(map(identity, few.requests))
    added = set(map(identity, more.requests)) - before
    assert before <= set(map(identity, more.requests))
    assert added
    assert all(LION in rule for rule, _, _ in added)


def test_a_declared_hyperparameter_is_tuned_within_its_range_and_the_report_states_it() -> None:
    task = run_bench(BenchLaboratory(EQUAL), known("adamw"), cross=False)
    record = entrant(task, "adamw").tuning
    assert [each.name for each in record.ranges] == [
        *("learning_rate", "beta1", "beta2", "weight_decay")
    ]
    decays = {trial.setting.hyperparameters["weight_decay"] for trial in record.trials}
    assert len(decays) == CONFIG.budget
    for trial in record.trials:
        assert f"{trial.setting.hyperparameters['weight_decay']!r}*w" in trial.setting.rule
    stated = next(each for each in tables(whole([task])) if each.name == "tiny-ranges")
    assert ("adamw", "weight_decay", 0.01, 1e-4, 1.0, "log") in [row[:6] for row in stated.rows]


def test_an_optimum_beyond_the_range_widens_it_and_says_so() -> None:
    answers = {LION: Answer(0.5, log_rate=-1.0)}
    task = run_bench(BenchLaboratory(answers), known("lion"), cross=False)
    record = entrant(task, "lion").tuning
    assert record.searched[0].highest > record.ranges[0].highest
    assert any("lay on the upper edge" in each for each in record.widenings)
    assert any(note.startswith("lion: learning_rate: the best of") for note in task.notes)
    beyond = [t for t in record.trials if t.setting.learning_rate > record.ranges[0].highest]
    assert beyond


def test_without_an_edge_no_range_is_widened() -> None:
    lion = run_bench(
        BenchLaboratory({LION: Answer(0.5, log_rate=-3.75)}), known("lion"), cross=False
    )
    rate = entrant(lion, "lion").tuning
    assert rate.searched[0] == rate.ranges[0]
    assert "learning_rate" not in rate.on_edge


def test_a_schedule_that_helps_everyone_is_told_from_the_equation() -> None:
    laboratory = BenchLaboratory(EQUAL, schedules={"[a1]": 0.2})
    task = run_bench(laboratory, [found(), *known("adamw", "lion")])
    (split,) = task.attributions
    assert split.schedule is not None
    assert split.equation is not None
    assert split.total is not None
    assert split.schedule.mean == pytest.approx(0.2, abs=0.02)
    assert split.equation.mean == pytest.approx(0.0, abs=0.02)
    assert split.total.mean == pytest.approx(split.schedule.mean + split.equation.mean)
    assert finding(task, "found") == "better"  # than hand-made updates under hand-made schedules
    assert "of it is the schedule" in split.sentence


def test_an_equation_that_helps_under_every_schedule_is_told_from_the_schedule() -> None:
    answers = {TANH: Answer(0.3), ADAMW: Answer(0.5)}
    task = run_bench(BenchLaboratory(answers), [found(), *known("adamw")])
    (split,) = task.attributions
    assert split.schedule is not None
    assert split.equation is not None
    assert split.schedule.mean == pytest.approx(0.0, abs=0.02)
    assert split.equation.mean == pytest.approx(0.2, abs=0.02)


def test_what_the_inner_decays_are_worth_is_measured_by_taking_them_out() -> None:
    answers = {"tanh([a3]": Answer(0.3), TANH: Answer(0.35), ADAMW: Answer(0.5)}
    task = run_bench(BenchLaboratory(answers), [found(), *known("adamw")])
    assert task.cross is not None
    assert "found without decays" in task.cross.updates
    (split,) = task.attributions
    assert split.decays is not None
    assert split.decays.mean == pytest.approx(0.05, abs=0.02)


def test_a_rule_must_beat_the_best_hand_made_schedule_not_warm_up_cosine_alone() -> None:
    # Better than AdamW under cosine by 0.05, worse than it under linear by 0.05.
    answers = {"tanh(": Answer(0.45), ADAMW: Answer(0.5)}
    laboratory = BenchLaboratory(answers, schedules={"linear": 0.1})
    plain = found(Rule.parse("none: tanh(g)"))
    task = run_bench(laboratory, [plain, *known("adamw")])
    assert task.cross is not None
    assert task.cross.best_hand_made == ("adamw", "warm-up linear")
    assert finding(task, "found") == "worse"
    without = run_bench(laboratory, [plain, *known("adamw")], cross=False)
    assert finding(without, "found") == "better"


def test_a_rule_that_does_not_beat_every_hand_made_cell_is_not_called_better() -> None:
    # Lion did badly in tuning and is best on the test split: beating AdamW alone is no claim.
    answers = {
        TANH: Answer(0.4),
        LION: Answer(0.6, log_rate=-4.0, test_shift=-0.3),
        ADAMW: Answer(0.5),
    }
    task = run_bench(BenchLaboratory(answers), [found(), *known("adamw", "lion")])
    assert task.cross is not None
    assert task.cross.best_hand_made is not None
    assert task.cross.best_hand_made[0] == "adamw"
    assert finding(task, "found") == "no difference shown"
    assert "no gain is shown over lion under warm-up cosine" in sentence(task, "found")


def test_no_difference_comes_with_the_seeds_that_would_show_the_one_seen() -> None:
    answers = {TANH: Answer(0.499), ADAMW: Answer(0.5)}
    laboratory = BenchLaboratory(answers, noise=0.2)
    plain = found(Rule.parse("none: tanh(g)"))
    task = run_bench(laboratory, [plain, *known("adamw")], cross=False)
    assert finding(task, "found") == "no difference shown"
    (verdict,) = [each for each in task.verdicts if each.entrant == "found"]
    assert verdict.seeds_needed is None or verdict.seeds_needed > CONFIG.seeds
    assert "seeds would show the difference seen" in verdict.sentence


def test_where_a_run_failed_no_number_of_seeds_is_promised() -> None:
    laboratory = BenchLaboratory({TANH: Answer(0.4), ADAMW: Answer(0.5)}, noise=0.2)
    task = run_bench(laboratory, [found(), *known("adamw")], cross=False)
    tuned = entrant(task, "found").tuned
    assert tuned is not None
    runs = (replace(tuned.runs[0], loss=None, metric=None), *tuned.runs[1:])
    changed = replace(entrant(task, "found"), tuned=replace(tuned, runs=runs))
    (judged,) = judge_tasks([replace(task, entrants=(changed, *task.entrants[1:]))], CONFIG)
    (verdict,) = [each for each in judged.verdicts if each.entrant == "found"]
    assert verdict.finding == "no difference shown"
    assert verdict.seeds_needed is None
    assert "seeds would show" not in verdict.sentence


def test_defaults_that_finish_nowhere_are_noted() -> None:
    answers = {TANH: Answer(0.4), ADAMW: Answer(0.5, diverges=True)}
    task = run_bench(BenchLaboratory(answers), [found(), *known("adamw")], cross=False)
    assert "adamw at its defaults has no score: diverged: the loss became NaN" in task.notes


def test_p_values_are_corrected_over_all_comparisons() -> None:
    task = run_bench(BenchLaboratory(EQUAL), [found(), *known("adamw", "lion")])
    tested = [each for each in task.verdicts if each.comparison is not None]
    raw = [each.comparison.p_value for each in tested if each.comparison is not None]
    smallest = min(range(len(raw)), key=raw.__getitem__)
    assert tested[smallest].adjusted_p_value == pytest.approx(min(1.0, len(raw) * raw[smallest]))


def test_the_target_is_the_best_hand_made_median_and_reached_when_the_curve_first_is_there() -> (
    None
):
    # Curves fall by 0.1 each 10 steps to the final loss at step 100.
    answers = {TANH: Answer(0.25), LION: Answer(0.7, log_rate=-4.0), ADAMW: Answer(0.5)}
    task = run_bench(BenchLaboratory(answers, noise=0.0), [found(), *known("adamw", "lion")])
    assert task.target is not None
    assert task.target.source == "adamw"
    assert task.target.measure is Measure.LOSS
    tuned = entrant(task, "found").tuned
    assert tuned is not None
    for run in tuned.runs:
        reached = [
            step
            for step, loss in zip(run.curve.steps, run.curve.validation_loss, strict=True)
            if loss <= task.target.value
        ]
        assert run.steps_to_target == (reached[0] if reached else None)
    assert tuned.steps_to_target is not None
    assert tuned.steps_to_target < 100
    lion = entrant(task, "lion").tuned
    assert lion is not None
    assert lion.steps_to_target is None


def test_the_width_of_good_rates_is_that_of_the_parabola() -> None:
    # 0.1·x² ≤ 5% of 0.5 within |x| ≤ 0.5: one decade, and the sweep reaches 0.5 on each side.
    laboratory = BenchLaboratory({LION: Answer(1.0, log_rate=-3.75)}, noise=0.0)
    task = run_bench(laboratory, known("lion"), cross=False, sensitivity_half_width=8)
    swept = entrant(task, "lion").sensitivity
    assert swept is not None
    assert swept.decades is not None
    assert 1.0 < swept.decades < 2.0
    assert not swept.at_least
    assert len(swept.points) == 17


def test_an_optimizer_that_diverges_on_every_trial_has_a_row_that_says_so() -> None:
    answers = {TANH: Answer(0.5, diverges=True), ADAMW: Answer(0.5)}
    task = run_bench(BenchLaboratory(answers), [found(), *known("adamw")])
    lost = entrant(task, "found")
    assert lost.tuned is None
    assert lost.tuning_divergence_rate == 1.0
    assert finding(task, "found") is None
    assert "no setting finished on all tuning seeds (diverged: the loss became NaN)" in sentence(
        task, "found"
    )
    assert any(note.startswith("found finished no setting") for note in task.notes)
    result = whole([task])
    assert BenchResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    assert all(table.rows for table in tables(result) if "gains" not in table.name)


def test_a_benchmark_in_which_nothing_finishes_ends_without_a_target_or_a_claim() -> None:
    task = run_bench(BenchLaboratory({"g": Answer(0.5, diverges=True)}), [found(), *known("lion")])
    assert task.target is None
    assert task.best_at_defaults is None
    assert {each.finding for each in task.verdicts} == {None}
    assert whole([task]).sentence


def test_the_best_hand_made_optimizer_at_its_defaults_is_chosen_on_the_tuning_seeds() -> None:
    answers = {LION: Answer(0.4, log_rate=-3.75, test_shift=0.5), ADAMW: Answer(0.5)}
    task = run_bench(BenchLaboratory(answers), known("adamw"), cross=False)
    assert task.best_at_defaults is not None
    assert task.best_at_defaults.name == "lion"
    assert set(task.best_at_defaults.tried) == {"adamw", "lion"}
    assert len(task.best_at_defaults.measurement.runs) == CONFIG.seeds


def test_scores_over_tasks_are_ratios_profiles_and_the_speed_up_over_adamw() -> None:
    answers = {TANH: Answer(0.25), ADAMW: Answer(0.5)}
    task = run_bench(BenchLaboratory(answers, noise=0.0), [found(), *known("adamw")])
    result = whole([task, replace(task, task="again")])
    by_name = {score.entrant: score for score in result.scores}
    steps = {
        each.name: each.tuned.steps_to_target for each in task.entrants if each.tuned is not None
    }
    assert steps["adamw"] is not None
    assert steps["found"] is not None
    ratio = steps["adamw"] / steps["found"]
    assert by_name["found"].ratios == (1.0, 1.0)
    assert by_name["adamw"].ratios == pytest.approx((ratio, ratio))
    assert by_name["found"].speed_up == pytest.approx(ratio)
    assert by_name["found"].speed_up_tasks == 2
    assert by_name["found"].area == 1.0
    assert by_name["adamw"].area == pytest.approx((4 - ratio) / 3)
    chance = by_name["found"].probability_of_improvement
    assert chance is not None
    assert chance.mean > 0.9
    assert by_name["adamw"].relative is not None


def test_without_adamw_there_is_no_speed_up_over_it() -> None:
    task = run_bench(BenchLaboratory(EQUAL), [found(), *known("lion")], cross=False)
    assert {score.speed_up for score in whole([task]).scores} == {None}


def test_the_summary_counts_tasks_and_never_claims_more() -> None:
    answers = {TANH: Answer(0.3), ADAMW: Answer(0.5)}
    better = run_bench(BenchLaboratory(answers), [found(), *known("adamw")])
    same = replace(run_bench(BenchLaboratory(EQUAL), [found(), *known("adamw")]), task="other")
    text = whole([better, same]).sentence
    assert "better than the best hand-made update under the best hand-made schedule on one" in text
    assert "of 2 tasks (tiny)" in text
    assert "not shown to be better" in whole([same, replace(same, task="third")]).sentence


def test_of_several_rules_the_summary_names_the_better_and_the_worse_once() -> None:
    slow = Rule.parse("none: softsign(g)")
    entrants = [found(name="one"), found(slow, name="two"), *known("adamw")]
    answers = {TANH: Answer(0.3), "softsign(": Answer(0.9), ADAMW: Answer(0.5)}
    task = run_bench(BenchLaboratory(answers), entrants, cross=False)
    rival = "better than the best hand-made optimizer under the one schedule that was tried"
    assert whole([task]).sentence == f"one is {rival}; worse: two"
    again = replace(task, task="again")
    assert whole([task, again]).sentence == (
        f"one (tiny and again) is {rival}; worse: two (tiny and again)"
    )
    same = run_bench(BenchLaboratory({**EQUAL, "softsign(": Answer(0.5)}), entrants, cross=False)
    assert whole([same]).sentence == (
        f"none of two discovered rules is shown to be {rival} on tiny; else no difference is shown"
    )


def test_without_other_schedules_the_summary_claims_nothing_about_them() -> None:
    answers = {TANH: Answer(0.3), ADAMW: Answer(0.5)}
    task = run_bench(BenchLaboratory(answers), [found(), *known("adamw")], cross=False)
    text = whole([task, replace(task, task="again")]).sentence
    assert "better than the best hand-made optimizer under the one schedule that was tried" in text
    assert "best hand-made schedule" not in text


def test_what_is_no_benchmark_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="not a benchmark: name"):
        BenchResult.from_dict({"digest": "0"})


def test_a_cell_keeps_the_protocol_but_for_the_shape_of_its_base_schedule() -> None:
    laboratory = BenchLaboratory(EQUAL)
    run_bench(laboratory, known("lion"))
    shapes = {each.protocol.training.schedule for each in of(laboratory, LION, "test")}
    assert shapes == {"cosine", "linear", "stable", "constant"}
    for each in laboratory.requests:
        plain = replace(each.protocol.training, schedule="cosine")
        assert plain == PROTOCOL.training
    assert FOUND.schedule is not None
