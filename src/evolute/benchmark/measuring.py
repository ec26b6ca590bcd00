"""Measuring: settings on fresh seeds and the test split, time to a target, sensitivity to the rate.

Losses and metrics at the end are of the test split, which tuning never reads. A target is reached
on the curve of the validation split, on seeds that tuning never used.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from evolute.benchmark.comparison import Measure
from evolute.benchmark.config import BenchConfig
from evolute.benchmark.measured import (
    Curve,
    Measurement,
    SeedRun,
    Sensitivity,
    SensitivityPoint,
    Setting,
)
from evolute.benchmark.result import Target
from evolute.benchmark.statistics import estimate
from evolute.benchmark.tuning import RATES_PER_DECADE
from evolute.lang.rule import Rule
from evolute.runs.executors.base import TrialRequest
from evolute.train.protocol import Protocol
from evolute.trial import EpochRecord, OutcomeKind, Trial


def bench_protocol(protocol: Protocol, curve_points: int) -> Protocol:
    """Return a protocol whose trainings are looked at so many times, for targets to be reached.

    The step at which a hopeless training is stopped stays as near as it can.
    """
    training = protocol.training
    epoch_steps = max(1, round(training.steps / curve_points))
    abandon_epoch = math.ceil(training.abandon_epoch * training.epoch_steps / epoch_steps)
    finer = replace(training, epoch_steps=epoch_steps, abandon_epoch=abandon_epoch)
    return replace(protocol, training=finer)


def fresh_requests(
    setting: Setting, protocol: Protocol, seeds: Sequence[int]
) -> list[TrialRequest]:
    """Return the trainings of a setting that are measured on the test split."""
    rule, at_rate = Rule.parse(setting.rule), protocol.at_rate(setting.learning_rate, split="test")
    return [TrialRequest(rule, at_rate, seed) for seed in seeds]


def find_target(runs: Sequence[tuple[str, Sequence[Trial]]], *, measure: Measure) -> Target | None:
    """Return the target that the tuned hand-made optimizers set.

    Parameters
    ----------
    runs
        Name of each tuned hand-made optimizer, and its fresh runs.
    measure
        What the target is a value of.

    Returns
    -------
    Target or None
        The best over optimizers of the median over seeds of the best value on the curve; a run
        without a score counts as the worst. None if no optimizer has such a median.
    """
    best: Target | None = None
    for name, trials in runs:
        values = [_best_on_curve(trial, measure) for trial in trials]
        median = statistics.median(values)
        if math.isfinite(median) and (best is None or _reaches(median, best)):
            best = Target(median, measure, name)
    return best


def _best_on_curve(trial: Trial, measure: Measure) -> float:
    """Return the best value of a run's curve; an infinitely bad one for a run without a score."""
    worst = math.inf if measure is Measure.LOSS else -math.inf
    if trial.score is None:
        return worst
    values = [value for point in trial.curve if (value := _value(point, measure)) is not None]
    pick = min if measure is Measure.LOSS else max
    return pick(values, default=worst)


def _value(point: EpochRecord, measure: Measure) -> float | None:
    return point.validation_loss if measure is Measure.LOSS else point.validation_metric


def _reaches(value: float, target: Target) -> bool:
    return value <= target.value if target.measure is Measure.LOSS else value >= target.value


def measurement(setting: Setting, trials: Sequence[Trial], target: Target | None) -> Measurement:
    """Return what a setting's fresh runs measured."""
    runs = tuple(_seed_run(trial, target) for trial in trials)
    return Measurement(
        setting=setting,
        runs=runs,
        loss=estimate([run.loss for run in runs if run.loss is not None]),
        metric=estimate([run.metric for run in runs if run.metric is not None]),
        divergence_rate=_diverged(trials) / len(trials),
        steps_to_target=_median([run.steps_to_target for run in runs]),
        seconds_to_target=_median([run.seconds_to_target for run in runs]),
    )


def _seed_run(trial: Trial, target: Target | None) -> SeedRun:
    score = trial.score
    seconds = None if score is None else trial.provenance.seconds / score.steps
    reached = next(
        (
            point.step
            for point in trial.curve
            if target is not None
            and (value := _value(point, target.measure)) is not None
            and _reaches(value, target)
        ),
        None,
    )
    return SeedRun(
        seed=trial.key.seed,
        outcome=trial.outcome.kind.value,
        sentence=trial.outcome.sentence,
        loss=None if score is None else score.loss,
        metric=None if score is None else score.metric,
        seconds_per_step=seconds,
        steps_to_target=reached if score is not None else None,
        seconds_to_target=None if reached is None or seconds is None else reached * seconds,
        curve=_curve(trial),
    )


def _curve(trial: Trial) -> Curve:
    points = trial.curve
    metrics = [point.validation_metric for point in points]
    return Curve(
        steps=tuple(point.step for point in points),
        train_loss=tuple(point.train_loss for point in points),
        validation_loss=tuple(point.validation_loss for point in points),
        validation_metric=(
            None if None in metrics else tuple(value for value in metrics if value is not None)
        ),
    )


def _diverged(trials: Sequence[Trial]) -> int:
    return sum(trial.outcome.kind is OutcomeKind.DIVERGED for trial in trials)


def _median(values: Sequence[float | None]) -> float | None:
    """Return the lower median, missing values being infinite; None where it is infinite.

    The lower one: the optimizer that set the target reaches it in half of its runs.
    """
    median = statistics.median_low([math.inf if value is None else value for value in values])
    return median if math.isfinite(median) else None


def sweep(setting: Setting, half_width: int) -> list[Setting]:
    """Return a setting at learning rates a quarter decade apart around its own."""
    return [
        replace(
            setting,
            learning_rate=float(f"{setting.learning_rate * 10 ** (step / RATES_PER_DECADE):.6g}"),
        )
        for step in range(-half_width, half_width + 1)
    ]


def sensitivity(
    settings: Sequence[Setting],
    runs: Sequence[Sequence[Trial]],
    *,
    measure: Measure,
    config: BenchConfig,
) -> Sensitivity:
    """Return how wide the range of good learning rates is.

    Its ends are where the measure, a straight line over log₁₀(rate) between neighbouring points,
    leaves the margin.

    Parameters
    ----------
    settings, runs
        The sweep by rising rate, and the runs of each rate on the test split.
    measure
        What is compared.
    config
        Its margin: a value is good if it is worse than the best v by at most margin·|v|.
    """
    points = [
        SensitivityPoint(
            learning_rate=setting.learning_rate,
            value=_mean_measure(trials, measure),
            diverged=_diverged(trials),
        )
        for setting, trials in zip(settings, runs, strict=True)
    ]
    sign = 1.0 if measure is Measure.LOSS else -1.0
    costs = [None if point.value is None else sign * point.value for point in points]
    rates = [math.log10(point.learning_rate) for point in points]
    width, at_least = good_width(rates, costs, margin=config.margin)
    return Sensitivity(tuple(points), config.margin, width, at_least)


def _mean_measure(trials: Sequence[Trial], measure: Measure) -> float | None:
    values = [
        trial.score.loss if measure is Measure.LOSS else trial.score.metric
        for trial in trials
        if trial.score is not None
    ]
    known = [value for value in values if value is not None]
    mean = sum(known) / max(1, len(known))
    return mean if len(known) == len(trials) and math.isfinite(mean) else None


def good_width(
    places: Sequence[float], costs: Sequence[float | None], *, margin: float
) -> tuple[float | None, bool]:
    """Return how wide the range around the least cost is in which the cost is within a margin.

    Parameters
    ----------
    places
        Where the costs were taken, rising.
    costs
        Lower is better; None where there is none, which is beyond any margin.
    margin
        Allowed excess, as a part of the least cost's size.

    Returns
    -------
    tuple
        The width, None without any cost; and whether it reaches an end of the places.

    Examples
    --------
    >>> good_width([0.0, 1.0, 2.0, 3.0], [3.0, 1.0, 2.0, None], margin=0.5)
    (0.75, False)
    """
    known = [(cost, index) for index, cost in enumerate(costs) if cost is not None]
    if not known:
        return None, False
    least, center = min(known)
    limit = least + margin * abs(least)
    ends, reached = [], False
    for direction in (-1, 1):
        index = center
        while 0 <= index + direction < len(places):
            here, beyond = costs[index], costs[index + direction]
            if beyond is None or here is None:
                ends.append(places[index])
                break
            if beyond > limit:
                part = (limit - here) / (beyond - here)
                ends.append(places[index] + part * (places[index + direction] - places[index]))
                break
            index += direction
        else:
            ends.append(places[index])
            reached = True
    return ends[1] - ends[0], reached
