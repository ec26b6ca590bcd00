"""The benchmark of one task: equal tuning, fresh seeds, cross table; then all tasks together.

1. Every optimizer is tuned with the same number of trials on the tuning seeds and the validation
   split (:mod:`evolute.benchmark.sobol`); hand-made optimizers are scored there at their defaults.
2. On fresh seeds, which nothing before has seen, the tuned settings, the defaults and a sweep of
   learning rates are measured on the test split (:mod:`evolute.benchmark.measuring`).
3. Every update is tried under every schedule (:mod:`evolute.benchmark.crossing`).

All trials go through ``evaluate`` in a few large batches, so that they run in parallel, an
interrupted benchmark goes on where it stopped, and another optimizer costs its own trials alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from evolute.benchmark.comparison import Measure
from evolute.benchmark.config import BenchConfig
from evolute.benchmark.cost import step_cost
from evolute.benchmark.crossing import PLAIN, cross_table
from evolute.benchmark.entrants import Entrant
from evolute.benchmark.findings import Attribution, CrossTable
from evolute.benchmark.gains import attribute
from evolute.benchmark.measured import (
    DefaultsChampion,
    EntrantResult,
    Measurement,
    Setting,
    TuningRecord,
    TuningTrial,
)
from evolute.benchmark.measuring import (
    find_target,
    fresh_requests,
    measurement,
    sensitivity,
    sweep,
)
from evolute.benchmark.procedure import fresh_seeds
from evolute.benchmark.result import Target, TaskResult
from evolute.benchmark.sobol import score_settings, tune_entrants
from evolute.benchmark.statistics_budget import expected_best
from evolute.benchmark.tuning import Evaluate
from evolute.benchmark.verdict import Side
from evolute.lang.text import print_expression
from evolute.runs.executors.base import TrialRequest
from evolute.tasks.base import Task
from evolute.train.protocol import Protocol
from evolute.trial import Trial


@dataclass(frozen=True, slots=True)
class Bench:
    """A benchmark on one task.

    Parameters
    ----------
    entrants
        The optimizers, names distinct.
    hand_made
        All hand-made optimizers, scored at their defaults.
    task
        The task.
    protocol
        Its protocol, as :func:`evolute.benchmark.measuring.bench_protocol` gives it.
    seed
        From which tuning seeds and fresh seeds are derived.
    config
        How much work to do.
    evaluate
        What scores trials of the task.
    """

    entrants: Sequence[Entrant]
    hand_made: Sequence[Entrant]
    task: Task
    protocol: Protocol
    seed: int
    config: BenchConfig
    evaluate: Evaluate

    @property
    def tuning_seeds(self) -> tuple[int, ...]:
        """The seeds on which everything is chosen."""
        return fresh_seeds(self.seed, "bench tuning", self.config.tuning_seeds)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The fresh seeds, on which everything is measured."""
        return fresh_seeds(self.seed, "bench test", self.config.seeds)

    @property
    def measure(self) -> Measure:
        """What is compared: what the protocol takes as fitness."""
        return Measure(self.protocol.fitness)

    def run(self) -> TaskResult:
        """Return the result of the task, without verdicts.

        Raises
        ------
        TaskError
            If the user's task raises.
        StoreError
            If the store cannot be read or written; what is stored stays.
        """
        records = tune_entrants(
            self.entrants,
            evaluate=self.evaluate,
            protocol=self.protocol,
            seed=self.seed,
            tuning_seeds=self.tuning_seeds,
            config=self.config,
        )
        tried = self._score_defaults()
        best = _best_at_defaults(tried)
        champion = next((each for each in self.hand_made if each.name == best), None)
        fresh = self._measure(records, champion)
        target = self._target(records, fresh)
        entrants = tuple(
            self._entrant(entrant, record, fresh, target)
            for entrant, record in zip(self.entrants, records, strict=True)
        )
        cross = self._cross(records) if self.config.cross else None
        return TaskResult(
            task=self.task.name,
            version=self.task.version,
            metric=self.task.metric,
            measure=self.measure,
            protocol=self.protocol.to_json(),
            steps=self.protocol.training.steps,
            target=target,
            entrants=entrants,
            best_at_defaults=self._champion(tried, champion, fresh, target),
            cross=cross,
            attributions=self._attributions(cross),
            verdicts=(),
            notes=tuple(_notes(entrants)),
        )

    def _champion(
        self,
        tried: Mapping[str, TuningTrial],
        champion: Entrant | None,
        fresh: FreshTrials,
        target: Target | None,
    ) -> DefaultsChampion | None:
        """Return the best hand-made optimizer at its defaults; None if none finished."""
        measured = None
        if champion is not None:
            measured = self._measured(champion.defaults, fresh, target)
        if champion is None or measured is None:
            return None
        fitness = {name: trial.fitness for name, trial in tried.items()}
        return DefaultsChampion(champion.name, fitness, measured)

    def _score_defaults(self) -> dict[str, TuningTrial]:
        """Score every hand-made optimizer at its defaults on the tuning seeds."""
        named = [(e.name, e.defaults) for e in self.hand_made if e.defaults is not None]
        trials = score_settings(
            [setting for _, setting in named],
            evaluate=self.evaluate,
            protocol=self.protocol,
            seeds=self.tuning_seeds,
        )
        return {name: trial for (name, _), trial in zip(named, trials, strict=True)}

    def _measure(self, records: Sequence[TuningRecord], champion: Entrant | None) -> FreshTrials:
        """Train on the fresh seeds: tuned settings, defaults and sweeps, all in one batch."""
        fresh = FreshTrials(self.protocol)
        for entrant, record in zip(self.entrants, records, strict=True):
            fresh.want(entrant.defaults, self.seeds)
            if record.best is not None:
                fresh.want(record.best.setting, self.seeds)
                for setting in self._sweep(record.best.setting):
                    fresh.want(setting, self._sweep_seeds)
        if champion is not None:
            fresh.want(champion.defaults, self.seeds)
        fresh.train(self.evaluate)
        return fresh

    @property
    def _sweep_seeds(self) -> tuple[int, ...]:
        return self.seeds[: self.config.sensitivity_seeds]

    def _sweep(self, setting: Setting) -> list[Setting]:
        return sweep(setting, self.config.sensitivity_half_width)

    def _entrant(
        self, entrant: Entrant, record: TuningRecord, fresh: FreshTrials, target: Target | None
    ) -> EntrantResult:
        """Put together what is known of one optimizer."""
        best, rule = record.best, entrant.rule
        swept = None
        if best is not None:
            settings = self._sweep(best.setting)
            runs = [fresh.of(setting, self._sweep_seeds) for setting in settings]
            swept = sensitivity(settings, runs, measure=self.measure, config=self.config)
        diverged = sum(trial.diverged for trial in record.trials)
        return EntrantResult(
            name=entrant.name,
            title=entrant.title,
            side=entrant.side,
            rule=str(rule),
            schedule=None if rule.schedule is None else print_expression(rule.schedule),
            tuning=record,
            tuning_divergence_rate=diverged / (len(record.trials) * self.config.tuning_seeds),
            expected_best=expected_best([trial.fitness for trial in record.trials]),
            tuned=self._measured(None if best is None else best.setting, fresh, target),
            defaults=self._measured(entrant.defaults, fresh, target),
            sensitivity=swept,
            cost=step_cost(
                rule, lambda: self.task.model(self.protocol.width), seed=self.tuning_seeds[0]
            ),
        )

    def _measured(
        self, setting: Setting | None, fresh: FreshTrials, target: Target | None
    ) -> Measurement | None:
        if setting is None:
            return None
        return measurement(setting, fresh.of(setting, self.seeds), target)

    def _target(self, records: Sequence[TuningRecord], fresh: FreshTrials) -> Target | None:
        """Return the target that the tuned hand-made optimizers set."""
        runs = [
            (entrant.name, fresh.of(record.best.setting, self.seeds))
            for entrant, record in zip(self.entrants, records, strict=True)
            if entrant.side is Side.HAND_MADE and record.best is not None
        ]
        return find_target(runs, measure=self.measure)

    def _cross(self, records: Sequence[TuningRecord]) -> CrossTable:
        """Try every tuned update under every schedule."""
        return cross_table(
            [
                (entrant, record.best.setting)
                for entrant, record in zip(self.entrants, records, strict=True)
                if record.best is not None
            ],
            evaluate=self.evaluate,
            protocol=self.protocol,
            tuning_seeds=self.tuning_seeds,
            seeds=self.seeds,
            config=self.config,
        )

    def _attributions(self, cross: CrossTable | None) -> tuple[Attribution, ...]:
        """Split the gain of each discovered rule into equation, schedule and inner decays."""
        if cross is None:
            return ()
        label = "test loss" if self.measure is Measure.LOSS else f"test {self.task.metric}"
        found = [
            attribute(
                cross,
                entrant.name,
                measure=self.measure,
                label=label,
                confidence=self.config.confidence,
            )
            for entrant in self.entrants
            if entrant.side is Side.DISCOVERED
        ]
        return tuple(each for each in found if each is not None)


@dataclass
class FreshTrials:
    """Trainings on fresh seeds: gathered, trained in one batch, looked up.

    Parameters
    ----------
    protocol
        The protocol of the benchmark.
    """

    protocol: Protocol
    requests: dict[tuple[str, float, int], TrialRequest] = field(default_factory=dict)
    trials: dict[tuple[str, float, int], Trial] = field(default_factory=dict)

    def want(self, setting: Setting | None, seeds: Sequence[int]) -> None:
        """Gather a setting's trainings on these seeds; nothing if there is no setting."""
        if setting is not None:
            for request in fresh_requests(setting, self.protocol, seeds):
                self.requests[(setting.rule, setting.learning_rate, request.seed)] = request

    def train(self, evaluate: Evaluate) -> None:
        """Train all that was gathered."""
        if self.requests:
            answers = evaluate(list(self.requests.values()))
            self.trials = dict(zip(self.requests, answers, strict=True))

    def of(self, setting: Setting, seeds: Sequence[int]) -> list[Trial]:
        """Return the trials of a setting in the order of the seeds."""
        return [self.trials[(setting.rule, setting.learning_rate, seed)] for seed in seeds]


def _best_at_defaults(tried: Mapping[str, TuningTrial]) -> str | None:
    """Return the name of the hand-made optimizer of highest fitness at its defaults."""
    scored = {name: trial.fitness for name, trial in tried.items() if trial.fitness is not None}
    return max(scored, key=lambda name: scored[name], default=None)


def _notes(entrants: Sequence[EntrantResult]) -> Iterator[str]:
    """Say what a reader should know of how the optimizers were tuned."""
    for entrant in entrants:
        for widening in entrant.tuning.widenings:
            yield f"{entrant.name}: {widening}"
        for name in entrant.tuning.on_edge:
            each = next(each for each in entrant.tuning.searched if each.name == name)
            yield (
                f"{entrant.name}: the best {name} lies on the edge of the range searched in the "
                f"end, {each.lowest:.6g} to {each.highest:.6g}: a better one may lie beyond"
            )
        at_defaults = entrant.defaults
        if at_defaults is not None and at_defaults.loss is None:
            yield f"{entrant.name} at its defaults has no score: {at_defaults.runs[-1].sentence}"
        if entrant.tuned is None:
            yield (
                f"{entrant.name} finished no setting on all tuning seeds; the last ended: "
                f"{entrant.tuning.trials[-1].sentence}"
            )


def expected_bench_trials(
    config: BenchConfig, *, entrants: int, hand_made: int, schedules: int
) -> int:
    """Return about how many trainings a benchmark of one task takes, repeated ones included.

    Parameters
    ----------
    config
        How much work it does.
    entrants, hand_made
        Optimizers that take part, and hand-made ones scored at their defaults.
    schedules
        Schedules that entrants carry.
    """
    sweeps = (2 * config.sensitivity_half_width + 1) * config.sensitivity_seeds
    tuning = (entrants * config.budget + hand_made) * config.tuning_seeds
    measured = (2 * entrants + 1) * config.seeds + entrants * sweeps
    grid = (2 * config.grid_half_width + 1) * config.tuning_seeds + config.seeds
    cells = entrants * (len(PLAIN) + schedules) if config.cross else 0
    return tuning + measured + cells * grid
