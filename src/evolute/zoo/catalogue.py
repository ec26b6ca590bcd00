"""The zoo's entries by name.

>>> load("lion").origin.year
2023
>>> names(EntryKind.HAND_MADE)[:4]
('adabelief', 'adagrad', 'adam', 'adamw')
>>> schedule_names()[0]
'lr1'
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from torch import Tensor
from torch.optim.optimizer import ParamsT

from evolute.compiler.optimizer import RuleOptimizer
from evolute.errors import UnknownNameError
from evolute.lang.rule import Rule
from evolute.zoo.entry import Entry, EntryKind, read_entry
from evolute.zoo.rate_schedule import SCHEDULE_KIND, RateSchedule, read_schedule


def load(name: str) -> Entry:
    """Return the optimizer of this name.

    Raises
    ------
    UnknownNameError
        If there is none; the message says the nearest names.
    """
    try:
        return _entries()[name]
    except KeyError:
        raise UnknownNameError("optimizer of the zoo", name, _entries()) from None


def names(kind: EntryKind | None = None) -> tuple[str, ...]:
    """Return the names of all optimizers, or of one kind, in alphabetical order (a2 before a10)."""
    return tuple(name for name, entry in _entries().items() if kind in (None, entry.kind))


def create(name: str, params: ParamsT, *, lr: float | Tensor, **options: Any) -> RuleOptimizer:
    """Make the optimizer of this name.

    Parameters
    ----------
    name
        One of :func:`names`.
    params
        Parameters, or groups with options of their own.
    lr
        Learning rate; the entry's ``learning_rates`` say which to try first.
    options
        Further options of :class:`evolute.compiler.optimizer.RuleOptimizer`, such as
        ``total_steps``, which an optimizer with decays needs, and ``momentum``.

    Raises
    ------
    UnknownNameError
        If there is no optimizer of this name; the message says the nearest names.
    InputError
        As :class:`evolute.compiler.optimizer.RuleOptimizer`.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Linear(4, 3)
    >>> optimizer = create("opt6", model.parameters(), lr=0.1, total_steps=1000)
    >>> print(optimizer.rule)
    none: [quotient(erfc(erfc(a4)), dtanh(a8))]*(qh_g/abs([dtanh(a4)]*exp(w1e_4)))
    """
    return RuleOptimizer(params, load(name).rule, lr=lr, **options)


def schedule(name: str) -> RateSchedule:
    """Return the learning-rate schedule of this name.

    Raises
    ------
    UnknownNameError
        If there is none; the message says the nearest names.

    Examples
    --------
    >>> factor = schedule("lr4").factor(total_steps=100)
    >>> [round(factor(step), 2) for step in (0, 50, 99)]
    [0.34, 0.59, 1.05]
    """
    try:
        return _schedules()[name]
    except KeyError:
        raise UnknownNameError("schedule of the zoo", name, _schedules()) from None


def schedule_names() -> tuple[str, ...]:
    """Return the names of all learning-rate schedules, in alphabetical order."""
    return tuple(_schedules())


@cache
def _entries() -> Mapping[str, Entry]:
    return {name: read_entry(name, data) for name, data in _files() if not _is_schedule(data)}


@cache
def _schedules() -> Mapping[str, RateSchedule]:
    return {name: read_schedule(name, data) for name, data in _files() if _is_schedule(data)}


def _is_schedule(data: Mapping[str, Any]) -> bool:
    return bool(data["kind"] == SCHEDULE_KIND)


@cache
def _files() -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Return the name and the contents of every file, in the order of the names."""
    found = [
        (file.name.removesuffix(".toml"), tomllib.loads(file.read_text("utf-8")))
        for file in files("evolute.zoo").joinpath("entries").iterdir()
        if file.name.endswith(".toml")
    ]
    return tuple(sorted(found, key=lambda each: _order(each[0])))


def _order(name: str) -> tuple[str, int]:
    """Order opt2 before opt10."""
    letters = name.rstrip(string.digits)
    return letters, int(name[len(letters) :] or 0)


def _verdict_baselines() -> Mapping[str, Rule]:
    entries = _entries().values()
    return MappingProxyType(
        {entry.title: entry.rule for entry in entries if entry.verdict_baseline}
    )


HAND_MADE: Mapping[str, Rule] = _verdict_baselines()
"""The hand-made optimizers, by title, with which the verdict compares discovered rules."""
