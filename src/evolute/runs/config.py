"""RunConfig: everything that determines which trials a run asks for."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from evolute.search.algorithms import find_algorithm
from evolute.search.base import Search, Stage
from evolute.search.space import SearchSpace
from evolute.store.base import RunRecord
from evolute.train.protocol import Protocol
from evolute.trial import PROGRAM_VERSION, canonical_json


@dataclass(frozen=True)
class RunConfig:
    """What a run is: two runs with equal configs on the same task ask for the same trials.

    Parameters
    ----------
    name
        What people call the run; no part of its identity.
    task
        Name of the task.
    seed
        Seed of the search and of every trial in it.
    algorithm
        Name of the search algorithm.
    search
        Config of that algorithm.
    initial, main
        Protocols of the search's two stages.
    space
        What the search draws from.
    duplicate_tolerance
        Largest relative difference of two updates that count as the same rule; None: every rule
        that is written differently is trained.
    """

    name: str
    task: str
    seed: int
    algorithm: str
    search: Any
    initial: Protocol
    main: Protocol
    space: SearchSpace
    duplicate_tolerance: float | None

    def protocol(self, stage: Stage) -> Protocol:
        """Return the protocol of a stage of the search."""
        return self.initial if stage is Stage.INITIAL else self.main

    def new_search(self) -> Search:
        """Return the search at its very beginning."""
        _, make_search = find_algorithm(self.algorithm)
        return make_search(self.search, seed=self.seed, space=self.space)

    def record(self, digest: str) -> RunRecord:
        """Return what the store keeps of a run with this digest."""
        identity = canonical_json(self.identity())
        return RunRecord(digest, self.name, identity, PROGRAM_VERSION)

    def identity(self) -> dict[str, Any]:
        """Return, as plain data, all that determines the trials."""
        return {
            "task": self.task,
            "seed": self.seed,
            "algorithm": self.algorithm,
            "search": asdict(self.search),
            "space": asdict(self.space),
            "initial": self.initial.to_json(),
            "main": self.main.to_json(),
            "duplicate_tolerance": self.duplicate_tolerance,
        }


def run_digest(config: RunConfig, task_version: str) -> str:
    """Return the name of a run in the store: the same for the same search on the same task."""
    facts = {
        "config": config.identity(),
        "task_version": task_version,
        "program_version": PROGRAM_VERSION,
    }
    return hashlib.sha256(canonical_json(facts).encode()).hexdigest()
