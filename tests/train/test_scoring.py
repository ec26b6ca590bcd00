"""Scoring: what a trial decides, told made-up figures; nothing is trained here."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from train.small_task import ANYTHING, AT_RATE, PROBED, SHORT

from evolute.tasks.base import Evaluation, Split
from evolute.train.protocol import Protocol, Threshold
from evolute.train.scoring import Course, Scoring
from evolute.trial import Outcome, OutcomeKind, Score

HALF = Threshold(accuracy=None, loss_fraction=0.5)


def scoring(protocol: Protocol, *, has_accuracy: bool = True) -> Scoring:
    return Scoring(protocol, "accuracy" if has_accuracy else None, has_accuracy)


def drive(course: Course, *losses: float, first: float = 1.0, metric: float = 0.5) -> Course:
    """End epochs with these losses, each evaluated as it was trained; stop when it ends."""
    course.first_loss = first
    for loss in losses:
        course.end_epoch(loss, metric, broken_weight=None)
        while course.wants is not None:
            course.evaluated(Evaluation(loss, metric if course.has_metric else None))
        if course.ended:
            break
    return course


def finish(course: Course, loss: float) -> Course:
    """Drive a course to its end with the same loss in each epoch."""
    return drive(course, *[loss] * math.ceil(course.plan.steps / course.plan.epoch_steps))


def test_the_probes_of_the_first_rates_begin_together_and_the_others_follow_when_all_ended() -> (
    None
):
    trial = scoring(PROBED)
    first = trial.begin()
    assert [course.learning_rate for course in first] == [1.0, 0.01]
    assert trial.ended(finish(first[0], 0.5)) == []
    others = trial.ended(finish(first[1], 0.4))
    assert [course.learning_rate for course in others] == [0.1]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_training_has_the_rate_of_the_best_probe_in_whatever_order_probes_end(
    order: tuple[int, int],
) -> None:
    trial = scoring(PROBED)
    first = trial.begin()
    losses = 0.7, 0.2
    follow = [course for at in order for course in trial.ended(finish(first[at], losses[at]))]
    (training,) = trial.ended(finish(follow[0], 0.5))
    assert not training.is_probe
    assert training.learning_rate == first[1].learning_rate
    trial.ended(finish(training, 0.1))
    assert isinstance(trial.result, Score)
    assert trial.result.fitness == pytest.approx(-0.1)
    assert trial.result.steps == 3 * 6 + 12
    assert trial.outcome.kind is OutcomeKind.FINISHED


def test_of_equal_probes_the_lower_rate_is_taken() -> None:
    trial = scoring(PROBED)
    first = trial.begin()
    trial.ended(finish(first[0], 0.5))
    (other,) = trial.ended(finish(first[1], 0.5))
    (training,) = trial.ended(finish(other, 0.5))
    assert training.learning_rate == 0.01


def test_a_probe_below_its_threshold_ends_at_its_epoch_and_is_out_of_the_choice() -> None:
    assert PROBED.probe is not None
    strict = replace(PROBED, probe=replace(PROBED.probe, abandon_epoch=2, abandon=HALF))
    trial = scoring(strict, has_accuracy=False)
    slow, quick = trial.begin()
    drive(slow, 0.4, 0.6, 0.1)
    assert (slow.steps, slow.ended) == (4, True)
    assert slow.outcome is not None
    assert slow.outcome.kind is OutcomeKind.BELOW_THRESHOLD
    assert "training loss 0.6 is above 0.5" in slow.outcome.sentence
    trial.ended(slow)
    (other,) = trial.ended(drive(quick, 0.9, 0.5, 0.45))
    (training,) = trial.ended(drive(other, 0.9, 0.5, 0.48))
    assert training.learning_rate == quick.learning_rate


def test_a_rule_that_fails_at_all_first_rates_fails_and_names_them() -> None:
    trial = scoring(PROBED)
    for course in trial.begin():
        course.first_loss = 1.0
        course.diverged("the loss", math.nan)
        assert trial.ended(course) == []
    assert isinstance(trial.result, Outcome)
    assert trial.outcome.kind is OutcomeKind.DIVERGED
    assert "every first probe failed (learning rates 1, 0.01)" in trial.outcome.sentence


def test_a_best_probe_that_is_not_accepted_ends_the_trial_without_a_training() -> None:
    assert PROBED.probe is not None
    strict = replace(PROBED, probe=replace(PROBED.probe, accept=HALF))
    trial = scoring(strict, has_accuracy=False)
    first = trial.begin()
    trial.ended(finish(first[0], 0.9))
    (other,) = trial.ended(finish(first[1], 0.8))
    assert trial.ended(finish(other, 0.7)) == []
    assert trial.outcome.kind is OutcomeKind.BELOW_THRESHOLD
    assert "after the best probe, at learning rate 0.1" in trial.outcome.sentence


def test_a_probe_is_never_evaluated_on_held_out_data() -> None:
    course, _ = scoring(PROBED).begin()
    course.first_loss = 1.0
    course.end_epoch(0.5, 0.5, broken_weight=None)
    assert course.wants is None


def test_a_training_is_evaluated_at_every_epoch_end_and_its_curve_holds_them() -> None:
    trial = scoring(AT_RATE)
    (training,) = trial.begin()
    drive(training, 0.9, 0.8, 0.7)
    trial.ended(training)
    assert [record.step for record in trial.curve] == [4, 8, 12]
    assert [record.train_loss for record in trial.curve] == [0.9, 0.8, 0.7]


@pytest.mark.parametrize(("epoch", "expected"), [("best", 0.2), ("last", 0.7)])
def test_fitness_is_that_of_the_best_or_of_the_last_epoch(epoch: str, expected: float) -> None:
    trial = scoring(replace(AT_RATE, fitness_epoch=epoch))  # type: ignore[arg-type]
    (training,) = trial.begin()
    trial.ended(drive(training, 0.9, 0.2, 0.7))
    assert isinstance(trial.result, Score)
    assert trial.result.loss == expected


def test_the_test_split_is_asked_for_only_at_the_epoch_that_counts() -> None:
    trial = scoring(replace(AT_RATE, split="test"))
    (training,) = trial.begin()
    training.first_loss, wanted = 1.0, []
    for loss in (0.9, 0.2, 0.7):
        training.end_epoch(loss, 0.5, broken_weight=None)
        while training.wants is not None:
            wanted.append(training.wants)
            training.evaluated(Evaluation(loss + (training.wants is Split.TEST), 0.5))
    trial.ended(training)
    assert wanted == [Split.VALIDATION, Split.VALIDATION, Split.VALIDATION, Split.TEST]
    assert isinstance(trial.result, Score)
    assert trial.result.loss == 1.7


@pytest.mark.parametrize(
    ("loss", "metric", "weight", "what"),
    [
        (math.nan, 0.5, None, "the mean training loss became NaN"),
        (0.5, math.inf, None, "the training metric became infinite"),
        (0.5, 0.5, math.nan, "a weight became NaN"),
    ],
)
def test_what_is_not_finite_at_an_epoch_end_has_diverged(
    loss: float, metric: float, weight: float | None, what: str
) -> None:
    (training,) = scoring(AT_RATE).begin()
    training.end_epoch(loss, metric, broken_weight=weight)
    assert training.ended
    assert training.outcome is not None
    assert training.outcome.kind is OutcomeKind.DIVERGED
    assert what in training.outcome.sentence


def test_nan_on_held_out_data_never_becomes_a_score() -> None:
    trial = scoring(AT_RATE)
    (training,) = trial.begin()
    training.first_loss = 1.0
    training.end_epoch(0.5, 0.5, broken_weight=None)
    training.evaluated(Evaluation(math.nan, 0.5))
    trial.ended(training)
    assert isinstance(trial.result, Outcome)
    assert "the validation loss became NaN" in trial.outcome.sentence


def test_accuracy_decides_where_the_threshold_names_one_and_the_loss_elsewhere() -> None:
    accurate = Threshold(accuracy=0.6, loss_fraction=1.0)
    training = replace(SHORT, abandon_epoch=1, abandon=accurate)
    for metric, has_accuracy, ends in ((0.5, True, True), (0.6, True, False), (0.5, False, False)):
        (course,) = scoring(replace(AT_RATE, training=training), has_accuracy=has_accuracy).begin()
        drive(course, 0.9, metric=metric)
        assert course.ended is ends


def test_a_probe_that_times_out_ends_its_trial_at_once() -> None:
    trial = scoring(PROBED)
    first, _ = trial.begin()
    first.timed_out(2.5)
    assert trial.ended(first) == []
    assert trial.outcome.kind is OutcomeKind.TIMED_OUT
    assert trial.outcome.sentence.startswith("timed out: 2.5 seconds were over at step 0")


def test_a_course_begun_again_takes_the_place_of_the_lost_one() -> None:
    trial = scoring(AT_RATE)
    (lost,) = trial.begin()
    drive(lost, 0.9)
    fresh = trial.restarted(lost)
    assert (fresh.steps, fresh.records) == (0, [])
    trial.ended(drive(fresh, 0.8, 0.7, 0.6))
    assert [record.train_loss for record in trial.curve] == [0.8, 0.7, 0.6]
    assert isinstance(trial.result, Score)
    assert trial.result.steps == SHORT.steps


def test_anything_that_does_not_climb_passes_a_threshold_of_one() -> None:
    (course,) = scoring(replace(AT_RATE, training=replace(SHORT, abandon=ANYTHING))).begin()
    assert course.shortfall(ANYTHING, drive(course, 1.0).epochs[-1]) is None
