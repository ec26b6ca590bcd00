"""Ablations: what each part of a rule is worth, from its name to a stored result.

The Python face of ``evolute explain``::

    result = evolute.explain("best", task="digits")
    print(result.sentence)
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evolute.benchmark.ablation import variants
from evolute.benchmark.config import ExplainConfig
from evolute.benchmark.decay_effect import decay_effect
from evolute.benchmark.entrants import has_inner_decays
from evolute.benchmark.explained import ExplainResult
from evolute.benchmark.explanation import Ablation
from evolute.benchmark.factoring import split_schedule
from evolute.discover import DEFAULT_PRESET, DEFAULT_STORE
from evolute.lang.rule import Rule
from evolute.lang.text import print_expression
from evolute.leaderboard import RunKind
from evolute.presets import resolve
from evolute.settings import merge, validate
from evolute.store.base import Store
from evolute.store.sql import open_store
from evolute.tasks.base import Task
from evolute.train.equipment import require_device
from evolute.train.fingerprint import record
from evolute.trial import canonical_json
from evolute.workbench.bench import Count, WorkListener, evaluator_of, find_entrants, load_tasks
from evolute.workbench.keeping import keep_result, require_keys

KIND: RunKind = "ablation"
"""What it is in the store: a run of this kind, its result the document of that name."""

_KEYS = ("explain", "main", "preset", "seed", "device")


def explain(
    rule: str | Rule,
    *,
    task: str | Task,
    seeds: int | None = None,
    preset: str | None = None,
    seed: int | None = None,
    config: Mapping[str, Any] | None = None,
    store: str | Path = DEFAULT_STORE,
    workers: int | None = None,
    listener: WorkListener | None = None,
) -> ExplainResult:
    """Say what each part of a rule is worth, and offer the simplest rule that is not worse.

    Running it again resumes it: what the store holds is not trained again.

    Parameters
    ----------
    rule
        A name of the zoo, ``"best"`` or ``"best:RUN"`` of a search in the store, a rule's text, or
        a :class:`evolute.Rule`.
    task
        Name of a task, ``path/to/file.py:build``, or a :class:`evolute.Task`.
    seeds
        Paired seeds of every comparison (10), at least 2.
    preset
        Preset whose protocol the trainings have.
    seed
        From which all seeds are derived (0).
    config
        Further settings as nested plain data: ``explain`` as
        :class:`evolute.benchmark.config.ExplainConfig`, ``main`` over the preset's protocol,
        ``device`` as of a search.
    store
        File in which trials and the result are remembered.
    workers
        Processes that train; one per core unless given.
    listener
        Hears how it goes.

    Raises
    ------
    InputError
        If an argument is not allowed, or the rule does not finish on the task.
    StoreError
        If the store cannot be read or written; what is stored stays.
    """
    data = config or {}
    require_keys(data, _KEYS)
    named = merge(data.get("explain", {}), {"seeds": seeds})
    chosen: ExplainConfig = validate(ExplainConfig, named, "explain.")
    ((given, loaded),) = load_tasks([task])
    settings = resolve(
        preset or data.get("preset", DEFAULT_PRESET),
        {
            "task": loaded.name,
            "seed": data.get("seed") if seed is None else seed,
            "main": data.get("main", {}),
            "device": data.get("device"),
        },
    )
    require_device(settings.device)
    with (
        open_store(store) as opened,
        evaluator_of(given, loaded, store=opened, settings=settings, workers=workers) as evaluator,
    ):
        (entrant,) = find_entrants([rule], store=str(store))
        whole = split_schedule(entrant.rule)
        counted = Count(listener or WorkListener(), f"parts on {loaded.name}", _cost(whole, chosen))
        ablation = Ablation(
            rule=whole,
            learning_rate=entrant.learning_rate,
            evaluate=replace(evaluator, on_trial=counted),
            protocol=settings.main,
            seed=settings.seed,
            config=chosen,
        )
        found = _result(ablation, loaded, settings.preset)
        _save(found, opened)
    return found


def _cost(rule: Rule, config: ExplainConfig) -> int:
    """Return about how many trainings an ablation takes."""
    grid = (2 * config.grid_half_width + 1) * config.tuning_seeds
    return (len(variants(rule)) + 1) * (grid + config.seeds) + 2 * config.seeds


def _result(ablation: Ablation, task: Task, preset: str) -> ExplainResult:
    """Run an ablation and put together what it found."""
    rule, config = ablation.rule, ablation.config
    own, rate = ablation.own()
    parts = ablation.parts()
    simplest = ablation.simplest(parts)
    effect = None
    if rule.schedule is not None or has_inner_decays(rule):
        effect = decay_effect(rule, record(task, ablation.seed))
    facts = {
        "kind": KIND,
        "rule": str(rule),
        "task": [task.name, task.version],
        "protocol": ablation.protocol.to_json(),
        "seed": ablation.seed,
        "explain": dataclasses.asdict(config),
    }
    digest = hashlib.sha256(canonical_json(facts).encode()).hexdigest()
    return ExplainResult(
        name=f"explain-{task.name}-{preset}-{ablation.seed}-{digest[:6]}",
        digest=digest,
        task=task.name,
        metric=task.metric,
        measure=ablation.measure,
        preset=preset,
        seed=ablation.seed,
        config=config,
        rule=str(rule),
        learning_rate=rate,
        schedule=None if rule.schedule is None else print_expression(rule.schedule),
        own=own,
        margin=config.margin * abs(own.mean),
        parts=tuple(part for _, part in parts),
        simplest=simplest,
        effect=effect,
        notes=ablation.notes(parts, simplest),
    )


def _save(result: ExplainResult, store: Store) -> None:
    """Keep an ablation in the store as a run of its own kind."""
    config = {
        "rule": result.rule,
        "task": result.task,
        "preset": result.preset,
        "seed": result.seed,
        "explain": dataclasses.asdict(result.config),
    }
    keep_result(
        store, KIND, digest=result.digest, name=result.name, config=config, result=result.to_dict()
    )
