"""Drawing a random candidate (published method, section 3)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from evolute.errors import InputError
from evolute.search.genome import (
    DECAY_HIDDEN,
    DecayGenome,
    DecayNode,
    Edge,
    Genome,
    Node,
    Source,
    is_valid_decay,
)
from evolute.search.space import IDENTITY, Operation, SearchSpace

Probability = Annotated[float, Field(ge=0.0, le=1.0)]

MAX_REDRAWS = 10_000
"""Draws in a row that may be cyclic, or leave [0, 1], before the search space is blamed."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DrawConfig:
    """Probabilities of section 3; the defaults are the published ones.

    Parameters
    ----------
    hidden_nodes
        Nodes beside the root.
    hidden_unary, root_binary
        Chance that a hidden node is unary, and the root binary.
    identity
        Chance that a unary function is the identity; the others are drawn evenly.
    operand
        Chance that an input is an operand rather than another hidden node.
    decay, decay_unary_root
        Chance that an edge carries a decay, and that the edge of a unary root does (0.85 comes
        from a reversed comparison in the authors' program and is kept with it).
    decay_node_unary
        Chance that a node of a decay is unary.
    base_decay
        Chance that an input of a decay's root is a base decay rather than its hidden node. The
        page does not say it; 4 of the 24 decays in the log's initial stage read the hidden node.
    """

    hidden_nodes: Annotated[int, Field(ge=1, le=8)] = 5
    hidden_unary: Probability = 0.75
    root_binary: Probability = 0.75
    identity: Probability = 0.20
    operand: Probability = 0.80
    decay: Probability = 0.15
    decay_unary_root: Probability = 0.85
    decay_node_unary: Probability = 0.80
    base_decay: Probability = 0.80


def draw_genome(space: SearchSpace, config: DrawConfig, *, generator: random.Random) -> Genome:
    """Draw candidates until one is acyclic.

    Raises
    ------
    InputError
        If none is found, which the space or the configuration must be blamed for.
    """
    for _ in range(MAX_REDRAWS):
        hidden = [
            draw_node(space, config, generator=generator, index=index)
            for index in range(config.hidden_nodes)
        ]
        root = draw_node(space, config, generator=generator, index=config.hidden_nodes)
        genome = Genome((*hidden, root), generator.choice(space.momentum_types))
        if not genome.is_cyclic():
            return genome
    raise InputError(
        f"{MAX_REDRAWS} candidates in a row were cyclic: raise 'operand', now {config.operand}, or "
        f"lower 'hidden_nodes', now {config.hidden_nodes}"
    )


def draw_node(
    space: SearchSpace, config: DrawConfig, *, generator: random.Random, index: int
) -> Node:
    """Draw the node with this index, the one after the hidden nodes being the root."""
    is_root = index == config.hidden_nodes
    unary = 1.0 - config.root_binary if is_root else config.hidden_unary
    arity = 1 if chance(generator, unary) else 2
    operation = draw_operation(space, config, generator=generator, arity=arity)
    sources = _draw_sources(space, config, generator=generator, index=index, count=arity)
    probability = config.decay_unary_root if is_root and arity == 1 else config.decay
    decays = (
        draw_edge_decay(space, config, generator=generator, probability=probability)
        for _ in sources
    )
    return Node(operation, tuple(map(Edge, sources, decays)))


def draw_operation(
    space: SearchSpace, config: DrawConfig, *, generator: random.Random, arity: int
) -> Operation:
    """Draw a function of one or two arguments: unary ones with the identity's own probability."""
    if arity == 2:
        return generator.choice(space.binary)
    identity = [choice for choice in space.unary if choice.function == IDENTITY]
    others = [choice for choice in space.unary if choice.function != IDENTITY]
    if identity and (not others or chance(generator, config.identity)):
        return identity[0]
    return generator.choice(others)


def draw_source(
    space: SearchSpace, config: DrawConfig, *, generator: random.Random, index: int
) -> Source:
    """Draw where an input of the node with this index comes from."""
    others = [hidden for hidden in range(config.hidden_nodes) if hidden != index]
    if not others or chance(generator, config.operand):
        return generator.choice(space.operands)
    return generator.choice(others)


def _draw_sources(
    space: SearchSpace, config: DrawConfig, *, generator: random.Random, index: int, count: int
) -> tuple[Source, ...]:
    """Draw inputs that differ; of the root at least one hidden node, by drawing again.

    So a binary root reads two hidden nodes in 0.04/0.36 of all cases, else one.
    """
    is_root = index == config.hidden_nodes
    if is_root and count == 1:
        return (generator.randrange(config.hidden_nodes),)
    for _ in range(MAX_REDRAWS):
        sources = tuple(
            draw_source(space, config, generator=generator, index=index) for _ in range(count)
        )
        if are_allowed_sources(sources, is_root=is_root):
            return sources
    raise InputError(
        f"{MAX_REDRAWS} pairs of inputs in a row were equal or kept the root from the hidden "
        f"nodes: lower 'operand', now {config.operand}, or allow more operands"
    )


def are_allowed_sources(sources: Sequence[Source], *, is_root: bool) -> bool:
    """Say whether the inputs of a node differ, and the root's hold a hidden node."""
    reads_hidden = any(isinstance(source, int) for source in sources)
    return len(set(sources)) == len(sources) and (reads_hidden or not is_root)


def draw_edge_decay(
    space: SearchSpace, config: DrawConfig, *, generator: random.Random, probability: float
) -> DecayGenome | None:
    """Draw a decay with this probability, where the space has decays."""
    if not space.base_decays or not chance(generator, probability):
        return None
    return draw_decay(space, config, generator=generator)


def draw_decay(space: SearchSpace, config: DrawConfig, *, generator: random.Random) -> DecayGenome:
    """Draw decays until one stays within [0, 1].

    Raises
    ------
    InputError
        If none is found, which the space must be blamed for.
    """
    for _ in range(MAX_REDRAWS):
        decay = DecayGenome(
            hidden=draw_decay_node(space, config, generator=generator, is_root=False),
            root=draw_decay_node(space, config, generator=generator, is_root=True),
        )
        if is_valid_decay(decay):
            return decay
    raise InputError(
        f"{MAX_REDRAWS} decays in a row left [0, 1]: check the base decays and decay functions of "
        "the search space"
    )


def draw_decay_node(
    space: SearchSpace, config: DrawConfig, *, generator: random.Random, is_root: bool
) -> DecayNode:
    """Draw the hidden node or the root of a decay; its inputs differ."""
    arity = 1 if chance(generator, config.decay_node_unary) else 2
    function = draw_decay_function(space, generator, arity=arity)
    first = draw_decay_source(space, config, generator=generator, is_root=is_root)
    if arity == 1:
        return DecayNode(function, (first,))
    if first == DECAY_HIDDEN:
        return DecayNode(function, (first, generator.choice(space.base_decays)))
    second = first
    while second == first:  # ends: a space with decays has at least two base decays
        second = draw_decay_source(space, config, generator=generator, is_root=is_root)
    return DecayNode(function, (first, second))


def draw_decay_function(space: SearchSpace, generator: random.Random, *, arity: int) -> str:
    """Draw a function for a node of a decay, all evenly."""
    return generator.choice(space.decay_unary if arity == 1 else space.decay_binary)


def draw_decay_source(
    space: SearchSpace, config: DrawConfig, *, generator: random.Random, is_root: bool
) -> Source:
    """Draw a base decay, or, for the root only, the hidden node."""
    if is_root and not chance(generator, config.base_decay):
        return DECAY_HIDDEN
    return generator.choice(space.base_decays)


def chance(generator: random.Random, probability: float) -> bool:
    """Return true with this probability."""
    return generator.random() < probability
