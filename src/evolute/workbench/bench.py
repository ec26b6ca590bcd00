"""Benchmarks of optimizers, from names to a stored result.

The Python face of ``evolute bench``::

    result = evolute.bench(["opt6", "adamw", "lion"], ["digits"], budget=24, seeds=10)
    print(result.sentence)
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolute import zoo
from evolute.benchmark.bench import Bench, expected_bench_trials
from evolute.benchmark.config import BenchConfig
from evolute.benchmark.entrants import Entrant, require_distinct
from evolute.benchmark.measuring import bench_protocol
from evolute.benchmark.result import BenchResult, TaskResult
from evolute.benchmark.scores import TAUS, score_entrants
from evolute.benchmark.verdict import Side
from evolute.benchmark.verdicts import judge_tasks, summary
from evolute.choice import choose_rule
from evolute.discover import DEFAULT_PRESET, DEFAULT_STORE, open_executor
from evolute.errors import InputError
from evolute.lang.rule import Rule
from evolute.leaderboard import RunKind
from evolute.presets import PRESETS, resolve
from evolute.runs.evaluate import Evaluator
from evolute.settings import Settings, merge, validate
from evolute.store.base import Store
from evolute.store.sql import open_store
from evolute.tasks.base import Task
from evolute.tasks.check import check_task
from evolute.tasks.user import load_task
from evolute.train.equipment import require_device
from evolute.trial import PROGRAM_VERSION, Trial, canonical_json
from evolute.workbench.keeping import keep_result, require_keys

KIND: RunKind = "benchmark"
"""What it is in the store: a run of this kind, its result the document of that name."""

MOST_TASKS_IN_A_NAME = 3

_KEYS = ("optimizers", "tasks", "preset", "seed", "bench", "main", "per_task", "device")


class WorkListener:
    """Hears how long work goes; does nothing unless overridden."""

    def trained(self, phase: str, done: int, expected: int) -> None:
        """Hear how many trainings of a phase are known, of about how many."""


@dataclass
class Count:
    """Counts trials as they become known, and passes the count on."""

    hear: WorkListener
    phase: str
    expected: int
    done: int = 0

    def __call__(self, _trial: Trial, _trained: bool) -> None:
        self.done += 1
        self.hear.trained(self.phase, self.done, max(self.expected, self.done))


def bench(
    optimizers: Sequence[str | Rule],
    tasks: Sequence[str | Task],
    *,
    budget: int | None = None,
    seeds: int | None = None,
    preset: str | None = None,
    seed: int | None = None,
    config: Mapping[str, Any] | None = None,
    store: str | Path = DEFAULT_STORE,
    workers: int | None = None,
    listener: WorkListener | None = None,
) -> BenchResult:
    """Compare optimizers fairly: equal tuning, fresh seeds, the test split, all schedules.

    Running the same benchmark again resumes it: what the store holds is not trained again, and
    another optimizer costs its own trials alone.

    Parameters
    ----------
    optimizers
        Each a name of the zoo such as ``"lion"``, ``"best:RUN"`` of a search in the store, a
        rule's text, or a :class:`evolute.Rule`.
    tasks
        Names of tasks, ``path/to/file.py:build``, or :class:`evolute.Task` objects.
    budget
        Settings that each optimizer tries in tuning (24).
    seeds
        Fresh seeds of every measurement (10, or as many as the preset says); at least 2, as one
        shows no difference.
    preset
        Preset whose protocol the trainings have: ``quick``, ``standard``, ``paper``, or one of
        those for a transfer, such as ``paper-fine-tuning``.
    seed
        From which all seeds are derived (0).
    config
        Further settings as nested plain data: ``bench`` as
        :class:`evolute.benchmark.config.BenchConfig`, ``main`` over the preset's protocol,
        ``per_task`` with ``main`` of one task by its name, ``device`` as of a search.
    store
        File in which trials and the result are remembered.
    workers
        Processes that train; one per core unless given.
    listener
        Hears how it goes.

    Raises
    ------
    InputError
        If an argument is not allowed; TaskError if a task is at fault.
    StoreError
        If the store cannot be read or written; what is stored stays.
    """
    plan = Plan.of(config or {}, preset=preset, seed=seed, budget=budget, seeds=seeds)
    loaded = load_tasks(tasks)
    with open_store(store) as opened:
        entrants = find_entrants(optimizers, store=str(store))
        return run_bench(
            plan,
            entrants,
            loaded,
            store=opened,
            workers=workers,
            listener=listener or WorkListener(),
        )


def run_bench(
    plan: Plan,
    entrants: Sequence[Entrant],
    tasks: Sequence[tuple[str | Task, Task]],
    *,
    store: Store,
    workers: int | None,
    listener: WorkListener,
) -> BenchResult:
    """Run a benchmark task by task, and keep its result in the store.

    Parameters
    ----------
    plan
        What was asked for.
    entrants
        The optimizers, names distinct.
    tasks
        Each task as the user gave it, and loaded.
    store
        Where trials and the result are remembered.
    workers, listener
        As in :func:`bench`.
    """
    hand_made = [Entrant.of_zoo(zoo.load(name)) for name in zoo.names(zoo.EntryKind.HAND_MADE)]
    expected = expected_bench_trials(
        plan.config,
        entrants=len(entrants),
        hand_made=len(hand_made),
        schedules=len({each.rule.schedule for each in entrants} - {None}),
    )
    results = []
    for given, task in tasks:
        settings = plan.settings(task.name)
        with evaluator_of(
            given, task, store=store, settings=settings, workers=workers
        ) as evaluator:
            counted = Count(listener, f"benchmark on {task.name}", expected)
            work = Bench(
                entrants=entrants,
                hand_made=hand_made,
                task=task,
                protocol=bench_protocol(settings.main, plan.config.curve_points),
                seed=plan.seed,
                config=plan.config,
                evaluate=replace(evaluator, on_trial=counted),
            )
            results.append(work.run())
    result = _assemble(plan, entrants, results)
    save_result(result, store)
    return result


@dataclass(frozen=True)
class Plan:
    """What a benchmark was asked for.

    Parameters
    ----------
    preset
        Name of the preset.
    seed
        From which all seeds are derived.
    config
        How much work to do.
    data
        Settings as the user gave them, laid over those of the preset.
    """

    preset: str
    seed: int
    config: BenchConfig
    data: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        data: Mapping[str, Any],
        *,
        preset: str | None,
        seed: int | None,
        budget: int | None,
        seeds: int | None,
    ) -> Plan:
        """Read a plan from plain data, over which named arguments are laid.

        Raises
        ------
        InputError
            If a key or a value is not allowed.
        """
        require_keys(data, _KEYS)
        chosen = preset or data.get("preset", DEFAULT_PRESET)
        given = {"seed": data.get("seed") if seed is None else seed, "device": data.get("device")}
        base = resolve(chosen, {"task": "any", **given})
        require_device(base.device)
        work = merge(dataclasses.asdict(PRESETS[base.preset].bench), data.get("bench", {}))
        named = {"budget": budget, "seeds": seeds}
        config: BenchConfig = validate(BenchConfig, merge(work, named), "bench.")
        require_test(config)
        return cls(base.preset, base.seed, config, data)

    def settings(self, task: str) -> Settings:
        """Return the settings of a task: the preset's, and what is laid over them."""
        own = self.data.get("per_task", {}).get(task, {})
        main = merge(self.data.get("main", {}), own.get("main", {}))
        device = self.data.get("device")
        return resolve(
            self.preset, {"task": task, "seed": self.seed, "main": main, "device": device}
        )


def require_test(config: BenchConfig) -> None:
    """Refuse a benchmark whose seeds allow no test.

    Raises
    ------
    InputError
        If there is one fresh seed.
    """
    if config.seeds < 2:
        raise InputError(
            "one fresh seed shows no difference, as nothing tells it from chance: give --seeds 2 "
            "or more (10 is usual)"
        )


def find_entrants(optimizers: Sequence[str | Rule], *, store: str) -> list[Entrant]:
    """Return the optimizers that a user means; see :data:`evolute.choice.RULE_HELP`.

    Raises
    ------
    InputError
        If one names no rule, two are of one name, or there is none.
    """
    entrants = [_entrant(each, store=store) for each in optimizers]
    require_distinct(entrants)
    return entrants


def _entrant(given: str | Rule, *, store: str) -> Entrant:
    if isinstance(given, Rule):
        return Entrant(str(given), "a rule", Side.DISCOVERED, given, None)
    if given in zoo.names():
        return Entrant.of_zoo(zoo.load(given))
    chosen = choose_rule(given, store=store)
    rate = chosen.facts.get("learning_rate")
    return Entrant(given, chosen.name, Side.DISCOVERED, chosen.rule, rate)


def load_tasks(tasks: Sequence[str | Task]) -> list[tuple[str | Task, Task]]:
    """Load the tasks, and refuse none or two of one name.

    Raises
    ------
    InputError
        If there is no task, or two of one name; TaskError if one is at fault.
    """
    if not tasks:
        raise InputError("no task is given: name some, such as --tasks digits; see 'evolute tasks'")
    loaded = [(each, each if isinstance(each, Task) else load_task(each)) for each in tasks]
    names = [task.name for _, task in loaded]
    for _, task in loaded:
        if names.count(task.name) > 1:
            raise InputError(f"the task {task.name!r} is given twice: give each one once")
        check_task(task)
    return loaded


@contextmanager
def evaluator_of(
    given: str | Task, task: Task, *, store: Store, settings: Settings, workers: int | None
) -> Iterator[Evaluator]:
    """Open what scores trials of a task, with its workers."""
    with open_executor(given, task, settings=settings, workers=workers) as executor:
        yield Evaluator(task, store, executor)


def _assemble(
    plan: Plan, entrants: Sequence[Entrant], results: Sequence[TaskResult]
) -> BenchResult:
    """Judge and score the tasks together, under a name that tells what was asked for."""
    tasks = judge_tasks(results, plan.config)
    names = [task.task for task in tasks][:MOST_TASKS_IN_A_NAME]
    digest = _digest(plan, entrants, tasks)
    return BenchResult(
        name=f"bench-{'-'.join(names)}-{plan.preset}-{plan.seed}-{digest[:6]}",
        digest=digest,
        preset=plan.preset,
        seed=plan.seed,
        config=plan.config,
        tasks=tasks,
        taus=TAUS,
        scores=score_entrants(tasks, seed=plan.seed, config=plan.config),
        sentence=summary(tasks),
    )


def _digest(plan: Plan, entrants: Sequence[Entrant], tasks: Sequence[TaskResult]) -> str:
    facts = {
        "kind": KIND,
        "optimizers": {each.name: str(each.rule) for each in entrants},
        "rates": {each.name: each.learning_rate for each in entrants},
        "tasks": {task.task: [task.version, task.protocol] for task in tasks},
        "seed": plan.seed,
        "bench": dataclasses.asdict(plan.config),
        "program_version": PROGRAM_VERSION,
    }
    return hashlib.sha256(canonical_json(facts).encode()).hexdigest()


def save_result(result: BenchResult, store: Store) -> None:
    """Keep a benchmark in the store as a run of its own kind with the result as a document."""
    config = {
        "optimizers": [each.name for each in result.tasks[0].entrants],
        "tasks": [task.task for task in result.tasks],
        "preset": result.preset,
        "seed": result.seed,
        "bench": dataclasses.asdict(result.config),
    }
    keep_result(
        store, KIND, digest=result.digest, name=result.name, config=config, result=result.to_dict()
    )
