"""Results of benchmarks as a store holds them, made up: no training is needed to show one."""

from __future__ import annotations

from typing import Any

from report.places import HOSTILE

from evolute.benchmark.result import BenchResult

NAMES = ("found", "adamw")
CONFIG = {
    "budget": 2,
    "tuning_seeds": 1,
    "seeds": 3,
    "rate_decades": 3.0,
    "curve_points": 2,
    "sensitivity_seeds": 1,
    "sensitivity_half_width": 1,
    "margin": 0.05,
    "cross": True,
    "grid_half_width": 1,
    "widenings": 0,
    "resamples": 100,
    "confidence": 0.95,
}
RULES = ("none: [a3]*(v-[a2]*g)", "none: quotient(v, sqrt(ema(g2, 0.999))+1e-08)+0.01*w")


def made_up_benchmark(
    names: tuple[str, str] = NAMES,
    *,
    findings: tuple[str, ...] = ("better",),
    rules: tuple[str, str] = RULES,
    task: str = "tiny",
) -> BenchResult:
    """A benchmark of a discovered rule and AdamW, on one task for each finding."""
    data = {
        "name": f"bench {names[0]}",
        "digest": "b" * 64,
        "preset": "quick",
        "seed": 0,
        "config": CONFIG,
        "taus": [1.0, 2.0, 4.0],
        "sentence": f"{names[0]} and {names[1]} were compared",
        "scores": [_score(name, place, len(findings)) for place, name in enumerate(names)],
        "tasks": [
            _task(f"{task}{place or ''}", names, finding, rules)
            for place, finding in enumerate(findings)
        ],
    }
    return BenchResult.from_dict(data)


def hostile_benchmark() -> BenchResult:
    """The same with an attack for every name, rule and sentence."""
    return made_up_benchmark(
        (HOSTILE[0], HOSTILE[1]), rules=(HOSTILE[2], HOSTILE[3]), task=HOSTILE[4]
    )


def _score(name: str, place: int, tasks: int) -> dict[str, Any]:
    side = ("discovered", "hand-made")[place]
    interval = {"mean": 0.9, "lower": 0.8, "upper": 1.0}
    return {
        "entrant": name,
        "side": side,
        "ratios": [1.0 + place] * tasks,
        "profile": [1 - place, 1, 1],
        "area": 1.0,
        "area_by_seconds": 0.9,
        "speed_up": 1.0 + place,
        "speed_up_tasks": 1,
        "relative": interval,
        "probability_of_improvement": None,
    }


def _task(
    task: str, names: tuple[str, str], finding: str, rules: tuple[str, str]
) -> dict[str, Any]:
    return {
        "task": task,
        "version": "1",
        "metric": "accuracy",
        "measure": "loss",
        "protocol": "{}",
        "steps": 20,
        "target": {"value": 0.3, "measure": "loss", "source": names[1]},
        "entrants": [_entrant(name, place, rules[place]) for place, name in enumerate(names)],
        "best_at_defaults": None,
        "cross": _cross(names, rules),
        "attributions": [_attribution(names)],
        "verdicts": [_verdict(names, finding), _reference(names)],
        "notes": [f"a note on {names[0]}"],
    }


def _measurement(place: int, rule: str) -> dict[str, Any]:
    runs = [
        {
            "seed": seed,
            "outcome": "finished",
            "sentence": "finished",
            "loss": 0.2 + 0.1 * place + 0.01 * seed,
            "metric": 0.9,
            "seconds_per_step": 1e-3,
            "steps_to_target": 20,
            "seconds_to_target": 0.02,
            "curve": {
                "steps": [10, 20],
                "train_loss": [1.0, 0.5],
                "validation_loss": [0.9, 0.25 + 0.01 * seed],
                "validation_metric": None,
            },
        }
        for seed in range(3)
    ]
    return {
        "setting": {"learning_rate": 0.1, "hyperparameters": {}, "rule": rule},
        "runs": runs,
        "loss": _estimate(0.21 + 0.1 * place),
        "metric": _estimate(0.9),
        "divergence_rate": 0.0,
        "steps_to_target": 20.0,
        "seconds_to_target": 0.02,
    }


def _estimate(mean: float) -> dict[str, Any]:
    return {"mean": mean, "standard_error": 0.01, "runs": 3}


def _entrant(name: str, place: int, rule: str) -> dict[str, Any]:
    range_ = {"name": "learning_rate", "default": 0.1, "lowest": 0.01, "highest": 1.0,
              "scale": "log"}  # fmt: skip
    trials = [
        {"setting": {"learning_rate": rate, "hyperparameters": {}, "rule": rule},
         "fitness": -rate, "diverged": 0, "sentence": "finished"}
        for rate in (0.1, 0.5)
    ]  # fmt: skip
    tuning = {"ranges": [range_], "searched": [range_], "trials": trials, "widenings": [],
              "on_edge": []}  # fmt: skip
    points = [
        {"learning_rate": 0.05, "value": 0.3, "diverged": 0},
        {"learning_rate": 0.1, "value": 0.2, "diverged": 0},
        {"learning_rate": 0.2, "value": None, "diverged": 1},
    ]
    return {
        "name": name,
        "title": name,
        "side": ("discovered", "hand-made")[place],
        "rule": rule,
        "schedule": None if place else "a3",
        "tuning": tuning,
        "tuning_divergence_rate": 0.0,
        "expected_best": [-0.3, -0.1],
        "tuned": _measurement(place, rule),
        "defaults": None,
        "sensitivity": {"points": points, "margin": 0.05, "decades": 0.5, "at_least": False},
        "cost": {"parameters": 100, "step_seconds": 1e-4, "state_bytes": 400},
    }


def _cross(names: tuple[str, str], rules: tuple[str, str]) -> dict[str, Any]:
    labels = [f"that of {names[0]}", "warm-up cosine"]
    cells: list[dict[str, Any]] = [
        {
            "update": name,
            "schedule": label,
            "side": ("discovered", "hand-made")[row],
            "rule": rules[row],
            "tuning": {"points": [], "widenings": 0},
            "runs": [],
            "loss": _estimate(0.2 + 0.1 * row + 0.05 * column),
            "metric": None,
        }
        for row, name in enumerate(names)
        for column, label in enumerate(labels)
    ]
    schedules = [
        {"label": label, "shape": "cosine", "factor": None if place else "a3",
         "side": ("discovered", "hand-made")[place]}
        for place, label in enumerate(labels)
    ]  # fmt: skip
    return {
        "updates": list(names),
        "schedules": schedules,
        "cells": cells,
        "own_schedules": {names[0]: labels[0], names[1]: labels[1]},
        "best_hand_made": [names[1], labels[1]],
    }


def _attribution(names: tuple[str, str]) -> dict[str, Any]:
    gain = {"mean": 0.1, "lower": 0.05, "upper": 0.15}
    return {
        "entrant": names[0],
        "reference": names[1],
        "total": gain,
        "equation": gain,
        "schedule": gain,
        "decays": None,
        "sentence": f"{names[0]} gains",
    }


def _verdict(names: tuple[str, str], finding: str) -> dict[str, Any]:
    comparison = {
        "differences": [-0.1, -0.12, -0.11],
        "wins": 3,
        "losses": 0,
        "failed": 0,
        "other_failed": 0,
        "interval": {"mean": -0.11, "lower": -0.13, "upper": -0.09},
        "sign_p_value": 0.25,
        "p_value": 0.001,
        "finding": finding,
        "seeds_needed": None,
    }
    return {
        "entrant": names[0],
        "reference": f"{names[1]} under warm-up cosine",
        "comparison": comparison,
        "adjusted_p_value": 0.001,
        "finding": finding,
        "seeds_needed": None,
        "sentence": f"{names[0]} is {finding}",
    }


def _reference(names: tuple[str, str]) -> dict[str, Any]:
    return {
        "entrant": names[1],
        "reference": f"{names[1]} under warm-up cosine",
        "comparison": None,
        "adjusted_p_value": None,
        "finding": None,
        "seeds_needed": None,
        "sentence": "the reference itself",
    }
