"""Entry: one known optimizer as data, read from one file of ``zoo/entries``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from evolute.compiler.program import compile_rule
from evolute.errors import InputError, RuleSyntaxError, UnknownNameError, shorten
from evolute.lang.registry import Kind
from evolute.lang.rule import Momentum, Rule
from evolute.zoo.hyperparameters import DIGITS, HyperParameter, Scale

_PLACE = re.compile(r"\{(1-)?(\w+)\}")
_OF_WEIGHT = re.compile(r"\+\{(\w+)\}\*w\b")
"""A weight decay, which goes where it is 0."""


class EntryKind(StrEnum):
    """Where a known optimizer comes from.

    Attributes
    ----------
    HAND_MADE
        People wrote it, or use it ready-made as if they had.
    PUBLISHED
        The authors of a search chose it after trials beyond the search.
    SEARCHED
        Taken from the log of a published search for its figure there.
    """

    HAND_MADE = "hand-made"
    PUBLISHED = "published discovery"
    SEARCHED = "published search"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who published an optimizer or a schedule, when and where."""

    authors: str
    year: int
    reference: str

    def __str__(self) -> str:
        return f"{self.authors} ({self.year}): {self.reference}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A published figure of one training.

    Parameters
    ----------
    validation_accuracy
        Best validation accuracy, in [0, 1].
    data
        The data set.
    stage
        Stage of the published search (published method, section 6).
    seconds
        What the training took on the authors' GPU.
    source
        Where the figure stands.
    """

    validation_accuracy: float
    data: str
    stage: str
    seconds: float
    source: str

    def __str__(self) -> str:
        return (
            f"validation accuracy {self.validation_accuracy:.4f} on {self.data}, {self.stage} "
            f"stage, one seed, {self.seconds:.0f} s ({self.source})"
        )


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
        Where it comes from.
    rule
        The optimizer.
    origin
        Its source.
    learning_rates
        Lowest and highest peak learning rate to try first. No range was published for what a search
        found: those of the discoveries are estimates from the size of the update beside that of g,
        those of the search's log span the rates at which 300 steps on handwritten digits went well.
    notes
        Sentences on constants, variants and mended faults of the source.
    evidence
        Published figures.
    verdict_baseline
        Whether the verdict compares discovered rules with it.
    template
        The rule's text with ``{name}``, or ``{1-name}``, in place of each hyper-parameter; None
        for an optimizer that declares none.
    hyperparameters
        What people tune in it beside the learning rate.

    Raises
    ------
    ValueError
        If the range of learning rates is empty or not positive, or the places of the template are
        not those of the hyper-parameters, or one of several has no default.
    """

    name: str
    title: str
    kind: EntryKind
    rule: Rule
    origin: Origin
    learning_rates: tuple[float, float]
    notes: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    verdict_baseline: bool = False
    template: str | None = None
    hyperparameters: tuple[HyperParameter, ...] = ()

    def __post_init__(self) -> None:
        lowest, highest = self.learning_rates
        if not 0.0 < lowest < highest:
            raise ValueError(f"{self.name}: {self.learning_rates} is no range of learning rates")
        places = {place[1] for place in _PLACE.findall(self.template or "")}
        if places != {each.name for each in self.hyperparameters}:
            raise ValueError(f"{self.name}: the template has places for {sorted(places)}")
        if len(places) > 1 and any(each.default is None for each in self.hyperparameters):
            raise ValueError(f"{self.name}: one without a default is declared alone")

    @property
    def learning_rate(self) -> float:
        """The learning rate to begin with: the geometric middle of ``learning_rates``."""
        lowest, highest = self.learning_rates
        return float(f"{math.sqrt(lowest * highest):.{DIGITS}g}")

    def rule_with(self, values: Mapping[str, float]) -> Rule:
        """Return the rule with other values of its hyper-parameters.

        Parameters
        ----------
        values
            By name; those left out keep their defaults.

        Raises
        ------
        UnknownNameError
            If it declares no hyper-parameter of a name; the message says the nearest ones.

        Examples
        --------
        >>> from evolute import zoo
        >>> print(zoo.load("adamw").rule_with({"weight_decay": 0.1}))
        none: quotient(ema(g, 0.9), sqrt(ema(g2, 0.999))+1e-08)+0.1*w
        """
        known = {each.name: each.default for each in self.hyperparameters}
        for name in values:
            if name not in known:
                raise UnknownNameError(f"hyper-parameter of {self.name}", name, known)
        chosen = known | dict(values)
        if self.template is None or chosen == known:
            return self.rule

        def written(place: re.Match[str]) -> str:
            value = chosen[place[2]] or 0.0  # None only as the default of a lone one
            return repr(float(f"{1 - value if place[1] else value:.{DIGITS}g}"))

        def of_weight(term: re.Match[str]) -> str:
            return term[0] if chosen[term[1]] else ""

        return Rule.parse(_PLACE.sub(written, _OF_WEIGHT.sub(of_weight, self.template)))

    @property
    def state_buffers(self) -> tuple[str, ...]:
        """The names of what it keeps for each weight."""
        return state_buffers(self.rule)

    @property
    def is_elementwise(self) -> bool:
        """Whether each weight moves by its own gradient alone, so that tensors may be sharded."""
        return Kind.PER_TENSOR not in self._operations

    @property
    def is_deterministic(self) -> bool:
        """Whether it draws no noise."""
        return Kind.RANDOM not in self._operations

    @property
    def needs_total_steps(self) -> bool:
        """Whether it has decays or a schedule, which are functions of t/T."""
        return compile_rule(self.rule).needs_total_steps

    @property
    def _operations(self) -> set[Kind]:
        """Return the kinds that the operations in the rule declare."""
        return {each.function.kind for each in compile_rule(self.rule).instructions}


def state_buffers(rule: Rule) -> tuple[str, ...]:
    """Return the names of what a rule keeps for each weight, one number each.

    >>> state_buffers(Rule.parse("nesterov: v+qh_g"))
    ('ema(g, 0.9)', 'momentum_buffer')
    """
    momentum = () if rule.momentum is Momentum.NONE else ("momentum_buffer",)
    return (*compile_rule(rule).state_slots, *momentum)


def read_entry(name: str, data: Mapping[str, Any]) -> Entry:
    """Read an entry from the contents of its file.

    Raises
    ------
    InputError
        If a field is missing, unknown or of the wrong kind.
    RuleSyntaxError
        If the rule is none.
    """
    try:
        lowest, highest = data["learning_rates"]
        parts = {
            "kind": EntryKind(data["kind"]),
            "rule": Rule.parse(data["rule"]),
            "origin": Origin(**data["origin"]),
            "learning_rates": (float(lowest), float(highest)),
            "notes": tuple(data.get("notes", ())),
            "evidence": tuple(Evidence(**figure) for figure in data.get("evidence", ())),
            "hyperparameters": tuple(map(_hyperparameter, data.get("hyperparameters", ()))),
        }
        return Entry(name=name, **{**data, **parts})
    except RuleSyntaxError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else shorten(str(error))
        raise InputError(
            f"the entry {name!r} of the zoo cannot be read: {reason}; see the other files of "
            "zoo/entries for what one holds"
        ) from None


def _hyperparameter(row: Mapping[str, Any]) -> HyperParameter:
    """Read one table of ``hyperparameters``."""
    lowest, highest = row["range"]
    rest = {key: value for key, value in row.items() if key != "range"}
    parts = {"lowest": float(lowest), "highest": float(highest), "scale": Scale(row["scale"])}
    return HyperParameter(**{"default": None, **rest, **parts})
