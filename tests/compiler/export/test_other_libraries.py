"""Exported files of Optax and Keras move as RuleOptimizer does, to the precision of float32."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compiler.export.exported import (
    FUNCTION_ROWS,
    OPTIONS,
    call_of,
    draws,
    parameters,
    rule_optimizer,
    subject_of_the_zoo,
)
from optional_library import require_library

from evolute import zoo
from evolute.compiler.export.exporters import EXPORTERS, export_rule
from evolute.compiler.export.subject import Subject
from evolute.errors import InputError
from evolute.lang.rule import Momentum, Rule

Array = np.ndarray[Any, Any]

MOST_STEPS = 50
LIBRARIES = ("optax", "keras")
INFINITE_AT_FIRST = "none: -([quotient(1, a2)]*g)"
FOLLOW = Path(__file__).parent / "follow.py"


def all_subjects() -> dict[str, Subject]:
    """Every known optimizer, every function, and what both leave out."""
    subjects = {name: subject_of_the_zoo(name) for name in zoo.names()}
    subjects |= {f"function {row.name}": Subject(Rule.parse(call_of(row))) for row in FUNCTION_ROWS}
    subjects["infinite at first"] = Subject(Rule.parse(INFINITE_AT_FIRST))
    subjects["a number"] = Subject(Rule.parse("momentum: -(previous(2)+1)"))
    return {name: each for name, each in subjects.items() if not each.program.is_random}


SUBJECTS = all_subjects()
JITTED = "opt6 jitted"


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_exported_file_moves_as_rule_optimizer(library: str, tmp_path: Path) -> None:
    require_library(library, extra="export")
    followed = follow(library, tmp_path)
    names = {name: name for name in SUBJECTS} | ({JITTED: "opt6"} if library == "optax" else {})
    faults = {
        name: step
        for name, judged_as in names.items()
        for step, weights in enumerate(judged(judged_as))
        if not _close([followed[f"{name}/{step}/{at}"] for at in range(len(weights))], weights)
    }
    assert faults == {}


def _close(followed: list[Array], judged: list[Array]) -> bool:
    """Whether weights differ by at most 1e-5 of the largest of them; infinity is infinity."""
    ours, theirs = (
        np.concatenate([each.ravel() for each in every]) for every in (followed, judged)
    )
    differ, largest = ours != theirs, np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0)
    return bool((np.abs(ours[differ] - theirs[differ]) <= 1e-5 * largest).all())


def steps_of(name: str) -> int:
    """How many steps are compared; a single function needs no long run, and may diverge in it."""
    return 5 if name.startswith("function") else MOST_STEPS


def follow(library: str, folder: Path) -> Mapping[str, Array]:
    """Return the weights after each step of each subject, followed in a process of its own."""
    cases = [_case(library, name, subject, folder) for name, subject in SUBJECTS.items()]
    if library == "optax":
        jitted = _case(library, "opt6", SUBJECTS["opt6"], folder)
        cases.append({**jitted, "id": JITTED, "jitted": True})
    (folder / "cases.json").write_text(json.dumps(cases))
    values = [next(each) for each in [draws(0, torch.float32)] for _ in range(MOST_STEPS + 1)]
    arrays = {
        f"{step}_{at}": each.numpy() for step, of in enumerate(values) for at, each in enumerate(of)
    }
    np.savez(folder / "values.npz", **arrays)  # type: ignore[arg-type]
    environment = {**os.environ, "KERAS_BACKEND": "torch", "KERAS_HOME": str(folder)}
    environment |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(FOLLOW), library, str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    with np.load(folder / "followed.npz") as followed:
        return {name: followed[name] for name in followed.files}


def _case(library: str, name: str, subject: Subject, folder: Path) -> dict[str, Any]:
    module = f"{library}_{name.replace(' ', '_')}"
    (folder / f"{module}.py").write_text(EXPORTERS[library](subject), encoding="utf-8")
    options = {"lr": OPTIONS["lr"]}
    if subject.program.needs_total_steps:
        options["total_steps"] = OPTIONS["total_steps"]
    if subject.rule.momentum is not Momentum.NONE:
        options["momentum"] = OPTIONS["momentum"]
    name_in_file = subject.snake_name if library == "optax" else subject.name
    return {"id": name, "module": module, "file": f"{module}.py", "name": name_in_file,
            "options": options, "steps": steps_of(name)}  # fmt: skip


@cache
def judged(name: str) -> list[list[Array]]:
    """Return the weights of RuleOptimizer after each step."""
    values = draws(0, torch.float32)
    weights = parameters(next(values))
    optimizer = rule_optimizer(SUBJECTS[name].rule, weights)
    path = []
    for _ in range(steps_of(name)):
        for weight, gradient in zip(weights, next(values), strict=True):
            weight.grad = gradient
        optimizer.step()
        path.append([weight.detach().numpy().copy() for weight in weights])
    return path


@pytest.mark.parametrize("library", LIBRARIES)
def test_noise_is_refused_by_name(library: str) -> None:
    with pytest.raises(InputError, match="dropout draws its noise with torch, and .* export"):
        export_rule("none: dropout(g, 0.5)", library)


@pytest.mark.parametrize(("library", "name"), [("optax", "Jax"), ("keras", "keras")])
def test_a_name_that_the_file_uses_is_refused(library: str, name: str) -> None:
    with pytest.raises(InputError, match="the file uses the name"):
        export_rule("none: g", library, name=name)


def test_optax_asks_for_the_parameters_only_where_the_rule_reads_them() -> None:
    assert "needs params" not in export_rule("none: g", "optax")
    assert "needs params" in export_rule("none: g+0.1*w", "optax")
