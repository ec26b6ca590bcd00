"""Results of ablations as a store holds them, made up."""

from __future__ import annotations

from typing import Any

from report.places import HOSTILE

from evolute.benchmark.explained import ExplainResult

RULE = "none: [a1]*tanh([a3]*g)"


def made_up_ablation(
    *,
    rule: str = RULE,
    part: str = "decay [a3] on g removed",
    task: str = "tiny",
    schedule: str | None = "a1",
    confirmed: bool | None = True,
    measure: str = "loss",
) -> ExplainResult:
    """A rule with a part that costs something, one that does not, one open, and one that must be.

    ``confirmed`` None: nothing could be taken out.
    """
    parts = [
        _part("schedule removed", rule, difference=0.1, width=0.01, p=0.001, finding="worse"),
        _part(part, rule, difference=-0.001, width=0.002, p=0.5, finding="no difference shown",
              not_worse=True),
        _part("constant halved", rule, difference=0.01, width=0.05, p=0.6,
              finding="no difference shown"),
        _part("g bypassed", rule, difference=None),
    ]  # fmt: skip
    data = {
        "name": f"explain {task}",
        "digest": "a" * 64,
        "task": task,
        "metric": "accuracy",
        "measure": measure,
        "preset": "quick",
        "seed": 0,
        "config": {"seeds": 3},
        "rule": rule,
        "learning_rate": 0.1,
        "schedule": schedule,
        "own": {"mean": 0.4, "standard_error": 0.01, "runs": 3},
        "margin": 0.008,
        "parts": parts,
        "simplest": None if confirmed is None else _simplest(rule, part, confirmed),
        "effect": [1 - step / 100 for step in range(100)],
    }
    return ExplainResult.from_dict(data)


def hostile_ablation() -> ExplainResult:
    """The same with an attack for every name, rule and part."""
    return made_up_ablation(
        rule=f"none: {HOSTILE[0]}", part=HOSTILE[1], task=HOSTILE[2], schedule=HOSTILE[3]
    )


def _comparison(difference: float, width: float, finding: str) -> dict[str, Any]:
    interval = {"mean": difference, "lower": difference - width, "upper": difference + width}
    return {
        "differences": [difference] * 3,
        "wins": 0,
        "losses": 3,
        "failed": 0,
        "other_failed": 0,
        "interval": interval,
        "sign_p_value": 0.25,
        "p_value": 0.01,
        "finding": finding,
        "seeds_needed": None,
    }


def _part(
    part: str,
    rule: str,
    *,
    difference: float | None,
    width: float = 0.0,
    p: float | None = None,
    finding: str = "",
    not_worse: bool = False,
) -> dict[str, Any]:
    return {
        "part": part,
        "kind": "decay",
        "rule": rule,
        "simpler": True,
        "learning_rate": None if difference is None else 0.1,
        "comparison": None if difference is None else _comparison(difference, width, finding),
        "adjusted_p_value": p,
        "not_worse": not_worse,
    }


def _simplest(rule: str, part: str, confirmed: bool) -> dict[str, Any]:
    return {
        "rule": rule.replace("[a3]*", ""),
        "learning_rate": 0.1,
        "removed": [part],
        "size_before": 5,
        "size_after": 3,
        "comparison": _comparison(0.001, 0.002, "no difference shown"),
        "margin": 0.008,
        "not_worse": confirmed,
    }
