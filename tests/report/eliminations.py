"""Results of eliminations as a store holds them, made up."""

from __future__ import annotations

from typing import Any

from report.benchmarks import hostile_benchmark, made_up_benchmark
from report.places import HOSTILE, run_config

from evolute.benchmark.elimination import EliminationResult

RULES = ("none: [a3]*(v-[a2]*g)", "none: g", "momentum: g", "none: tanh(g)")
RUN = "my search"


def made_up_elimination(
    *,
    run: str = RUN,
    rules: tuple[str, ...] = RULES,
    task: str = "tiny",
    benchmark: bool = False,
    names: tuple[str, ...] | None = None,
) -> EliminationResult:
    """Four candidates of a search in two rounds of three seeds; the last of each round leaves.

    The third of the search is best in the first round; the last one finishes on no seed.
    """
    called = names or tuple(f"{rank}:{run}" for rank in (3, 1, 2, 7))
    first = [
        _standing(called[place], rules[place], fitness=-0.2 - 0.1 * place, stays=place < 2)
        for place in range(3)
    ]
    first.append(_standing(called[3], rules[3], fitness=None, stays=False))
    second = [
        _standing(called[1], rules[1], fitness=-0.1, stays=True),
        _standing(called[0], rules[0], fitness=-0.4, stays=False),
    ]
    attacked = run != RUN
    measured = hostile_benchmark() if attacked else made_up_benchmark()
    data = {
        "name": f"eliminate {run}",
        "digest": "e" * 64,
        "run": run,
        "rungs": [_rung(task, first), _rung(task, second)],
        "benchmark": measured.to_dict() if benchmark else None,
    }
    return EliminationResult.from_dict(data)


def hostile_elimination() -> EliminationResult:
    """The same with an attack for every name and rule."""
    rules = (*(f"none: {text}" for text in HOSTILE[:3]), "none: g")
    return made_up_elimination(
        run=HOSTILE[0], rules=rules, task=HOSTILE[4], benchmark=True, names=HOSTILE[:4]
    )


def _standing(name: str, rule: str, *, fitness: float | None, stays: bool) -> dict[str, Any]:
    return {
        "name": name,
        "rule": rule,
        "fitness": fitness,
        "failed": 0 if fitness is not None else 3,
        "learning_rate": 0.1,
        "stays": stays,
        "fitnesses": [None if fitness is None else fitness + 0.01 * seed for seed in (-1, 0, 1)],
    }


def _rung(task: str, standings: list[dict[str, Any]]) -> dict[str, Any]:
    protocol = run_config().main.to_json()
    return {"task": task, "protocol": protocol, "seeds": [1, 2, 3], "standings": standings}
