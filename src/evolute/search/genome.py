"""Genome: the graph that the search draws and mutates (published method, sections 1 to 4).

A few hidden nodes and a root, each a function of operands or of hidden nodes; any edge may carry a
decay, itself a small graph. Nodes that the root does not reach are *inactive*: they say nothing,
but stay, so that a later change of a connection can bring them back (neutral drift, as in Cartesian
genetic programming; Miller 2000). What a genome expresses is a Rule, all that other rooms know.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from evolute.lang.curve import curve
from evolute.lang.expression import Call, DecayRef, Expression, Scaled, read_operand
from evolute.lang.rule import Momentum, Rule
from evolute.search.space import Operation

CURVE_STEPS = 100
"""T at which decay curves are judged and compared (published method, section 2)."""

DECAY_HIDDEN = 0
"""Index of a decay's one hidden node, as its root names it."""

Source = str | int
"""Where an edge comes from: the name of an operand or base decay, or the index of a hidden node."""


@dataclass(frozen=True, slots=True)
class DecayNode:
    """A function of base decays or of the decay's hidden node."""

    function: str
    inputs: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class DecayGenome:
    """The graph of one decay function: a hidden node, which reads base decays only, and a root."""

    hidden: DecayNode
    root: DecayNode

    @property
    def hidden_active(self) -> bool:
        """Whether the root reads the hidden node."""
        return DECAY_HIDDEN in self.root.inputs

    def express(self) -> Expression:
        """Return the schedule that it stands for."""
        return self._call(self.root)

    def _call(self, node: DecayNode) -> Expression:
        arguments = tuple(
            DecayRef(source) if isinstance(source, str) else self._call(self.hidden)
            for source in node.inputs
        )
        return Call(node.function, arguments)


@dataclass(frozen=True, slots=True)
class Edge:
    """One input of a node, and the decay that it carries."""

    source: Source
    decay: DecayGenome | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A function with its parameters, applied to one or two inputs."""

    operation: Operation
    inputs: tuple[Edge, ...]

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where its inputs come from."""
        return tuple(edge.source for edge in self.inputs)


@dataclass(frozen=True, slots=True)
class Genome:
    """A candidate as the search sees it.

    Parameters
    ----------
    nodes
        The hidden nodes, then the root.
    momentum
        How the update is applied.
    """

    nodes: tuple[Node, ...]
    momentum: Momentum

    @property
    def root(self) -> int:
        """Index of the root, which is also the number of hidden nodes."""
        return len(self.nodes) - 1

    def active(self) -> tuple[int, ...]:
        """Return the indices of the nodes that the root reaches, its own included, ascending."""
        reached, stack = {self.root}, [self.root]
        while stack:
            for source in self.nodes[stack.pop()].sources:
                if isinstance(source, int) and source not in reached:
                    reached.add(source)
                    stack.append(source)
        return tuple(sorted(reached))

    def is_cyclic(self) -> bool:
        """Say whether some node, active or not, reads itself through others."""
        settled: set[int] = set()
        while True:
            free = {
                index
                for index, node in enumerate(self.nodes)
                if index not in settled
                and all(isinstance(source, str) or source in settled for source in node.sources)
            }
            if not free:
                return len(settled) < len(self.nodes)
            settled |= free

    def express(self) -> Rule:
        """Return the rule that an acyclic genome stands for."""
        return Rule(self._call(self.root), self.momentum)

    def _call(self, index: int) -> Expression:
        node = self.nodes[index]
        arguments = tuple(self._value(edge) for edge in node.inputs)
        return Call(node.operation.function, arguments, node.operation.parameters)

    def _value(self, edge: Edge) -> Expression:
        if isinstance(edge.source, int):
            value = self._call(edge.source)
        else:
            value = read_operand(edge.source)
        return value if edge.decay is None else Scaled(edge.decay.express(), value)


# A search meets the same few thousand decays again and again, and a curve costs about 50 µs.
@lru_cache(maxsize=8192)
def decay_curve(decay: DecayGenome) -> tuple[float, ...]:
    """Return the values of a decay at t = 0 … T−1, T = 100."""
    return tuple(curve(decay.express(), CURVE_STEPS).tolist())


def is_valid_decay(decay: DecayGenome) -> bool:
    """Say whether all values for T = 100 lie in [0, 1] (published method, section 2)."""
    return all(0.0 <= value <= 1.0 for value in decay_curve(decay))
