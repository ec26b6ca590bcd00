"""VerdictConfig: how much work a verdict puts into tuning and into fresh seeds."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class VerdictConfig:
    """How finalists are tuned and compared; both sides alike.

    Parameters
    ----------
    finalists
        Discovered rules that are tuned, the best of the search by fitness.
    tuning_seeds
        Seeds on which each rate of the finer grid is scored, on the validation split.
    grid_half_width
        Steps of a quarter decade on each side of the best rate of the probes.
    widenings
        How often the grid may grow by two steps, on the side where the best rate is its edge.
    fresh_seeds
        Seeds of the final comparison on the test split.
    confidence
        Coverage of the intervals.
    """

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
    415
    """
    finalists = config.finalists + n_hand_made
    rates = 2 * config.grid_half_width + 1
    return n_hand_made + finalists * (rates * config.tuning_seeds + config.fresh_seeds)
