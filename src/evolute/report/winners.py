"""Winners: the equations of rules, each with its decays, and their learning rates together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evolute.report.page import Block, Equation, present
from evolute.report.rule_figures import Winner, decay_figure, learning_rate_figure
from evolute.report.typeset import parse_or_none, typeset
from evolute.train.protocol import Training


@dataclass(frozen=True, slots=True)
class Named:
    """A rule to be shown.

    Parameters
    ----------
    name
        What figures call it.
    title
        What its equation is called.
    rule
        Its text.
    facts
        Names and values beside its equation.
    """

    name: str
    title: str
    rule: str
    facts: tuple[tuple[str, str], ...]


def winner_blocks(
    winners: Sequence[Named], training: Training, *, prefix: str = ""
) -> tuple[Block, ...]:
    """Return the learning rates of all if one has a schedule, then each equation and its decays.

    Parameters
    ----------
    winners
        The rules, best first; one that is not understood here is shown as text alone.
    training
        The training whose base schedule is drawn beside theirs.
    prefix
        What the names of these figures begin with, where a page has others of the kind.
    """
    blocks: list[Block | None] = []
    readable: list[Winner] = []
    for place, each in enumerate(winners, 1):
        equation = typeset(each.rule, whole=True)
        blocks.append(Equation(title=each.title, rule=equation, facts=each.facts))
        rule = parse_or_none(each.rule)
        if rule is not None:
            readable.append(Winner(each.name, rule))
            blocks.append(decay_figure(readable[-1], name=f"{prefix}decays-{place}"))
    if any(winner.rule.schedule is not None for winner in readable):
        blocks.insert(0, learning_rate_figure(readable, training, name=f"{prefix}learning-rate"))
    return present(blocks)
