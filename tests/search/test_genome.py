"""What a genome says, and which of its nodes say it."""

from __future__ import annotations

import pytest

from evolute.lang.rule import Momentum
from evolute.search.genome import (
    DecayGenome,
    DecayNode,
    Edge,
    Genome,
    Node,
    decay_curve,
    is_valid_decay,
)
from evolute.search.space import Operation

DECAY = DecayGenome(DecayNode("mul", ("a13", "a2")), DecayNode("tanh", (0,)))


def node(function: str, *inputs: str | int | Edge, parameters: tuple[float, ...] = ()) -> Node:
    edges = tuple(each if isinstance(each, Edge) else Edge(each) for each in inputs)
    return Node(Operation(function, parameters), edges)


def genome(*nodes: Node, momentum: Momentum = Momentum.NONE) -> Genome:
    return Genome(nodes, momentum)


def test_a_genome_says_what_its_root_reads() -> None:
    drawn = genome(
        node("sqrt", "s"),
        node("div", "v", 0),
        node("ema", Edge(1, DECAY), parameters=(0.95,)),
        momentum=Momentum.NESTEROV,
    )
    assert str(drawn.express()) == "nesterov: ema([tanh(a13*a2)]*(v/sqrt(s)), 0.95)"


def test_operands_1_and_2_are_constants() -> None:
    assert str(genome(node("add", "1", "2"), node("mul", "g", 0)).express()) == "none: g*(1+2)"


def test_nodes_that_the_root_does_not_reach_are_inactive_and_say_nothing() -> None:
    drawn = genome(node("exp", "g"), node("tanh", "v"), node("add", 1, "g"))
    assert drawn.active() == (1, 2)
    assert str(drawn.express()) == "none: tanh(v)+g"


def test_a_hidden_node_that_is_read_twice_is_active_once() -> None:
    drawn = genome(node("tanh", "g"), node("exp", 0), node("add", 0, 1))
    assert drawn.active() == (0, 1, 2)
    assert str(drawn.express()) == "none: tanh(g)+exp(tanh(g))"


@pytest.mark.parametrize(
    ("first", "second", "cyclic"),
    [
        (node("exp", "g"), node("exp", 0), False),
        (node("exp", 1), node("exp", "g"), False),
        (node("exp", 1), node("exp", 0), True),
        (node("add", "g", 0), node("exp", "g"), True),
    ],
)
def test_a_graph_is_cyclic_when_a_node_reads_itself_through_others(
    first: Node, second: Node, cyclic: bool
) -> None:
    assert genome(first, second, node("neg", 1)).is_cyclic() is cyclic


def test_a_cycle_among_inactive_nodes_counts() -> None:
    assert genome(node("exp", 1), node("exp", 0), node("tanh", "g"), node("neg", 2)).is_cyclic()


def test_the_hidden_node_of_a_decay_counts_only_if_its_root_reads_it() -> None:
    idle = DecayGenome(DecayNode("sub", ("a1", "a2")), DecayNode("identity", ("a3",)))
    assert not idle.hidden_active
    assert DECAY.hidden_active
    assert decay_curve(idle) == pytest.approx(
        decay_curve(DecayGenome(DECAY.hidden, idle.root)), abs=0
    )


@pytest.mark.parametrize(
    ("root", "valid"),
    [
        (DecayNode("add", ("a1", "a2")), True),
        (DecayNode("add", ("a1", "a3")), False),
        (DecayNode("sub", ("a2", "a1")), False),
        (DecayNode("div", ("a3", "a6")), False),
        (DecayNode("erfc", ("a11",)), True),
    ],
)
def test_a_decay_is_valid_when_all_its_values_lie_within_0_and_1(
    root: DecayNode, valid: bool
) -> None:
    assert is_valid_decay(DecayGenome(DECAY.hidden, root)) is valid


def test_a_decay_that_is_not_a_number_is_invalid() -> None:
    # 0/0 cannot come from the published rows: ε stands in the denominator; a user's own may.
    assert not is_valid_decay(
        DecayGenome(DecayNode("sub", ("a1", "a1")), DecayNode("quotient", (0, 0)))
    )
