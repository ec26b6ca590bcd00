"""Eliminations: from a search in the store to winners.

The Python face of ``evolute eliminate``::

    result = evolute.eliminate("digits-quick-0")
    print(result.sentence)
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evolute import zoo
from evolute.benchmark.config import BenchConfig
from evolute.benchmark.elimination import (
    Candidate,
    EliminationConfig,
    EliminationResult,
    RungConfig,
    RungResult,
    pick_candidates,
    run_rung,
)
from evolute.benchmark.entrants import Entrant
from evolute.benchmark.procedure import fresh_seeds
from evolute.benchmark.result import BenchResult
from evolute.benchmark.verdict import Side
from evolute.discover import DEFAULT_PRESET, DEFAULT_STORE
from evolute.errors import InputError
from evolute.lang.rule import Rule
from evolute.leaderboard import RunKind, find_run, read_leaderboard
from evolute.presets import resolve
from evolute.settings import Settings, validate
from evolute.store.base import RunRecord, Store
from evolute.store.sql import open_store
from evolute.tasks.base import Task
from evolute.tasks.registry import TASKS
from evolute.train.equipment import require_device
from evolute.train.protocol import Protocol
from evolute.trial import canonical_json
from evolute.workbench.bench import (
    Count,
    Plan,
    WorkListener,
    evaluator_of,
    load_tasks,
    require_test,
    run_bench,
)
from evolute.workbench.keeping import keep_result, require_keys

KIND: RunKind = "elimination"
"""What it is in the store: a run of this kind, its result the document of that name."""

_KEYS = ("elimination", "bench", "against", "seed", "device")


def eliminate(
    run: str | None = None,
    *,
    task: str | Task | None = None,
    seed: int | None = None,
    config: Mapping[str, Any] | None = None,
    benchmark: bool = True,
    store: str | Path = DEFAULT_STORE,
    workers: int | None = None,
    listener: WorkListener | None = None,
) -> EliminationResult:
    """Let the best candidates of a search meet ever larger set-ups, and compare the winners.

    Running it again resumes it: what the store holds is not trained again.

    Parameters
    ----------
    run
        Name or first digits of a run; the newest without one.
    task
        The task of the search, if it is no named one: ``path/to/file.py:build`` or the object.
    seed
        From which the fresh seeds are derived; the search's own unless given.
    config
        Further settings as nested plain data: ``elimination`` as
        :class:`evolute.benchmark.elimination.EliminationConfig`, ``bench`` as
        :class:`evolute.benchmark.config.BenchConfig`, ``against`` the names of the optimizers that
        winners are compared with, ``device`` as of a search.
    benchmark
        Whether the last rung, the benchmark, is run.
    store
        File in which the search, trials and the result are remembered.
    workers
        Processes that train; one per core unless given.
    listener
        Hears how it goes.

    Raises
    ------
    InputError
        If an argument is not allowed, or the search has no finished candidate.
    StoreError
        If the store cannot be read or written; what is stored stays.
    """
    asked = _Asked.of(config or {})
    with open_store(store, create=False) as opened:
        record = find_run(opened, run)
        search = json.loads(record.config_json)
        own = _task_of(search["task"], task)
        asked.check_tasks(own)
        start = _begin(opened, record, asked.config)
        chosen = search["seed"] if seed is None else seed
        rungs: list[RungResult] = []
        field: Sequence[Candidate] = start
        for number, rung in enumerate(asked.config.rungs):
            work = _Rung(number, rung, _protocol(rung, search["main"]), chosen, asked.device)
            found = work.run(
                field,
                own if rung.task is None else rung.task,
                store=opened,
                workers=workers,
                listener=listener or WorkListener(),
            )
            rungs.append(found)
            field = found.survivors
        measured = None
        if benchmark and field:
            measured = _last_rung(
                asked,
                field,
                task=own,
                main=search["main"],
                seed=chosen,
                store=opened,
                workers=workers,
                listener=listener or WorkListener(),
            )
        return _saved(record, asked, chosen, rungs, measured, opened)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What an elimination was asked for."""

    config: EliminationConfig
    bench: BenchConfig
    against: tuple[str, ...]
    device: str

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> _Asked:
        require_keys(data, _KEYS)
        bench: BenchConfig = validate(BenchConfig, data.get("bench", {}), "bench.")
        require_test(bench)
        usual = [name for name in zoo.names() if zoo.load(name).verdict_baseline]
        against = tuple(data.get("against", usual))
        for name in against:
            zoo.load(name)
        config = validate(EliminationConfig, data.get("elimination", {}), "elimination.")
        device = resolve(DEFAULT_PRESET, {"task": "any", "device": data.get("device")}).device
        require_device(device)
        for rung in config.rungs:
            if rung.preset is not None:
                resolve(rung.preset, {"task": "any"})
        return cls(config, bench, against, device)

    def check_tasks(self, own: str | Task) -> None:
        """Load every task before hours of training, so that a misspelt one is told at once."""
        load_tasks([own])
        for rung in self.config.rungs:
            if rung.task is not None:
                load_tasks([rung.task])


def _task_of(name: str, given: str | Task | None) -> str | Task:
    """Return the task of a search: a named one, or what the user gave."""
    if given is None:
        if name not in TASKS:
            raise InputError(
                f"the search was made on the task {name!r}, which is none of 'evolute tasks': say "
                "where it is, such as --task path/to/file.py:build"
            )
        return name
    ((_, loaded),) = load_tasks([given])
    if loaded.name != name:
        raise InputError(
            f"the search was made on the task {name!r}, and {loaded.name!r} is given: give the "
            "task of the search"
        )
    return given


def _begin(store: Store, record: RunRecord, config: EliminationConfig) -> tuple[Candidate, ...]:
    """Return the best candidates of all particles of a search."""
    rows = read_leaderboard(store, record)
    if not len(rows):
        raise InputError(
            f"the search {record.name} has no finished candidate: search on, or choose another run"
        )
    particles: dict[str, int] = {}
    for entry in store.run_entries(record.digest):
        if entry.facts.get("particle") is not None:
            particles.setdefault(entry.trial, int(entry.facts["particle"]))
    ranked = [
        Candidate(f"{row.rank}:{record.name}", Rule.parse(row.rule), row.fitness, row.learning_rate)
        for row in rows
    ]
    by_name = {
        candidate.name: particles[row.trial]
        for candidate, row in zip(ranked, rows, strict=True)
        if row.trial in particles
    }
    return pick_candidates(ranked, by_name, config=config)


def _protocol(rung: RungConfig, main: str) -> Protocol:
    """Return the protocol of a round; ``main`` is that of the search, as JSON."""
    if rung.preset is None:
        return rung.protocol(Protocol.from_json(main))
    return rung.protocol(resolve(rung.preset, {"task": "any"}).main)


@dataclasses.dataclass(frozen=True)
class _Rung:
    """One round about to be run."""

    number: int
    config: RungConfig
    protocol: Protocol
    seed: int
    device: str

    def run(
        self,
        field: Sequence[Candidate],
        task: str | Task,
        *,
        store: Store,
        workers: int | None,
        listener: WorkListener,
    ) -> RungResult:
        ((given, loaded),) = load_tasks([task])
        seeds = fresh_seeds(self.seed, f"elimination rung {self.number}", self.config.seeds)
        phase = f"round {self.number + 1} on {loaded.name}: {len(field)} candidates"
        counted = Count(listener, phase, len(field) * len(seeds))
        with evaluator_of(
            given, loaded, store=store, settings=self._settings(loaded.name), workers=workers
        ) as evaluator:
            return run_rung(
                field,
                task=loaded.name,
                evaluate=replace(evaluator, on_trial=counted),
                protocol=self.protocol,
                seeds=seeds,
                config=self.config,
            )

    def _settings(self, task: str) -> Settings:
        named = {"task": task, "seed": self.seed, "device": self.device}
        return resolve(DEFAULT_PRESET, named)


def _last_rung(
    asked: _Asked,
    field: Sequence[Candidate],
    *,
    task: str | Task,
    main: str,
    seed: int,
    store: Store,
    workers: int | None,
    listener: WorkListener,
) -> BenchResult:
    """Benchmark the survivors against hand-made optimizers, in the set-up of the last round."""
    last = asked.config.rungs[-1]
    protocol = _protocol(last, main)
    entrants = [
        Entrant(each.name, each.name, Side.DISCOVERED, each.rule, each.learning_rate)
        for each in field
    ]
    entrants += [Entrant.of_zoo(zoo.load(name)) for name in asked.against]
    plan = Plan.of(
        {
            "main": json.loads(protocol.to_json()),
            "bench": dataclasses.asdict(asked.bench),
            "device": asked.device,
        },
        preset=DEFAULT_PRESET,
        seed=seed,
        budget=None,
        seeds=None,
    )
    tasks = load_tasks([task if last.task is None else last.task])
    return run_bench(plan, entrants, tasks, store=store, workers=workers, listener=listener)


def _plain(config: EliminationConfig) -> dict[str, Any]:
    """Return a config as plain data, as it was before rounds could name a preset if none does."""
    data = dataclasses.asdict(config)
    for rung in data["rungs"]:
        if rung["preset"] is None:
            del rung["preset"]
    return data


def _saved(
    record: RunRecord,
    asked: _Asked,
    seed: int,
    rungs: Sequence[RungResult],
    benchmark: BenchResult | None,
    store: Store,
) -> EliminationResult:
    """Keep the result in the store as a run of its own kind."""
    config = {
        "run": record.digest,
        "seed": seed,
        "elimination": _plain(asked.config),
        "benchmark": None if benchmark is None else benchmark.digest,
    }
    digest = hashlib.sha256(canonical_json({"kind": KIND, **config}).encode()).hexdigest()
    name = f"eliminate-{record.name}-{digest[:6]}"
    result = EliminationResult(name, digest, record.name, tuple(rungs), benchmark)
    keep_result(store, KIND, digest=digest, name=name, config=config, result=result.to_dict())
    return result
