"""Exported files in tests: written to a folder, imported, and driven beside RuleOptimizer."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from evolute import zoo
from evolute.compiler.export.exporters import EXPORTERS
from evolute.compiler.export.subject import Subject, identifier_of
from evolute.compiler.optimizer import RuleOptimizer
from evolute.lang.registry import FUNCTIONS, Function
from evolute.lang.rule import Rule

OPTIONS: dict[str, Any] = {"lr": 0.05, "total_steps": 90, "momentum": 0.8, "seed": 3}
SHAPES = ((4, 3), ())
FUNCTION_ROWS = tuple(FUNCTIONS.values())  # read once: other tests add rows of their own


def subject_of_the_zoo(name: str) -> Subject:
    """The subject of a known optimizer, as the command line makes it."""
    entry = zoo.load(name)
    return Subject(
        entry.rule,
        name=identifier_of(entry.title),
        title=entry.title,
        reference=entry.origin.reference,
        notes=entry.notes,
    )


def call_of(row: Function) -> str:
    """A rule that is one call of a function, of the gradient and the weight."""
    arguments = ["g", "w"][: row.arity] + ["0.75" for _ in row.parameters]
    return f"none: {row.name}({', '.join(arguments)})"


def load_file(path: Path) -> ModuleType:
    """Import a file by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exported_class(subject: Subject, folder: Path) -> type[Optimizer]:
    """The class of an exported torch file, imported from a folder."""
    path = folder / f"exported_{abs(hash(subject))}.py"
    path.write_text(EXPORTERS["torch"](subject), encoding="utf-8")
    found: type[Optimizer] = getattr(load_file(path), subject.name)
    assert issubclass(found, Optimizer)
    return found


def make(optimizer: Callable[..., Optimizer], params: Any, **options: Any) -> Optimizer:
    """Make an optimizer with those options of OPTIONS and of these that it takes."""
    taken = inspect.signature(optimizer).parameters
    every = {**OPTIONS, **options}
    return optimizer(params, **{key: value for key, value in every.items() if key in taken})


def rule_optimizer(rule: Rule, params: Any, **options: Any) -> RuleOptimizer:
    """The judge: RuleOptimizer on its for-loop path."""
    return RuleOptimizer(params, rule, **{**OPTIONS, "foreach": False, **options})


def draws(seed: int, dtype: torch.dtype) -> Iterator[list[Tensor]]:
    """Lists of tensors of SHAPES, the same for one seed."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]


def parameters(tensors: list[Tensor]) -> list[Parameter]:
    return [Parameter(tensor.clone()) for tensor in tensors]


def same_bits(left: list[Parameter], right: list[Parameter]) -> bool:
    """Whether all numbers are equal, NaN beside NaN."""
    return all(
        torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num())
        for a, b in zip(left, right, strict=True)
    )


def first_difference(
    subject: Subject, folder: Path, *, dtype: torch.dtype, steps: int, **options: Any
) -> int | None:
    """First step after which the exported class and the judge have different weights."""
    values = draws(0, dtype)
    start = next(values)
    ours, theirs = parameters(start), parameters(start)
    exported = make(exported_class(subject, folder), ours, **options)
    judge = rule_optimizer(subject.rule, theirs, **options)
    for step in range(steps):
        for own, their, gradient in zip(ours, theirs, next(values), strict=True):
            own.grad, their.grad = gradient.clone(), gradient.clone()
        exported.step()
        judge.step()
        if not same_bits(ours, theirs):
            return step
    return None
