"""How much work is put into verdicts, benchmarks and ablations, as frozen values."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class VerdictConfig:
    """How finalists are tuned and compared; both sides alike.

    Parameters
    ----------
    candidates
        Discovered rules, the best of the search by fitness, that meet once more on fresh seeds
        before the finalists are chosen; no such round if they are no more than the finalists.
    rung_seeds
        Seeds of that round, on the validation split.
    finalists
        Discovered rules that are tuned, the best of that round.
    tuning_seeds
        Seeds on which each rate of the finer grid is scored, on the validation split.
    grid_half_width
        Steps of a quarter decade on each side of the best rate of the probes.
    widenings
        How often the grid may grow: by two steps on the side where the best rate is its edge, by
        a decade of lower rates where none finished.
    fresh_seeds
        Seeds of the final comparison on the test split.
    confidence
        Coverage of the intervals.
    """

    candidates: Annotated[int, Field(ge=1, le=1000)] = 15
    rung_seeds: Annotated[int, Field(ge=1, le=100)] = 2
    finalists: Annotated[int, Field(ge=1, le=100)] = 5
    tuning_seeds: Annotated[int, Field(ge=1, le=100)] = 3
    grid_half_width: Annotated[int, Field(ge=1, le=12)] = 3
    widenings: Annotated[int, Field(ge=0, le=8)] = 3
    fresh_seeds: Annotated[int, Field(ge=2, le=1000)] = 20
    confidence: Annotated[float, Field(ge=0.5, le=0.999)] = 0.95


def expected_trials(config: VerdictConfig, n_hand_made: int) -> int:
    """Return the number of trials of a verdict in which every finalist finishes and no grid grows.

    Parameters
    ----------
    config
        The verdict's configuration.
    n_hand_made
        Hand-made optimizers compared with; each costs one trial with probes more.

    Examples
    --------
    >>> expected_trials(VerdictConfig(finalists=5, tuning_seeds=3, fresh_seeds=20), 5)
    445
    """
    finalists = config.finalists + n_hand_made
    rates = 2 * config.grid_half_width + 1
    rung = config.candidates * config.rung_seeds if config.candidates > config.finalists else 0
    return rung + n_hand_made + finalists * (rates * config.tuning_seeds + config.fresh_seeds)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class BenchConfig:
    """How much work a benchmark does, for every optimizer alike.

    Parameters
    ----------
    budget
        Settings that each optimizer tries in tuning.
    tuning_seeds
        Seeds on which each setting is scored, on the validation split.
    seeds
        Fresh seeds of every measurement on the test split; a test needs two.
    rate_decades
        Width of the range of learning rates, in decades, around the recommended one.
    curve_points
        Points of a learning curve, at which a target can be reached.
    sensitivity_seeds
        How many of the fresh seeds the sweep of learning rates is trained on.
    sensitivity_half_width
        Steps of a quarter decade of that sweep on each side of the tuned rate.
    margin
        A rate is good if it is worse than the best by at most this part of the best.
    cross
        Whether every update is tried under every schedule.
    grid_half_width, widenings
        The grid of learning rates of each cell of the cross table, as in :class:`VerdictConfig`.
    resamples
        Bootstrap samples of an interval.
    confidence
        Coverage of the intervals; 1 minus the level of the tests.
    """

    budget: Annotated[int, Field(ge=1, le=4096)] = 24
    tuning_seeds: Annotated[int, Field(ge=1, le=100)] = 3
    seeds: Annotated[int, Field(ge=1, le=1000)] = 10
    rate_decades: Annotated[float, Field(gt=0, le=12)] = 3.0
    curve_points: Annotated[int, Field(ge=1, le=1000)] = 20
    sensitivity_seeds: Annotated[int, Field(ge=1, le=100)] = 2
    sensitivity_half_width: Annotated[int, Field(ge=0, le=24)] = 6
    margin: Annotated[float, Field(gt=0, le=10)] = 0.05
    cross: bool = True
    grid_half_width: Annotated[int, Field(ge=1, le=12)] = 2
    widenings: Annotated[int, Field(ge=0, le=8)] = 2
    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 2000
    confidence: Annotated[float, Field(ge=0.5, le=0.999)] = 0.95


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ExplainConfig:
    """How much work an ablation does, for the rule and each of its variants alike.

    Parameters
    ----------
    tuning_seeds
        Seeds on which each learning rate is scored, on the validation split.
    grid_half_width, widenings
        The grid of learning rates, as in :class:`VerdictConfig`.
    seeds
        Seeds on which variants are compared with the rule, pair by pair; and as many fresh ones on
        which the simplest rule is confirmed, on the test split.
    margin
        A variant is not worse if its interval shows it worse by less than this part of the rule's
        own mean.
    confidence
        Coverage of the intervals.
    """

    tuning_seeds: Annotated[int, Field(ge=1, le=100)] = 2
    grid_half_width: Annotated[int, Field(ge=1, le=12)] = 2
    widenings: Annotated[int, Field(ge=0, le=8)] = 2
    seeds: Annotated[int, Field(ge=2, le=1000)] = 10
    margin: Annotated[float, Field(gt=0, le=10)] = 0.02
    confidence: Annotated[float, Field(ge=0.5, le=0.999)] = 0.95
