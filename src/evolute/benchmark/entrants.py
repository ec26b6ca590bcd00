"""Entrant: an optimizer that takes part in a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evolute.benchmark.measured import Setting
from evolute.benchmark.verdict import Side
from evolute.errors import InputError
from evolute.lang.expression import Expression, Scaled, rebuild, walk
from evolute.lang.rule import Rule
from evolute.zoo.entry import Entry, EntryKind
from evolute.zoo.hyperparameters import DIGITS, HyperParameter, Scale

UNKNOWN_RATES = (1e-5, 10.0)
"""Range of learning rates of a rule for which nobody has recommended one."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """An optimizer under the name that the user gave it.

    Parameters
    ----------
    name
        Unique in the benchmark.
    title
        As the literature calls it, or where it was found.
    side
        Discovered or hand-made.
    rule
        The rule at its defaults.
    learning_rate
        The recommended peak learning rate; None if nobody has recommended one.
    entry
        Its entry in the zoo, which declares its hyper-parameters; None if it has none.
    """

    name: str
    title: str
    side: Side
    rule: Rule
    learning_rate: float | None
    entry: Entry | None = None

    @classmethod
    def of_zoo(cls, entry: Entry) -> Entrant:
        """Return an optimizer of the zoo: hand-made, or a discovery that others published."""
        side = Side.HAND_MADE if entry.kind is EntryKind.HAND_MADE else Side.DISCOVERED
        return cls(entry.name, entry.title, side, entry.rule, entry.learning_rate, entry)

    def ranges(self, rate_decades: float) -> tuple[HyperParameter, ...]:
        """Return what is tuned: the learning rate first, then what the entry declares.

        Parameters
        ----------
        rate_decades
            Width of the range of learning rates around the recommended one.
        """
        lowest, highest = UNKNOWN_RATES
        middle = self.learning_rate
        if middle is None:
            middle = float(f"{(lowest * highest) ** 0.5:.{DIGITS}g}")
        else:
            half = 10 ** (rate_decades / 2)
            lowest, highest = middle / half, middle * half
        rate = HyperParameter("learning_rate", middle, lowest, highest, Scale.LOG)
        return (rate, *(self.entry.hyperparameters if self.entry is not None else ()))

    def setting(self, learning_rate: float, values: Mapping[str, float] | None = None) -> Setting:
        """Return the setting of these values; hyper-parameters left out keep their defaults."""
        chosen = dict(values or {})
        rule = self.rule if self.entry is None else self.entry.rule_with(chosen)
        return Setting(learning_rate, chosen, str(rule))

    @property
    def defaults(self) -> Setting | None:
        """The recommended setting; None without a recommended learning rate."""
        return None if self.learning_rate is None else self.setting(self.learning_rate)


def without_schedule(rule: Rule) -> Rule:
    """Return the update alone, with its momentum type and sign."""
    return replace(rule, schedule=None)


def without_decays(rule: Rule) -> Rule:
    """Return a rule whose inner decays are taken out; its schedule stays.

    >>> print(without_decays(Rule.parse("none: [a3]*tanh([a1]*g)")))
    none: [a3]*tanh(g)
    """

    def bare(node: Expression) -> Expression:
        return node.value if isinstance(node, Scaled) else node

    return Rule(rebuild(rule.update, bare), rule.momentum, rule.sign, rule.schedule)


def has_inner_decays(rule: Rule) -> bool:
    """Return whether a decay stands inside the update, not on the whole of it."""
    return any(isinstance(node, Scaled) for node in walk(rule.update))


def require_distinct(entrants: Sequence[Entrant]) -> None:
    """Refuse optimizers that share a name, and a benchmark without any.

    Raises
    ------
    InputError
        If there is no optimizer, or two of one name.
    """
    if not entrants:
        raise InputError("no optimizer is given: name some, such as --optimizers adamw,lion")
    names = [entrant.name for entrant in entrants]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"the optimizer {name!r} is given twice: give each one once")
