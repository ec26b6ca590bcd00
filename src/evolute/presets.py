"""The presets: complete settings under a name, and what a file and options lay over them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from evolute.benchmark.config import BenchConfig, VerdictConfig
from evolute.errors import ConfigError, UnknownNameError, shorten
from evolute.search.algorithms import find_algorithm
from evolute.search.particles import ParticleConfig
from evolute.search.random_search import RandomConfig
from evolute.search.regularized_evolution import EvolutionConfig
from evolute.settings import Settings, merge, validate
from evolute.train.equipment import AUTO, CPU
from evolute.train.fingerprint import TOLERANCE
from evolute.train.protocol import PROTOCOLS, Stages

SECONDS_PER_HOUR = 3600.0

_USUAL = BenchConfig()
_SIX_TIMES = BenchConfig(seeds=6)
"""The authors of the published search repeated each training after it six times."""


@dataclass(frozen=True)
class Preset:
    """Settings under a name.

    Parameters
    ----------
    description
        One line for people.
    stages
        Protocols of the two stages.
    searches
        Config of each algorithm, by its name; one that is not named keeps its defaults.
    verdict
        How much work the verdict does.
    budget
        Budget unless another is given.
    timeout_seconds
        Longest time for one trial.
    algorithm
        Algorithm unless another is given.
    nesterov
        Form of the Nesterov momentum that is searched.
    duplicate_tolerance
        Largest relative difference of two updates that count as the same rule; None: no such check.
    bench
        How much work a benchmark does, unless it is told otherwise.
    """

    description: str
    stages: Stages
    searches: Mapping[str, Any]
    verdict: VerdictConfig
    budget: str | None = None
    timeout_seconds: float | None = None
    algorithm: str = "particles"
    nesterov: Literal["textbook", "published"] = "textbook"
    duplicate_tolerance: float | None = TOLERANCE
    bench: BenchConfig = _USUAL

    def defaults(self, algorithm: str) -> dict[str, Any]:
        """Return the settings of this preset for an algorithm as plain nested data."""
        config, _ = find_algorithm(algorithm)
        search = self.searches.get(algorithm) or config()
        return {
            "seed": 0,
            "budget": self.budget,
            "timeout_seconds": self.timeout_seconds,
            "lanes": None,
            "memory": None,
            "plan": AUTO,
            "device": CPU,
            "duplicate_tolerance": self.duplicate_tolerance,
            "nesterov": self.nesterov,
            "initial": dataclasses.asdict(self.stages.initial),
            "main": dataclasses.asdict(self.stages.main),
            "search": dataclasses.asdict(search),
            "verdict": dataclasses.asdict(self.verdict),
        }


_TRANSFERS = {
    "paper-transfer": "the authors' final optimizers from scratch, 96,000 steps; days",
    "paper-from-scratch": "the authors' network from scratch, 64,000 steps; days",
    "paper-fine-tuning": "the authors' network from ImageNet's weights, 16,000 steps",
}
"""The protocols of what the authors ran after a search, which are for benchmarks alone."""


def _transfer(name: str, description: str) -> Preset:
    return Preset(
        description=f"for bench: {description}",
        stages=PROTOCOLS[name],
        searches={},
        verdict=VerdictConfig(),
        bench=_SIX_TIMES,
    )


PRESETS: dict[str, Preset] = {
    "quick": Preset(
        description="minutes: short trainings, fourteen particles; a first answer",
        stages=PROTOCOLS["quick"],
        searches={
            "particles": ParticleConfig(
                initial_candidates=140, particles=14, time_steps=5, children=5, tries=2
            ),
            "random": RandomConfig(candidates=500),
            "regularized_evolution": EvolutionConfig(
                candidates=500, population=70, sample=14, batch=14
            ),
        },
        verdict=VerdictConfig(
            candidates=12, finalists=4, tuning_seeds=4, grid_half_width=2, fresh_seeds=16
        ),
        timeout_seconds=120.0,
    ),
    "standard": Preset(
        description="hours: longer trainings, twenty particles; an answer to act on",
        stages=PROTOCOLS["standard"],
        searches={
            "particles": ParticleConfig(
                initial_candidates=200, particles=20, time_steps=5, children=7, tries=4
            ),
        },
        verdict=VerdictConfig(),
        timeout_seconds=SECONDS_PER_HOUR,
    ),
    "paper": Preset(
        description="the published search to the letter: 500 candidates, 50 particles; days",
        stages=PROTOCOLS["paper"],
        searches={"particles": ParticleConfig()},
        verdict=VerdictConfig(),
        nesterov="published",
        duplicate_tolerance=None,
    ),
    **{name: _transfer(name, description) for name, description in _TRANSFERS.items()},
}
"""The presets by name: the smallest first, then those of what the authors ran after a search."""


def resolve(preset: str, *overlays: Mapping[str, Any]) -> Settings:
    """Return a preset's settings with these overlays applied, later ones over earlier ones.

    Parameters
    ----------
    preset
        Name of the preset; an overlay may name another.
    overlays
        Plain nested data, such as a TOML file's; a value of None leaves what was there.

    Raises
    ------
    ConfigError
        If a key is unknown, or a value out of range or of the wrong type.
    UnknownNameError
        If the preset or the algorithm is unknown.
    """
    merged: dict[str, Any] = {"preset": preset}
    for overlay in overlays:
        merged = merge(merged, overlay)
    _require_texts(merged, "task", "preset", "algorithm")
    if merged["preset"] not in PRESETS:
        raise UnknownNameError("preset", merged["preset"], PRESETS)
    base = PRESETS[merged["preset"]]
    merged.setdefault("algorithm", base.algorithm)
    find_algorithm(merged["algorithm"])
    if type(merged.get("budget")) is int:
        merged["budget"] = str(merged["budget"])
    data = _with_given_rates(merge(base.defaults(merged["algorithm"]), merged), merged)
    settings: Settings = validate(Settings, data, "")
    _require_validation_split(settings)
    settings.run_config(settings.task)
    settings.parsed_budget()
    settings.equipment()
    return settings


def _require_texts(data: Mapping[str, Any], *keys: str) -> None:
    for key in keys:
        if not isinstance(data.get(key, ""), str):
            raise ConfigError(f"config key {key!r} is {shorten(repr(data[key]))}: give a text")


def _with_given_rates(data: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the preset's probes where a stage was given its learning rate: TOML has no null."""
    for stage in ("initial", "main"):
        table = given.get(stage)
        if isinstance(table, Mapping) and "learning_rate" in table and "probe" not in table:
            data[stage] = data[stage] | {"probe": None}
    return data


def _require_validation_split(settings: Settings) -> None:
    """Refuse to select on the test split, which is for the verdict alone."""
    for stage in ("initial", "main"):
        if getattr(settings, stage).split != "validation":
            raise ConfigError(
                f"config key '{stage}.split' is 'test': a search selects on the validation split; "
                "the test split is for the verdict alone"
            )
