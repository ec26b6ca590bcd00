"""Entry: one known optimizer as data, read from one file of ``zoo/entries``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from evolute.lang.rule import Rule


class EntryKind(StrEnum):
    """Where a known optimizer comes from."""

    HAND_MADE = "hand-made"
    PUBLISHED = "published discovery"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who published an optimizer, when and where."""

    authors: str
    year: int
    reference: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A known optimizer.

    Parameters
    ----------
    name
        As it is loaded: the stem of its file.
    title
        As the literature calls it.
    kind
        Made by hand, or found by a published search.
    rule
        The optimizer.
    origin
        Its source.
    learning_rates
        Lowest and highest peak learning rate to try first. No range was published for the
        discoveries: theirs are estimates from the size of the update beside that of g.
    notes
        Sentences on constants, variants and mended faults of the source.
    verdict_baseline
        Whether the verdict compares discovered rules with it.

    Raises
    ------
    ValueError
        If the range of learning rates is empty or not positive.
    """

    name: str
    title: str
    kind: EntryKind
    rule: Rule
    origin: Origin
    learning_rates: tuple[float, float]
    notes: tuple[str, ...] = ()
    verdict_baseline: bool = False

    def __post_init__(self) -> None:
        lowest, highest = self.learning_rates
        if not 0.0 < lowest < highest:
            raise ValueError(f"{self.name}: {self.learning_rates} is no range of learning rates")


def read_entry(name: str, data: Mapping[str, Any]) -> Entry:
    """Read an entry from the contents of its file.

    Raises
    ------
    TypeError
        If a field is missing or unknown.
    RuleSyntaxError
        If the rule is none.
    """
    lowest, highest = data["learning_rates"]
    parts = {
        "kind": EntryKind(data["kind"]),
        "rule": Rule.parse(data["rule"]),
        "origin": Origin(**data["origin"]),
        "learning_rates": (float(lowest), float(highest)),
        "notes": tuple(data.get("notes", ())),
    }
    return Entry(name=name, **{**data, **parts})
