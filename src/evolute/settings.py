"""Settings of a search, and how they are read from TOML and from plain data.

Every number that a search works with is in here, typed, with its range; an unknown key or a value
out of range is a ConfigError that names it.
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from evolute.benchmark.config import VerdictConfig
from evolute.errors import ConfigError, did_you_mean, shorten
from evolute.runs.budget import Budget
from evolute.runs.config import RunConfig
from evolute.search.algorithms import find_algorithm
from evolute.search.space import MOMENTUM_TYPES, PUBLISHED_MOMENTUM_TYPES, SearchSpace
from evolute.train.equipment import Equipment
from evolute.train.memory import parse_memory
from evolute.train.protocol import Protocol

_MOMENTUM_TYPES = {"textbook": MOMENTUM_TYPES, "published": PUBLISHED_MOMENTUM_TYPES}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """All that ``evolute search`` can be told, beside where it stores and how it prints.

    Parameters
    ----------
    task
        A task's name, or ``path/to/file.py:build``.
    preset
        The preset that the other numbers begin from.
    seed
        Seed of the whole search.
    algorithm
        Name of the search algorithm.
    budget
        Time such as ``10m`` or a number of evaluations; None lets the algorithm end by itself.
    timeout_seconds
        Longest time for one trial.
    lanes
        Most trainings side by side in one process; None: as many as fit into the memory, at most
        64. No part of what a run is.
    memory
        Memory for them in all processes, such as ``4G``; None: half of what is free.
    plan
        How they are computed side by side: ``auto`` finds the fastest way, ``plain`` trains one
        after the other; see :mod:`evolute.lanes.choose` for the others.
    device
        Where networks are trained: ``cpu``, ``cuda`` or ``cuda:1``. No part of what a run is.
    duplicate_tolerance
        Largest relative difference of two updates that count as the same rule; None trains every
        rule that is written differently, as the published search does.
    nesterov
        Form of the Nesterov momentum that is searched: ``textbook``, or the ``published`` search
        program's (published method, section 1.4).
    initial, main
        Protocols of the two stages.
    search
        Config of the algorithm, by its own keys.
    verdict
        How much work the verdict does.
    """

    task: str
    preset: str
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)]
    algorithm: str
    budget: str | None
    timeout_seconds: Annotated[float, Field(gt=0)] | None
    lanes: Annotated[int, Field(ge=1)] | None
    memory: str | None
    plan: str
    device: str
    duplicate_tolerance: Annotated[float, Field(ge=0, lt=1)] | None
    nesterov: Literal["textbook", "published"]
    initial: Protocol
    main: Protocol
    search: dict[str, Any]
    verdict: VerdictConfig

    def run_config(self, task_name: str) -> RunConfig:
        """Return the part of the settings that determines the trials, for the task's own name."""
        return RunConfig(
            name=f"{task_name}-{self.preset}-{self.seed}",
            task=task_name,
            seed=self.seed,
            algorithm=self.algorithm,
            search=validate(find_algorithm(self.algorithm)[0], self.search, "search."),
            initial=self.initial,
            main=self.main,
            space=SearchSpace.from_registries(momentum_types=_MOMENTUM_TYPES[self.nesterov]),
            duplicate_tolerance=self.duplicate_tolerance,
        )

    def equipment(self) -> Equipment:
        """Return what trials are trained with.

        Raises
        ------
        InputError
            If the memory is no amount, the plan is unknown, or the device is malformed.
        """
        memory = None if self.memory is None else parse_memory(self.memory)
        return Equipment(lanes=self.lanes, memory_bytes=memory, plan=self.plan, device=self.device)

    def parsed_budget(self) -> Budget:
        """Return the budget; empty if there is none."""
        return Budget() if self.budget is None else Budget.parse(self.budget)

    def to_toml(self) -> str:
        """Return the settings as a TOML file that gives them back."""
        return tomli_w.dumps(_without_none(dataclasses.asdict(self)))


def read_toml(path: Path) -> dict[str, Any]:
    """Read a config file.

    Raises
    ------
    ConfigError
        If it cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise ConfigError(f"cannot read the config file {path}: {reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the config file {path} is no TOML: {error}") from None


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Lay plain nested data over other plain nested data."""
    merged = dict(base)
    for key, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        elif value is not None:
            merged[key] = value
    return merged


def _without_none(data: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what TOML cannot say."""
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in data.items()
        if value is not None
    }


def validate(kind: Any, data: Mapping[str, Any], prefix: str) -> Any:
    """Build a config dataclass from plain data, or say what is wrong with the first bad key."""
    try:
        return TypeAdapter(kind).validate_python(dict(data))
    except ValidationError as error:
        fault = error.errors()[0]
    path = [str(part) for part in fault["loc"]]
    name = prefix + ".".join(path)
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _keys(kind, path[:-1])
        raise ConfigError(f"unknown config key {name!r}: {did_you_mean(path[-1], known)}")
    if fault["type"] == "value_error":  # of a whole table: its own sentence says what does not fit
        raise ConfigError(f"config table {name.rstrip('.')!r}: {fault['ctx']['error']}")
    message = fault["msg"][:1].lower() + fault["msg"][1:]
    raise ConfigError(f"config key {name!r} is {shorten(repr(fault['input']))}: {message}")


def _keys(kind: Any, path: list[str]) -> list[str]:
    """Return the keys of a config dataclass, or of the one nested at a path in it."""
    for part in path:
        if part.isdigit():  # a row of a list: its keys are those of the list's dataclass
            continue
        hint = typing.get_type_hints(kind)[part]
        nested = (hint, *typing.get_args(hint))
        kind = next(candidate for candidate in nested if dataclasses.is_dataclass(candidate))
    return [entry.name for entry in dataclasses.fields(kind)]
