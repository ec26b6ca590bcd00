"""Trials end in typed outcomes, and only what is finite is a score."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, get_args

import pytest
import torch
from torch import Tensor, nn
from train.small_task import ADAM, ANYTHING, AT_RATE, PROBED, SGD, SHORT, make, pairs, run

from evolute.errors import InputError, TaskError
from evolute.lang.rule import Rule
from evolute.schedules import Shape
from evolute.seeds import derive, torch_generator
from evolute.seeds.streams import seeded
from evolute.tasks.base import Split
from evolute.tasks.digits import digits
from evolute.train.protocol import PROTOCOLS, Probe, Threshold, Training
from evolute.train.trainer import run_trial
from evolute.trial import OutcomeKind


def test_good_rules_finish_and_hopeless_ones_do_not_under_quick() -> None:
    quick, task = PROTOCOLS["quick"].main, digits()
    adam, sgd, constant, uphill = (
        run_trial(Rule.parse(text), task, quick, seed=0) for text in ("v/sqrt(s)", "g", "1", "-g")
    )
    assert adam.score is not None
    assert sgd.score is not None
    assert adam.score.loss < sgd.score.loss < 0.25
    assert adam.score.fitness == -adam.score.loss
    assert adam.score.metric is not None
    assert adam.score.metric > 0.9
    assert adam.outcome.sentence.startswith("finished: loss 0.1")
    assert constant.outcome.kind is OutcomeKind.BELOW_THRESHOLD
    assert uphill.outcome.kind in (OutcomeKind.BELOW_THRESHOLD, OutcomeKind.DIVERGED)
    for failed in (constant, uphill):
        assert failed.score is None
        assert "every first probe failed (learning rates 1, 0.1, 0.01" in failed.outcome.sentence


def explode(step: int, value: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss that turns into a value at its n-th training batch."""
    calls = itertools.count(1)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        entropy = nn.functional.cross_entropy(output, target)
        return entropy * value if output.requires_grad and next(calls) == step else entropy

    return loss


@pytest.mark.parametrize(("value", "word"), [(math.nan, "NaN"), (math.inf, "infinite")])
def test_a_loss_that_is_not_finite_ends_the_trial_where_it_happens(value: float, word: str) -> None:
    trial = run(task=make(loss=explode(7, value)), protocol=AT_RATE)
    assert trial.outcome.kind is OutcomeKind.DIVERGED
    assert trial.outcome.sentence == (
        f"diverged: the loss became {word} at step 7 of the training at learning rate 0.1"
    )
    assert trial.score is None
    assert [record.step for record in trial.curve] == [4]


INFINITE = "exp(exp(exp(g*0+3)))"


@pytest.mark.parametrize(("text", "word"), [(INFINITE, "infinite"), (f"{INFINITE}*(g*0)", "NaN")])
def test_weights_that_the_very_last_step_breaks_are_no_score(text: str, word: str) -> None:
    one_step = Training(steps=1, epoch_steps=1, warmup_steps=0, abandon=ANYTHING)
    trial = run(Rule.parse(text), protocol=replace(AT_RATE, training=one_step))
    assert trial.outcome.sentence == (
        f"diverged: a weight became {word} at step 1 of the training at learning rate 0.1"
    )
    assert trial.score is None


def test_a_weight_that_no_loss_sees_must_be_finite_too() -> None:
    class Hidden(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 3)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, inputs: Tensor) -> Tensor:
            self.seen: Tensor = self.seen + math.inf
            return super().forward(inputs)

    trial = run(task=make(model=Hidden), protocol=AT_RATE)
    assert trial.outcome.sentence == (
        "diverged: a weight became infinite at step 4 of the training at learning rate 0.1"
    )


@pytest.mark.parametrize("split", [Split.VALIDATION, Split.TEST])
def test_a_scored_loss_or_metric_that_is_not_finite_is_no_score(split: Split) -> None:
    inputs, targets = pairs(20, 1)
    protocol = AT_RATE.at_rate(0.1, split="test")
    trial = run(task=make(**{split: (inputs * math.nan, targets)}), protocol=protocol)
    assert trial.outcome.kind is OutcomeKind.DIVERGED
    assert f"the {split} loss became NaN" in trial.outcome.sentence
    assert trial.score is None

    def metric(output: Tensor, target: Tensor) -> float:
        return math.nan if len(target) == 19 else 1.0

    nineteen = make(metric=metric, **{split: pairs(19, 1)})
    assert (
        f"the {split} metric became NaN" in run(task=nineteen, protocol=protocol).outcome.sentence
    )


def test_a_training_metric_that_is_not_finite_is_no_score() -> None:
    def metric(output: Tensor, target: Tensor) -> float:
        return math.inf if len(target) == 8 else 1.0

    trial = run(task=make(metric=metric), protocol=AT_RATE)
    assert "the training metric became infinite" in trial.outcome.sentence


def test_a_training_under_its_threshold_is_stopped_at_the_stated_epoch() -> None:
    strict = replace(SHORT, abandon_epoch=2, abandon=Threshold(accuracy=0.999, loss_fraction=0.0))
    trial = run(protocol=replace(AT_RATE, training=strict))
    assert trial.outcome.kind is OutcomeKind.BELOW_THRESHOLD
    assert trial.outcome.sentence.startswith(
        "below threshold: stopped after step 8 of the training at learning rate 0.1: training "
        "accuracy 0."
    )
    assert [record.step for record in trial.curve] == [4]


def test_a_task_without_accuracy_is_stopped_by_its_loss() -> None:
    strict = replace(SHORT, abandon_epoch=1, abandon=Threshold(accuracy=0.0, loss_fraction=0.01))
    trial = run(task=make(metric=None), protocol=replace(AT_RATE, training=strict))
    assert trial.outcome.kind is OutcomeKind.BELOW_THRESHOLD
    assert "training loss" in trial.outcome.sentence


def test_a_trial_ends_when_its_time_is_over() -> None:
    def slow(output: Tensor, target: Tensor) -> Tensor:
        time.sleep(0.02)
        return nn.functional.cross_entropy(output, target)

    for protocol, stage in ((PROBED, "probe"), (AT_RATE, "training")):
        trial = run_trial(ADAM, make(loss=slow), protocol, seed=0, timeout_seconds=0.05)
        assert trial.outcome.kind is OutcomeKind.TIMED_OUT
        assert trial.outcome.sentence.startswith("timed out: 0.05 seconds were over at step ")
        assert f"of the {stage} at" in trial.outcome.sentence
        assert trial.score is None


@pytest.mark.parametrize("timeout", [0.0, -1.0, math.nan])
def test_a_time_limit_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(InputError, match="timeout_seconds"):
        run_trial(ADAM, make(), AT_RATE, seed=0, timeout_seconds=timeout)


def test_scoring_by_a_metric_that_the_task_has_not_is_refused() -> None:
    with pytest.raises(TaskError, match="has no metric and the protocol scores by it"):
        run(task=make(metric=None), protocol=replace(AT_RATE, fitness="metric"))


def test_the_rate_of_the_lowest_training_loss_is_trained_at() -> None:
    task = digits()
    probe = Probe(
        steps=30,
        epoch_steps=15,
        warmup_steps=3,
        first_rates=(1e-5, 1.0),
        other_rates=(1e-3,),
        abandon_epoch=9,
        accept=ANYTHING,
    )
    trial = run(SGD, task, replace(PROBED, batch_size=64, probe=probe))
    assert trial.score is not None
    assert trial.score.learning_rate == 1.0
    assert trial.score.steps == 3 * 30 + SHORT.steps


def test_probing_and_then_training_is_training_at_that_rate() -> None:
    probed = run()
    assert probed.score is not None
    direct = run(protocol=PROBED.at_rate(probed.score.learning_rate))
    assert direct.score is not None
    assert direct.curve == probed.curve
    assert replace(direct.score, steps=0) == replace(probed.score, steps=0)


def scripted(*values: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss with these values at its first training batches, and 1 after that."""
    script = itertools.chain(values, itertools.repeat(1.0))

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return 0 * output.sum() + (next(script) if output.requires_grad else 1.0)

    return loss


@pytest.mark.parametrize(("judged_by", "expected"), [("best", 0.5), ("last", 0.25)])
def test_probes_are_judged_by_the_epoch_that_the_protocol_says(
    judged_by: Literal["best", "last"], expected: float
) -> None:
    probe = Probe(
        steps=4,
        epoch_steps=2,
        warmup_steps=0,
        first_rates=(0.5, 0.25),
        other_rates=(),
        accept=Threshold(accuracy=None, loss_fraction=1.0),
    )
    task = make(loss=scripted(3, 1, 5, 5, 3, 3, 3, 3))
    protocol = replace(PROBED, probe=probe, fitness_epoch=judged_by)
    trial = run(SGD, task, protocol)
    assert trial.score is not None
    assert trial.score.learning_rate == expected


def test_other_rates_are_not_tried_when_every_first_one_fails() -> None:
    made = []

    def model() -> nn.Module:
        made.append(1)
        return nn.Linear(4, 3)

    hopeless = replace(PROBED.probe, abandon=Threshold(accuracy=1.0, loss_fraction=0.0))  # type: ignore[type-var]
    trial = run(Rule.parse("1"), make(model=model), replace(PROBED, probe=hopeless))
    assert trial.outcome.kind is OutcomeKind.BELOW_THRESHOLD
    assert len(made) == 2


def test_first_probes_that_all_diverge_are_a_divergence() -> None:
    trial = run(task=make(loss=lambda output, target: output.sum() * math.nan))
    assert trial.outcome.kind is OutcomeKind.DIVERGED
    assert trial.outcome.sentence == (
        "diverged: every first probe failed (learning rates 1, 0.01); diverged: the loss became "
        "NaN at step 1 of the probe at learning rate 0.01"
    )


def test_the_best_probe_must_be_acceptable() -> None:
    strict = replace(PROBED.probe, accept=Threshold(accuracy=1.0, loss_fraction=0.0))  # type: ignore[type-var]
    trial = run(protocol=replace(PROBED, probe=strict))
    assert trial.outcome.kind is OutcomeKind.BELOW_THRESHOLD
    assert trial.outcome.sentence.startswith("below threshold: after the best probe, at learning")


def test_a_probe_that_diverges_leaves_the_choice_to_the_others() -> None:
    def fragile(output: Tensor, target: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(output, target)
        return loss * math.nan if output.abs().max() > 50 else loss

    probe = replace(PROBED.probe, first_rates=(1e5, 0.01), other_rates=())  # type: ignore[type-var]
    model = lambda: nn.Linear(4, 3)  # noqa: E731
    trial = run(SGD, make(loss=fragile, model=model), replace(PROBED, probe=probe))
    assert trial.score is not None
    assert trial.score.learning_rate == 0.01


def test_the_curve_has_a_point_per_epoch_with_the_remainder_as_the_last() -> None:
    training = Training(steps=10, epoch_steps=4, warmup_steps=1, abandon=ANYTHING)
    trial = run(protocol=replace(AT_RATE, training=training))
    assert [record.step for record in trial.curve] == [4, 8, 10]
    assert trial.score is not None
    last = trial.curve[-1]
    assert (trial.score.loss, trial.score.metric, trial.score.train_loss) == (
        last.validation_loss,
        last.validation_metric,
        last.train_loss,
    )


def test_the_best_epoch_is_scored_where_the_protocol_says_so() -> None:
    rough = replace(AT_RATE, learning_rate=3.0, fitness="metric", fitness_epoch="best")
    differs = 0
    for seed in range(6):
        trial = run_trial(ADAM, make(), rough, seed=seed)
        assert trial.score is not None
        metrics = [record.validation_metric or 0.0 for record in trial.curve]
        assert trial.score.fitness == max(metrics)
        differs += trial.score.fitness > metrics[-1]
    assert differs, "in no trial was the best epoch another than the last"


def test_the_test_split_is_scored_at_the_epoch_that_validation_chose() -> None:
    rough = replace(AT_RATE, learning_rate=3.0, fitness_epoch="best")
    for seed in range(4):
        on_test = run_trial(ADAM, make(), rough.at_rate(3.0, split="test"), seed=seed)
        validated = run_trial(ADAM, make(test=pairs(20, 1)), rough, seed=seed)
        swapped = run_trial(
            ADAM, make(test=pairs(20, 1)), rough.at_rate(3.0, split="test"), seed=seed
        )
        assert on_test.score is not None
        assert validated.score is not None
        assert swapped.score is not None
        assert on_test.curve == validated.curve
        assert on_test.score.loss != validated.score.loss
        assert swapped.score.loss == validated.score.loss


def test_the_augmentation_is_the_protocol_s_choice() -> None:
    def mirror(inputs: Tensor, generator: torch.Generator) -> Tensor:
        return -inputs

    task = make(augment=mirror)
    plain, augmented = (
        run(task=task, protocol=replace(AT_RATE, augment=augment)).score
        for augment in (False, True)
    )
    assert plain != augmented
    assert run(protocol=AT_RATE).score == plain


def test_the_width_is_the_protocol_s_choice() -> None:
    widths = []

    def model(width: int = 2) -> nn.Module:
        widths.append(width)
        return nn.Sequential(nn.Linear(4, width), nn.Linear(width, 3))

    run(task=make(model=model), protocol=AT_RATE)
    run(task=make(model=model), protocol=replace(AT_RATE, width=5))
    assert widths == [2, 5]


@pytest.mark.parametrize("hold", [0, 4])
def test_a_scored_training_is_the_plain_loop_of_torch(hold: int) -> None:
    steps, warmup, start = SHORT.steps, SHORT.warmup_steps, SHORT.warmup_steps + hold
    training = replace(AT_RATE.training, hold_steps=hold)
    trial = run(Rule.parse("[a1]*g"), protocol=replace(AT_RATE, training=training))
    task = make()
    with seeded(derive(3, "weights")):
        model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    batches = task.batches(torch_generator(3, "batches"), AT_RATE.batch_size)
    with seeded(derive(3, "model noise")):
        for step in range(steps):
            cosine = (1 + math.cos(math.pi * max(0, step - start) / (steps - start))) / 2
            base = step / warmup if step < warmup else cosine
            optimizer.param_groups[0]["lr"] = 0.1 * base * (1 - step / steps)
            inputs, targets = next(batches)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
    evaluation = task.evaluate(model, Split.VALIDATION)
    assert trial.score is not None
    assert trial.score.loss == pytest.approx(evaluation.loss, rel=1e-6)
    assert trial.score.metric == evaluation.metric


def test_warm_up_begins_at_a_rate_of_zero() -> None:
    weights: list[Tensor] = []

    def watching(output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, target)

    class Watched(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            weights.append(self.weight.detach().clone())
            return super().forward(inputs)

    run(SGD, make(model=lambda: Watched(4, 3), loss=watching), AT_RATE)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_a_sparse_gradient_is_refused_by_the_name_of_its_weight() -> None:
    def sparse() -> nn.Module:
        return nn.Sequential(nn.Embedding(5, 4, sparse=True), nn.Flatten(), nn.Linear(4, 3))

    tokens = torch.arange(20).remainder(5)[:, None], torch.arange(20).remainder(3)
    task = make(model=sparse, train=tokens, validation=tokens, test=tokens)
    with pytest.raises(InputError, match=r"parameter '0\.weight' \(shape \(5, 4\)\) is sparse"):
        run(SGD, task, AT_RATE)


def test_the_shape_of_the_schedule_changes_what_a_training_reaches() -> None:
    task = make()
    losses = set()
    for shape in get_args(Shape):
        protocol = replace(AT_RATE, training=replace(AT_RATE.training, schedule=shape))
        score = run_trial(SGD, task, protocol, seed=0).score
        assert score is not None
        losses.add(score.loss)
    assert len(losses) == len(get_args(Shape))
