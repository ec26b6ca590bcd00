"""Mutation: the one change that makes a child of a candidate (published method, section 4)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Annotated, TypeVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from evolute.search.drawing import (
    DrawConfig,
    Probability,
    are_allowed_sources,
    chance,
    draw_decay,
    draw_decay_function,
    draw_decay_source,
    draw_operation,
    draw_source,
)
from evolute.search.genome import (
    DecayGenome,
    DecayNode,
    Edge,
    Genome,
    Node,
    Source,
    decay_curve,
    is_valid_decay,
)
from evolute.search.space import Operation, SearchSpace

SAME_CURVE_DISTANCE = 1e-4
"""L2 distance over the 100 points up to which a mutant decay counts as unchanged."""

MAX_TRIES = 100
"""Draws of one change before it is taken to be impossible for this candidate and space."""

Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]

ThingT = TypeVar("ThingT")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MutationConfig:
    """Weights and probabilities of section 4; the defaults are the published ones.

    Parameters
    ----------
    function, connection, arity, momentum, decay
        Weights of the five kinds of mutation of a candidate.
    swap
        Chance that a connection mutation of a binary node swaps its inputs instead.
    remove_decay
        Chance that the decay of an edge that has one is deleted rather than mutated.
    decay_function, decay_connection, decay_arity
        Weights of the three kinds of mutation of a decay.
    decay_root
        Chance that its root is mutated rather than its hidden node, where that is active.
    """

    function: Weight = 0.40
    connection: Weight = 0.30
    arity: Weight = 0.10
    momentum: Weight = 0.10
    decay: Weight = 0.10
    swap: Probability = 0.20
    remove_decay: Probability = 0.50
    decay_function: Weight = 0.60
    decay_connection: Weight = 0.25
    decay_arity: Weight = 0.15
    decay_root: Probability = 0.50

    def __post_init__(self) -> None:
        if not self.function + self.connection + self.arity + self.momentum + self.decay > 0:
            raise ValueError("all kinds of mutation have weight 0: give one of them a weight")
        if not self.decay_function + self.decay_connection + self.decay_arity > 0:
            raise ValueError("all kinds of decay mutation have weight 0: give one a weight")


class Mutator:
    """Draws children of a genome: a space, two configurations and a generator together."""

    def __init__(
        self,
        space: SearchSpace,
        drawing: DrawConfig,
        *,
        mutation: MutationConfig,
        generator: random.Random,
    ) -> None:
        self._space = space
        self._drawing = drawing
        self._config = mutation
        self._generator = generator

    def child(self, genome: Genome) -> Genome | None:
        """Return a child that differs in one thing and is acyclic.

        A cyclic child is drawn again, node and kind included; so is a kind of change that the node
        does not allow. None if no child was found in a great many draws.
        """
        return _until_found(lambda: self._change(genome))

    def _change(self, genome: Genome) -> Genome | None:
        """Draw a node and a kind of change; None where it is not possible or makes a cycle."""
        index = self._generator.choice(genome.active())
        config = self._config
        kinds: dict[Callable[[Genome, int], Genome | None], float] = {
            self._change_function: config.function,
            self._change_connection: config.connection,
            self._change_arity: config.arity,
            self._change_momentum: config.momentum,
            self._change_decay: config.decay,
        }
        child = self._weighted(kinds)(genome, index)
        return None if child is None or child.is_cyclic() else child

    def _change_function(self, genome: Genome, index: int) -> Genome | None:
        node = genome.nodes[index]
        operation = _another(lambda: self._draw_operation(len(node.inputs)), (node.operation,))
        if operation is None:
            return None
        return _with_node(genome, index, replace(node, operation=operation))

    def _change_connection(self, genome: Genome, index: int) -> Genome | None:
        inputs = genome.nodes[index].inputs
        if len(inputs) == 2 and chance(self._generator, self._config.swap):
            return self._with_inputs(genome, index, inputs[::-1])
        # Another input is tried where none other is possible: a root's only hidden node of all.
        return _until_found(
            lambda: self._reconnected(genome, index, self._generator.randrange(len(inputs)))
        )

    def _reconnected(self, genome: Genome, index: int, place: int) -> Genome | None:
        """Draw sources for one input until one is another and allowed; its decay stays."""
        inputs = genome.nodes[index].inputs

        def draw() -> Genome | None:
            edge = replace(inputs[place], source=self._draw_source(index))
            changed = _put(inputs, place, edge)
            return None if changed == inputs else self._with_inputs(genome, index, changed)

        return _until_found(draw)

    def _change_arity(self, genome: Genome, index: int) -> Genome | None:
        return _until_found(lambda: self._with_other_arity(genome, index))

    def _with_other_arity(self, genome: Genome, index: int) -> Genome | None:
        """Add an input without a decay at a random place, or drop one; the function is drawn."""
        inputs = genome.nodes[index].inputs
        if len(inputs) == 2:
            inputs = (self._generator.choice(inputs),)
        else:
            added = (*inputs, Edge(self._draw_source(index)))
            inputs = added if chance(self._generator, 0.5) else added[::-1]
        node = replace(genome.nodes[index], operation=self._draw_operation(len(inputs)))
        return self._with_inputs(_with_node(genome, index, node), index, inputs)

    def _change_momentum(self, genome: Genome, _index: int) -> Genome | None:
        others = [each for each in self._space.momentum_types if each is not genome.momentum]
        return replace(genome, momentum=self._generator.choice(others)) if others else None

    def _change_decay(self, genome: Genome, index: int) -> Genome | None:
        """Add a decay to one edge of the node, or delete or mutate the one it has."""
        if not self._space.base_decays:
            return None
        inputs = genome.nodes[index].inputs
        place = self._generator.randrange(len(inputs))
        old = inputs[place].decay
        decay: DecayGenome | None
        if old is None:
            decay = draw_decay(self._space, self._drawing, generator=self._generator)
        elif chance(self._generator, self._config.remove_decay):
            decay = None
        else:
            decay = self.mutant_decay(old)
            if decay is None:
                return None
        changed = replace(inputs[place], decay=decay)
        return self._with_inputs(genome, index, _put(inputs, place, changed))

    def mutant_decay(self, decay: DecayGenome) -> DecayGenome | None:
        """Return a mutant that stays within [0, 1] and is another curve; None if none was found."""
        return _until_found(lambda: self._changed_decay(decay))

    def _changed_decay(self, decay: DecayGenome) -> DecayGenome | None:
        config = self._config
        is_root = not decay.hidden_active or chance(self._generator, config.decay_root)
        kinds: dict[Callable[[DecayNode, bool], DecayNode | None], float] = {
            self._change_decay_function: config.decay_function,
            self._change_decay_connection: config.decay_connection,
            self._change_decay_arity: config.decay_arity,
        }
        node = self._weighted(kinds)(decay.root if is_root else decay.hidden, is_root)
        if node is None:
            return None
        mutant = replace(decay, root=node) if is_root else replace(decay, hidden=node)
        if not is_valid_decay(mutant):
            return None
        distance = math.dist(decay_curve(mutant), decay_curve(decay))
        return mutant if distance > SAME_CURVE_DISTANCE else None

    def _change_decay_function(self, node: DecayNode, _is_root: bool) -> DecayNode | None:
        function = _another(lambda: self._draw_decay_function(len(node.inputs)), (node.function,))
        return None if function is None else replace(node, function=function)

    def _change_decay_connection(self, node: DecayNode, is_root: bool) -> DecayNode | None:
        place = self._generator.randrange(len(node.inputs))
        source = self._draw_new_decay_source(node, is_root=is_root)
        return None if source is None else replace(node, inputs=_put(node.inputs, place, source))

    def _change_decay_arity(self, node: DecayNode, is_root: bool) -> DecayNode | None:
        """Add an input at a random place, or drop one; the function is drawn."""
        if len(node.inputs) == 2:
            kept = self._generator.choice(node.inputs)
            return DecayNode(self._draw_decay_function(1), (kept,))
        source = self._draw_new_decay_source(node, is_root=is_root)
        if source is None:
            return None
        inputs = (*node.inputs, source)
        return DecayNode(
            self._draw_decay_function(2),
            inputs if chance(self._generator, 0.5) else inputs[::-1],
        )

    def _draw_operation(self, arity: int) -> Operation:
        return draw_operation(self._space, self._drawing, generator=self._generator, arity=arity)

    def _draw_source(self, index: int) -> Source:
        return draw_source(self._space, self._drawing, generator=self._generator, index=index)

    def _draw_decay_function(self, arity: int) -> str:
        return draw_decay_function(self._space, self._generator, arity=arity)

    def _draw_new_decay_source(self, node: DecayNode, *, is_root: bool) -> Source | None:
        """Draw a source that the node does not read yet."""

        def draw() -> Source:
            return draw_decay_source(
                self._space, self._drawing, generator=self._generator, is_root=is_root
            )

        return _another(draw, node.inputs)

    def _with_inputs(self, genome: Genome, index: int, inputs: tuple[Edge, ...]) -> Genome | None:
        """Return the genome with these inputs of a node; None where they are not allowed."""
        node = replace(genome.nodes[index], inputs=inputs)
        if not are_allowed_sources(node.sources, is_root=index == genome.root):
            return None
        return _with_node(genome, index, node)

    def _weighted(self, kinds: dict[ThingT, float]) -> ThingT:
        return self._generator.choices(list(kinds), weights=list(kinds.values()))[0]


def _until_found(draw: Callable[[], ThingT | None]) -> ThingT | None:
    """Draw until something comes out; None where a change is next to impossible."""
    return next((found for _ in range(MAX_TRIES) if (found := draw()) is not None), None)


def _another(draw: Callable[[], ThingT], known: Collection[ThingT]) -> ThingT | None:
    """Draw until something comes out that is not known yet."""

    def draw_other() -> ThingT | None:
        new = draw()
        return None if new in known else new

    return _until_found(draw_other)


def _with_node(genome: Genome, index: int, node: Node) -> Genome:
    return replace(genome, nodes=_put(genome.nodes, index, node))


def _put(things: tuple[ThingT, ...], place: int, thing: ThingT) -> tuple[ThingT, ...]:
    return (*things[:place], thing, *things[place + 1 :])
