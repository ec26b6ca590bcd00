"""What is measured of one optimizer on one task: frozen values, the leaves of a benchmark's result.

Figures of losses and metrics are of the test split on fresh seeds, but for those that say *tuning*
or *curve*: these read the validation split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evolute.benchmark.comparison import Measure
from evolute.benchmark.statistics import Estimate
from evolute.benchmark.verdict import Side
from evolute.zoo.hyperparameters import HyperParameter


@dataclass(frozen=True, slots=True)
class Setting:
    """One choice of all that is tuned.

    Parameters
    ----------
    learning_rate
        Peak learning rate.
    hyperparameters
        The declared hyper-parameters by name; empty for a rule that declares none.
    rule
        Text of the rule with these values.
    """

    learning_rate: float
    hyperparameters: Mapping[str, float]
    rule: str


@dataclass(frozen=True, slots=True)
class TuningTrial:
    """One setting tried in tuning.

    Parameters
    ----------
    setting
        The setting.
    fitness
        Mean fitness over the tuning seeds on the validation split, higher is better; None if a run
        on any of them ended without a score.
    diverged
        Runs of the setting that diverged.
    sentence
        How its first run without a score ended, else how the first ended.
    """

    setting: Setting
    fitness: float | None
    diverged: int
    sentence: str


@dataclass(frozen=True, slots=True)
class TuningRecord:
    """How an optimizer was tuned.

    Parameters
    ----------
    ranges
        The ranges as they were at first, the learning rate's first.
    searched
        The ranges as they were in the end.
    trials
        The settings in the order in which they were tried.
    widenings
        A sentence for each time a range was widened because the best setting lay on its edge.
    on_edge
        Names of those whose best value lies on the edge of the last range.
    """

    ranges: tuple[HyperParameter, ...]
    searched: tuple[HyperParameter, ...]
    trials: tuple[TuningTrial, ...]
    widenings: tuple[str, ...]
    on_edge: tuple[str, ...]

    @property
    def best(self) -> TuningTrial | None:
        """The trial of highest fitness, the first of equals; None if none has one."""
        scored = [trial for trial in self.trials if trial.fitness is not None]
        return max(scored, key=lambda trial: trial.fitness or 0.0, default=None)


@dataclass(frozen=True, slots=True)
class Curve:
    """A learning curve, one value per point, on the validation split.

    Parameters
    ----------
    steps
        Optimizer steps made.
    train_loss
        Mean training loss since the point before.
    validation_loss, validation_metric
        Loss and metric; the metric is None for a task without one.
    """

    steps: tuple[int, ...]
    train_loss: tuple[float, ...]
    validation_loss: tuple[float, ...]
    validation_metric: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class SeedRun:
    """One training on a fresh seed.

    Parameters
    ----------
    seed
        The seed; the same seeds for all optimizers.
    outcome
        ``finished``, ``diverged``, …: a kind of :class:`evolute.trial.OutcomeKind`.
    sentence
        How it ended.
    loss, metric
        On the test split; None without a score, and the metric of a task without one.
    seconds_per_step
        Time of the whole training by its steps; None without a score.
    steps_to_target, seconds_to_target
        When its curve first reached the target; None if it never did, or without a target.
    curve
        Its learning curve.
    """

    seed: int
    outcome: str
    sentence: str
    loss: float | None
    metric: float | None
    seconds_per_step: float | None
    steps_to_target: int | None
    seconds_to_target: float | None
    curve: Curve


@dataclass(frozen=True, slots=True)
class Measurement:
    """One setting on every fresh seed.

    Parameters
    ----------
    setting
        The setting.
    runs
        One run per fresh seed, in the order of the seeds.
    loss, metric
        Mean and standard error over the runs that have a score.
    divergence_rate
        Part of the runs that diverged.
    steps_to_target, seconds_to_target
        Lower median over the runs; None if more than half of them never reach the target.
    """

    setting: Setting
    runs: tuple[SeedRun, ...]
    loss: Estimate | None
    metric: Estimate | None
    divergence_rate: float
    steps_to_target: float | None
    seconds_to_target: float | None

    def results(self, measure: Measure) -> tuple[float | None, ...]:
        """Return the measure of each run, None where a run has no score."""
        return tuple(run.loss if measure is Measure.LOSS else run.metric for run in self.runs)


@dataclass(frozen=True, slots=True)
class SensitivityPoint:
    """A learning rate near the tuned one, all else as tuned.

    Parameters
    ----------
    learning_rate
        Peak learning rate.
    value
        Mean of the measure over the seeds of the sweep; None if a run has no score.
    diverged
        Runs that diverged.
    """

    learning_rate: float
    value: float | None
    diverged: int


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How much the learning rate matters.

    Parameters
    ----------
    points
        The sweep, by rising learning rate.
    margin
        A rate is good if its value is worse than the best by at most this part of the best.
    decades
        Width of the range of good rates around the best; None if no rate has a value.
    at_least
        Whether that range reaches an end of the sweep, so that it may be wider.
    """

    points: tuple[SensitivityPoint, ...]
    margin: float
    decades: float | None
    at_least: bool


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step of the optimizer alone costs on the task's network.

    Parameters
    ----------
    parameters
        Weights of the network.
    step_seconds
        Median time of one step on this machine.
    state_bytes
        What the optimizer keeps between steps.
    """

    parameters: int
    step_seconds: float
    state_bytes: int


@dataclass(frozen=True, slots=True)
class EntrantResult:
    """One optimizer on one task.

    Parameters
    ----------
    name
        How the user called it; unique in the benchmark.
    title
        As the literature calls it, or where it was found.
    side
        Discovered or hand-made.
    rule
        Text of the rule at its defaults.
    schedule
        The learning-rate schedule factor that the rule carries, None without one.
    tuning
        How it was tuned.
    tuning_divergence_rate
        Part of all tuning runs that diverged.
    expected_best
        Expected best fitness after 1, 2, … tuning trials (Dodge et al. 2019); None where no trial
        has a fitness.
    tuned
        At its tuned setting; None if no setting finished on all tuning seeds.
    defaults
        At its default setting; None for a rule whose learning rate nobody has recommended.
    sensitivity
        Sweep of the learning rate around the tuned setting.
    cost
        Time and memory of a step.
    """

    name: str
    title: str
    side: Side
    rule: str
    schedule: str | None
    tuning: TuningRecord
    tuning_divergence_rate: float
    expected_best: tuple[float, ...] | None
    tuned: Measurement | None
    defaults: Measurement | None
    sensitivity: Sensitivity | None
    cost: Cost


@dataclass(frozen=True, slots=True)
class DefaultsChampion:
    """The best of all hand-made optimizers at their defaults, chosen on the tuning seeds.

    Parameters
    ----------
    name
        Its name in the zoo.
    tried
        Name and mean fitness of every hand-made optimizer, None without a score.
    measurement
        It on the fresh seeds.
    """

    name: str
    tried: Mapping[str, float | None]
    measurement: Measurement
