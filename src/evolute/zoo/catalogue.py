"""The zoo's entries by name.

>>> load("lion").origin.year
2023
>>> names(EntryKind.HAND_MADE)
('adam', 'adamw', 'lion', 'momentum', 'nesterov', 'rmsprop', 'sgd')
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from evolute.errors import UnknownNameError
from evolute.lang.rule import Rule
from evolute.zoo.entry import Entry, EntryKind, read_entry


def load(name: str) -> Entry:
    """Return the entry of this name.

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
    """Return the names of all entries, or of one kind, in alphabetical order (a2 before a10)."""
    return tuple(name for name, entry in _entries().items() if kind in (None, entry.kind))


@cache
def _entries() -> Mapping[str, Entry]:
    found = [
        read_entry(file.name.removesuffix(".toml"), tomllib.loads(file.read_text("utf-8")))
        for file in files("evolute.zoo").joinpath("entries").iterdir()
        if file.name.endswith(".toml")
    ]
    return {entry.name: entry for entry in sorted(found, key=lambda entry: _order(entry.name))}


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
