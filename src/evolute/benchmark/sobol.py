"""Equal tuning: every optimizer tries the same number of settings, drawn by a Sobol sequence.

The settings are points of a scrambled Sobol sequence (Sobol 1967, Owen 1998), which fills a range
more evenly than random points (Bergstra and Bengio 2012 use such sequences for tuning). Half of
the budget is spent on the ranges as they are; then, twice, a quarter. Before each quarter a range
on whose edge the best setting lies is widened by half, and the quarter goes to its new part. So an
optimum beyond a range is followed, and still all optimizers try equally many settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from evolute.benchmark.config import BenchConfig
from evolute.benchmark.entrants import Entrant
from evolute.benchmark.measured import Setting, TuningRecord, TuningTrial
from evolute.benchmark.tuning import Evaluate
from evolute.lang.rule import Rule
from evolute.runs.executors.base import TrialRequest
from evolute.seeds import derive
from evolute.train.protocol import Protocol
from evolute.trial import OutcomeKind, Trial
from evolute.zoo.hyperparameters import DIGITS, HyperParameter, Scale

EDGE = 0.1
"""A value within this part of a range from its end lies on the edge."""

OUTER = 0.25
"""So does one within this part, if no value nearer to the end was tried."""

WIDENING = 0.5
"""By this part of its width a range grows on the side of its edge."""

LARGEST_RATE = 1e6
"""The largest learning rate that a protocol takes."""

LARGEST_BETA = 1 - 10.0**-DIGITS
"""The largest value below 1 that is written in so many digits: no range of a β grows beyond it."""

SMALLEST = 1e-30
"""The smallest value on a logarithmic scale, which float32 still holds."""

_WHOLE = (0.0, 1.0)


def rounds_of(budget: int) -> tuple[int, ...]:
    """Return how many settings each round tries: half, then the two quarters.

    >>> rounds_of(24), rounds_of(5), rounds_of(1)
    ((12, 6, 6), (3, 1, 1), (1,))
    """
    first = math.ceil(budget / 2)
    second = math.ceil((budget - first) / 2)
    return tuple(count for count in (first, second, budget - first - second) if count)


def sobol_points(dimensions: int, count: int, *, seed: int) -> list[tuple[float, ...]]:
    """Return the first points in [0, 1)ᵈ of a scrambled Sobol sequence.

    >>> sobol_points(1, 2, seed=0) == sobol_points(1, 4, seed=0)[:2]
    True
    """
    from scipy.stats import qmc  # takes a second to import, and few commands need it

    generator = np.random.default_rng(derive(seed, "sobol"))
    engine = qmc.Sobol(dimensions, scramble=True, rng=generator)
    # Whole powers of two, as the sequence is made for; what is too many is cut off.
    points = engine.random_base2(max(1, math.ceil(math.log2(count))))
    return [tuple(map(float, point)) for point in points[:count]]


@dataclass
class SettingSearch:
    """The settings that one optimizer tries, round by round.

    Parameters
    ----------
    entrant
        The optimizer.
    config
        Budget and range of learning rates.
    seed
        Seed of the Sobol sequence: the same for all, so that equally many dimensions get the same
        points.
    """

    entrant: Entrant
    config: BenchConfig
    seed: int
    trials: list[TuningTrial] = field(default_factory=list)
    widenings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ranges = self.entrant.ranges(self.config.rate_decades)
        self.searched = list(self.ranges)
        self._points = sobol_points(len(self.ranges), self.config.budget, seed=self.seed)
        self._windows = [_WHOLE for _ in self.ranges]

    def ask(self, count: int) -> list[Setting]:
        """Return the next settings, of ranges widened where the best so far lies on an edge."""
        if self.trials:
            self._windows = [self._widened(index) for index in range(len(self.ranges))]
        points = self._points[len(self.trials) :][:count]
        return [self._setting(point) for point in points]

    def tell(self, trials: Sequence[TuningTrial]) -> None:
        """Say what the settings asked for have scored, in their order."""
        self.trials += trials

    def record(self) -> TuningRecord:
        """Return what was tried so far."""
        edges = [
            each.name for index, each in enumerate(self.searched) if self._edge(index) is not None
        ]
        return TuningRecord(
            ranges=self.ranges,
            searched=tuple(self.searched),
            trials=tuple(self.trials),
            widenings=tuple(self.widenings),
            on_edge=tuple(edges),
        )

    def _setting(self, point: Sequence[float]) -> Setting:
        values = {
            each.name: each.value(low + unit * (high - low))
            for each, unit, (low, high) in zip(self.searched, point, self._windows, strict=True)
        }
        return self.entrant.setting(values.pop("learning_rate"), values)

    @property
    def _best(self) -> TuningTrial | None:
        scored = (trial for trial in self.trials if trial.fitness is not None)
        return max(scored, key=lambda trial: trial.fitness or 0.0, default=None)

    def _edge(self, index: int) -> str | None:
        """Return on which edge of its range the best value lies, if it does."""
        each = self.searched[index]
        best = self._best
        if best is None:
            return None
        unit = each.unit(_value(best.setting, each.name))
        units = [each.unit(_value(trial.setting, each.name)) for trial in self.trials]
        if unit < EDGE or (unit < OUTER and unit == min(units)):
            return "lower"
        if unit > 1 - EDGE or (unit > 1 - OUTER and unit == max(units)):
            return "upper"
        return None

    def _widened(self, index: int) -> tuple[float, float]:
        """Widen a range on whose edge the best value lies; return which part to try next."""
        edge, old = self._edge(index), self.searched[index]
        if edge is None:
            return _WHOLE
        new = wider(old, lower=edge == "lower")
        if new == old:
            return _WHOLE
        self.searched[index] = new
        best = self._best
        assert best is not None  # what lies on the edge
        value = _value(best.setting, old.name)
        self.widenings.append(
            f"{old.name}: the best of {len(self.trials)} settings, {value:.6g}, lay on the {edge} "
            f"edge of {old.lowest:.6g} to {old.highest:.6g}: widened to {new.lowest:.6g} to "
            f"{new.highest:.6g}"
        )
        tried = (WIDENING + EDGE) / (1 + WIDENING)  # the new part and the edge itself
        return (0.0, tried) if edge == "lower" else (1 - tried, 1.0)


def _value(setting: Setting, name: str) -> float:
    """Return the value of the learning rate, or of a hyper-parameter, in a setting."""
    values = {"learning_rate": setting.learning_rate, **setting.hyperparameters}
    return values[name]


def wider(each: HyperParameter, *, lower: bool) -> HyperParameter:
    """Return a range grown on one side, as far as such values are allowed."""
    if not lower:
        highest = each.value(1 + WIDENING)
        most = LARGEST_BETA if each.scale is Scale.COMPLEMENT else LARGEST_RATE
        return replace(each, highest=max(each.highest, min(highest, most)))
    lowest = each.value(-WIDENING)
    if each.scale is Scale.LOG:
        lowest = max(SMALLEST, lowest)
    elif each.lowest >= 0.0:
        lowest = max(0.0, round(lowest, 12))  # of 1 − x, the last bits of 1 are left near 0
    return replace(each, lowest=min(each.lowest, lowest))


def tune_entrants(
    entrants: Sequence[Entrant],
    *,
    evaluate: Evaluate,
    protocol: Protocol,
    seed: int,
    tuning_seeds: Sequence[int],
    config: BenchConfig,
) -> list[TuningRecord]:
    """Let every optimizer try its settings on the validation split, all in a few large batches.

    Parameters
    ----------
    entrants
        The optimizers.
    evaluate
        What scores trials.
    protocol
        The protocol of the benchmark.
    seed
        Seed of the Sobol sequence.
    tuning_seeds
        Seeds on which each setting is scored.
    config
        Budget and ranges.
    """
    searches = [SettingSearch(entrant, config, seed) for entrant in entrants]
    for count in rounds_of(config.budget):
        asked = [search.ask(count) for search in searches]
        settings = [setting for several in asked for setting in several]
        answers = iter(
            score_settings(settings, evaluate=evaluate, protocol=protocol, seeds=tuning_seeds)
        )
        for search, several in zip(searches, asked, strict=True):
            search.tell([next(answers) for _ in several])
    return [search.record() for search in searches]


def score_settings(
    settings: Sequence[Setting],
    *,
    evaluate: Evaluate,
    protocol: Protocol,
    seeds: Sequence[int],
) -> Iterator[TuningTrial]:
    """Score settings on the validation split, each on every seed, in one batch."""
    requests = [
        TrialRequest(
            Rule.parse(setting.rule), protocol.at_rate(setting.learning_rate, split="validation"), s
        )
        for setting in settings
        for s in seeds
    ]
    trials = evaluate(requests) if requests else []
    for index, setting in enumerate(settings):
        yield _tuning_trial(setting, trials[index * len(seeds) : (index + 1) * len(seeds)])


def _tuning_trial(setting: Setting, trials: Sequence[Trial]) -> TuningTrial:
    values = [trial.score.fitness for trial in trials if trial.score is not None]
    mean = sum(values) / len(trials)
    failed = [trial for trial in trials if trial.score is None]
    return TuningTrial(
        setting=setting,
        fitness=mean if not failed and math.isfinite(mean) else None,
        diverged=sum(trial.outcome.kind is OutcomeKind.DIVERGED for trial in trials),
        sentence=(failed or trials)[0].outcome.sentence,
    )
