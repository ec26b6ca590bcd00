"""Ablation: the variants of a rule in which one part is taken out, halved, doubled or exchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from evolute.benchmark.entrants import has_inner_decays, without_decays
from evolute.errors import InputError
from evolute.lang.expression import (
    Call,
    Constant,
    Expression,
    OperandRef,
    Scaled,
    rebuild,
    walk,
)
from evolute.lang.registry import FUNCTIONS
from evolute.lang.rule import Momentum, Rule
from evolute.lang.text import print_expression

MOMENTA = (Momentum.NONE, Momentum.MOMENTUM, Momentum.NESTEROV)
"""The momentum types that are exchanged for each other."""


class PartKind(StrEnum):
    """What is changed in a variant.

    Attributes
    ----------
    DECAY
        A decay, all inner decays or the schedule is removed.
    NODE
        A function is bypassed: one of its arguments takes its place.
    CONSTANT
        A constant is halved or doubled; of a β the memory 1/(1 − β).
    MOMENTUM
        The momentum type is another.
    """

    DECAY = "decay"
    NODE = "node"
    CONSTANT = "constant"
    MOMENTUM = "momentum"


Change = Callable[[Rule], Rule]


@dataclass(frozen=True, slots=True)
class Variant:
    """A rule with one part changed.

    Parameters
    ----------
    part
        What was done, in words.
    kind
        What kind of part it is.
    rule
        The rule with the change.
    change
        Makes the same change in another rule; one without that part stays as it is.
    simpler
        Whether the change takes something away.
    """

    part: str
    kind: PartKind
    rule: Rule
    change: Change
    simpler: bool


def size(rule: Rule) -> int:
    """Return the number of nodes of a rule, schedule and momentum included.

    >>> size(Rule.parse("momentum: [a3]*tanh(g)"))
    4
    """
    nodes = sum(1 for _ in walk(rule.update))
    if rule.schedule is not None:
        nodes += sum(1 for _ in walk(rule.schedule))
    return nodes + (rule.momentum is not Momentum.NONE)


def variants(rule: Rule) -> tuple[Variant, ...]:
    """Return every rule that differs from this one in one part, each once.

    Left out are variants that are the same rule written otherwise, and those whose update no longer
    reads the gradient. What stands inside an operand, such as the average in ``v``, is no part.

    Parameters
    ----------
    rule
        The rule.

    Examples
    --------
    >>> for variant in variants(Rule.parse("none: [a3]*tanh(0.5*g)")):
    ...     print(f"{variant.part:<36} {variant.rule}")
    schedule [a3] removed                none: tanh(0.5*g)
    tanh(0.5*g) bypassed                 none: [a3]*(0.5*g)
    0.5*g bypassed: g stays              none: [a3]*tanh(g)
    constant 0.5 halved                  none: [a3]*tanh(0.25*g)
    momentum type momentum               momentum: [a3]*tanh(0.5*g)
    momentum type nesterov               nesterov: [a3]*tanh(0.5*g)
    """
    seen = {str(rule.canonical())}
    found = []
    for variant in _changes(rule):
        text = str(variant.rule.canonical())
        if text in seen or not reads_gradient(variant.rule):
            continue
        seen.add(text)
        found.append(variant)
    return tuple(found)


def reads_gradient(rule: Rule) -> bool:
    """Return whether the update reads an operand that the gradient enters."""
    return any(
        isinstance(node, OperandRef) and not node.name.startswith("w") for node in walk(rule.update)
    )


def _changes(rule: Rule) -> Iterator[Variant]:
    """Yield all changes of a rule that can be written down."""
    for part, kind, change, simpler in (
        *_decay_changes(rule),
        *_node_changes(rule),
        *_constant_changes(rule),
        *_momentum_changes(rule),
    ):
        try:
            changed = change(rule)
        except InputError:  # such as a parameter out of its range
            continue
        yield Variant(part, kind, changed, change, simpler)


_Plan = tuple[str, PartKind, Change, bool]


def _decay_changes(rule: Rule) -> Iterator[_Plan]:
    if rule.schedule is not None:
        text = print_expression(rule.schedule)
        yield f"schedule [{text}] removed", PartKind.DECAY, _drop_schedule, True
    decays = list(dict.fromkeys(n for n in walk(rule.update) if isinstance(n, Scaled)))
    if has_inner_decays(rule) and len(decays) > 1:
        yield "all inner decays removed", PartKind.DECAY, without_decays, True
    for node in decays:
        text = f"decay [{print_expression(node.decay)}] on {print_expression(node.value)} removed"
        yield text, PartKind.DECAY, _replacing(node, node.value), True


def _node_changes(rule: Rule) -> Iterator[_Plan]:
    for node in dict.fromkeys(n for n in _tensor_nodes(rule.update) if isinstance(n, Call)):
        text = print_expression(node)
        for argument in node.arguments:
            stays = "" if len(node.arguments) == 1 else f": {print_expression(argument)} stays"
            yield f"{text} bypassed{stays}", PartKind.NODE, _replacing(node, argument), True


def _constant_changes(rule: Rule) -> Iterator[_Plan]:
    roots = [rule.update, *([] if rule.schedule is None else [rule.schedule])]
    nodes = dict.fromkeys(node for root in roots for node in walk(root))
    for node in nodes:
        if isinstance(node, Constant) and node.value != 0.0:
            for factor, word in ((0.5, "halved"), (2.0, "doubled")):
                text = f"constant {node.value:g} {word}"
                change = _replacing(node, Constant(node.value * factor))
                yield text, PartKind.CONSTANT, change, False
        if isinstance(node, Call):
            yield from _parameter_changes(node)


def _parameter_changes(node: Call) -> Iterator[_Plan]:
    """Halve and double the parameters of a call; of a β the memory 1/(1 − β)."""
    for index, parameter in enumerate(FUNCTIONS[node.function].parameters):
        value = node.parameters[index]
        for factor, word in ((0.5, "halved"), (2.0, "doubled")):
            changed, name = value * factor, parameter.name
            if parameter.name == "beta":
                changed, name = 1.0 - (1.0 - value) / factor, "memory"
            text = f"{name} of {print_expression(node)} {word}"
            change = _with_parameter(node, index, float(f"{changed:.6g}"))
            yield text, PartKind.CONSTANT, change, False


def _momentum_changes(rule: Rule) -> Iterator[_Plan]:
    for momentum in MOMENTA:
        if momentum is not rule.momentum:
            simpler = momentum is Momentum.NONE
            change = _with_momentum(momentum)
            yield f"momentum type {momentum.value}", PartKind.MOMENTUM, change, simpler


def _tensor_nodes(node: Expression) -> Iterator[Expression]:
    """Yield the nodes of an update outside its decays, parents first."""
    yield node
    parts: tuple[Expression, ...] = ()
    match node:
        case Scaled(_, value):
            parts = (value,)
        case Call(_, arguments, _):
            parts = arguments
        case _:
            pass
    for part in parts:
        yield from _tensor_nodes(part)


def _drop_schedule(rule: Rule) -> Rule:
    return replace(rule, schedule=None)


def _replacing(old: Expression, new: Expression) -> Change:
    """Return the change that puts one expression in the place of another, wherever it stands."""

    def swap(node: Expression) -> Expression:
        return new if node == old else node

    def change(rule: Rule) -> Rule:
        schedule = None if rule.schedule is None else rebuild(rule.schedule, swap)
        return Rule(rebuild(rule.update, swap), rule.momentum, rule.sign, schedule)

    return change


def _with_parameter(node: Call, index: int, value: float) -> Change:
    parameters = (*node.parameters[:index], value, *node.parameters[index + 1 :])

    def change(rule: Rule) -> Rule:
        return _replacing(node, Call(node.function, node.arguments, parameters))(rule)

    return change


def _with_momentum(momentum: Momentum) -> Change:
    def change(rule: Rule) -> Rule:
        return replace(rule, momentum=momentum)

    return change
