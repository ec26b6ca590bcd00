"""Mutation follows the probabilities of the published method, section 4."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from pydantic import ValidationError
from search.statistics import assert_even, assert_share
from torch import Tensor

from evolute.lang.curve import curve
from evolute.lang.functions import function
from evolute.lang.registry import FUNCTIONS
from evolute.lang.rule import Momentum
from evolute.search.drawing import DrawConfig
from evolute.search.genome import DECAY_HIDDEN, DecayGenome, DecayNode, Edge, Genome, Node
from evolute.search.mutation import MutationConfig, Mutator
from evolute.search.space import Operation, SearchSpace

SPACE = SearchSpace.from_registries()
PUBLISHED = MutationConfig()

DECAY = DecayGenome(DecayNode("identity", ("a1",)), DecayNode("square", ("a3",)))
TWO_LEVELS = DecayGenome(DecayNode("identity", ("a1",)), DecayNode("square", (DECAY_HIDDEN,)))
HARMLESS = SearchSpace.from_registries(decay_functions=("identity", "square", "sqrt", "mul", "max"))

# One hidden node cannot be part of a cycle, so no child is drawn again for that reason.
SMALL = Genome(
    (
        Node(Operation("add"), (Edge("v"), Edge("g"))),
        Node(Operation("mul"), (Edge("s"), Edge(0))),
    ),
    Momentum.NONE,
)
DECAYED = replace(
    SMALL,
    nodes=tuple(
        replace(node, inputs=tuple(replace(edge, decay=DECAY) for edge in node.inputs))
        for node in SMALL.nodes
    ),
)


def only(**weights: float) -> MutationConfig:
    """The published configuration with all kinds of mutation switched off but these."""
    kinds = ("function", "connection", "arity", "momentum", "decay")
    return replace(PUBLISHED, **{**dict.fromkeys(kinds, 0.0), **weights})


def children(
    parent: Genome,
    count: int = 2500,
    *,
    config: MutationConfig = PUBLISHED,
    space: SearchSpace = SPACE,
) -> Iterator[Genome]:
    drawing = DrawConfig(hidden_nodes=len(parent.nodes) - 1)
    mutator = Mutator(space, drawing, mutation=config, generator=random.Random(0))
    for _ in range(count):
        child = mutator.child(parent)
        assert child is not None
        yield child


def decay_mutants(
    decay: DecayGenome, count: int = 2500, *, config: MutationConfig = PUBLISHED
) -> Iterator[DecayGenome]:
    mutator = Mutator(HARMLESS, DrawConfig(), mutation=config, generator=random.Random(0))
    for _ in range(count):
        mutant = mutator.mutant_decay(decay)
        assert mutant is not None
        yield mutant


def changed(parent: Genome, child: Genome) -> int | None:
    """The index of the node that differs, None where only the momentum type does."""
    pairs = enumerate(zip(parent.nodes, child.nodes, strict=True))
    indices = [index for index, (old, new) in pairs if old != new]
    assert len(indices) + (parent.momentum != child.momentum) == 1
    return indices[0] if indices else None


def kind_of(parent: Genome, child: Genome) -> str:
    index = changed(parent, child)
    if index is None:
        return "momentum"
    old, new = parent.nodes[index], child.nodes[index]
    if len(old.inputs) != len(new.inputs):
        return "arity"
    if old.operation != new.operation:
        return "function"
    return "connection" if old.sources != new.sources else "decay"


@pytest.mark.parametrize("parent", [SMALL, DECAYED], ids=["bare", "decayed"])
def test_kinds_of_mutation_come_in_the_published_shares(parent: Genome) -> None:
    kinds = [kind_of(parent, child) for child in children(parent)]
    shares = {"function": 0.4, "connection": 0.3, "arity": 0.1, "momentum": 0.1, "decay": 0.1}
    for kind, share in shares.items():
        assert_share((each == kind for each in kinds), share)


def test_active_nodes_are_picked_evenly_and_inactive_ones_never() -> None:
    parent = Genome(
        (
            Node(Operation("exp"), (Edge(3),)),
            Node(Operation("exp"), (Edge("v"),)),
            Node(Operation("exp"), (Edge(1),)),
            Node(Operation("exp"), (Edge("g"),)),
            Node(Operation("mul"), (Edge(2), Edge("g"))),
        ),
        Momentum.NONE,
    )
    picked = [changed(parent, child) for child in children(parent, config=only(function=1))]
    assert_even(picked, (1, 2, 4))


def test_a_function_mutation_keeps_the_arity_and_changes_the_function() -> None:
    for child in children(SMALL, 300, config=only(function=1)):
        index = changed(SMALL, child)
        assert index is not None
        old, new = SMALL.nodes[index], child.nodes[index]
        assert new.inputs == old.inputs
        assert new.operation in set(SPACE.binary) - {old.operation}


def test_a_function_mutation_may_change_the_parameters_alone() -> None:
    dropout = Node(Operation("dropout", (0.5,)), (Edge("g"),))
    parent = Genome((dropout, Node(Operation("mul"), (Edge(0), Edge("g")))), Momentum.NONE)
    found = {child.nodes[0].operation for child in children(parent, config=only(function=1))}
    assert Operation("dropout", (0.3,)) in found


def test_one_connection_mutation_of_five_of_a_binary_node_swaps_its_inputs() -> None:
    config = only(connection=1)

    def swapped(child: Genome) -> bool:
        index = changed(SMALL, child)
        assert index is not None
        return child.nodes[index].sources == SMALL.nodes[index].sources[::-1]

    assert_share((swapped(child) for child in children(SMALL, config=config)), 0.20)


def test_a_swap_takes_the_decays_along() -> None:
    first = Edge("v", DECAY)
    hidden = replace(SMALL.nodes[0], inputs=(first, Edge("g")))
    parent = replace(SMALL, nodes=(hidden, SMALL.nodes[1]))
    config = replace(only(connection=1), swap=1.0)
    drawn = {child.nodes[0].inputs for child in children(parent, 20, config=config)}
    assert drawn == {(first, Edge("g")), (Edge("g"), first)}


def test_a_connection_mutation_changes_one_source_and_keeps_the_decay() -> None:
    for child in children(DECAYED, 300, config=replace(only(connection=1), swap=0.0)):
        index = changed(DECAYED, child)
        assert index is not None
        old, new = DECAYED.nodes[index].inputs, child.nodes[index].inputs
        assert sum(a.source != b.source for a, b in zip(old, new, strict=True)) == 1
        assert all(edge.decay == DECAY for edge in new)


def test_an_arity_mutation_adds_or_drops_one_input() -> None:
    unary = replace(SMALL, nodes=(Node(Operation("exp"), (Edge("v", DECAY),)), SMALL.nodes[1]))
    for child in children(unary, 200, config=only(arity=1)):
        if changed(unary, child) == 0:
            assert Edge("v", DECAY) in child.nodes[0].inputs
            assert len(child.nodes[0].inputs) == 2
            assert child.nodes[0].operation in SPACE.binary
    dropped = {child.nodes[0].sources for child in children(SMALL, 200, config=only(arity=1))}
    assert dropped == {("v", "g"), ("v",), ("g",)}


def test_the_root_goes_on_reading_a_hidden_node() -> None:
    for child in children(SMALL, 1000):
        assert 0 in child.nodes[child.root].sources


def test_a_momentum_mutation_takes_another_type_evenly() -> None:
    drawn = [child.momentum for child in children(SMALL, config=only(momentum=1))]
    assert_even(drawn, (Momentum.MOMENTUM, Momentum.NESTEROV))


def test_a_space_of_one_momentum_type_mutates_in_other_ways() -> None:
    space = SearchSpace.from_registries(momentum_types=("none",))
    kinds = {kind_of(SMALL, child) for child in children(SMALL, 300, space=space)}
    assert kinds == {"function", "connection", "arity", "decay"}


def test_a_space_without_decays_mutates_in_other_ways() -> None:
    space = SearchSpace.from_registries(base_decays=())
    kinds = {kind_of(SMALL, child) for child in children(SMALL, 300, space=space)}
    assert kinds == {"function", "connection", "arity", "momentum"}


def test_a_parent_that_cannot_change_has_no_child() -> None:
    space = SearchSpace.from_registries(momentum_types=("none",))
    mutator = Mutator(space, DrawConfig(), mutation=only(momentum=1), generator=random.Random(0))
    assert mutator.child(SMALL) is None


def test_a_decay_mutation_adds_a_decay_to_an_edge_without_one() -> None:
    for child in children(SMALL, 200, config=only(decay=1)):
        edges = [edge for node in child.nodes for edge in node.inputs]
        assert sum(edge.decay is not None for edge in edges) == 1


def test_half_the_decay_mutations_of_an_edge_with_one_delete_it() -> None:
    def deletes(child: Genome) -> bool:
        return any(edge.decay is None for node in child.nodes for edge in node.inputs)

    drawn = children(DECAYED, config=only(decay=1), space=HARMLESS)
    assert_share((deletes(child) for child in drawn), 0.5)


def decay_kind(old: DecayNode, new: DecayNode) -> str:
    if len(old.inputs) != len(new.inputs):
        return "arity"
    return "function" if old.function != new.function else "connection"


@pytest.mark.parametrize(
    ("kind", "share"), [("function", 0.6), ("connection", 0.25), ("arity", 0.15)]
)
def test_kinds_of_decay_mutation_come_in_the_published_shares(kind: str, share: float) -> None:
    kinds = [decay_kind(DECAY.root, mutant.root) for mutant in decay_mutants(DECAY)]
    assert_share((each == kind for each in kinds), share)


def test_the_root_and_the_active_hidden_node_of_a_decay_mutate_evenly() -> None:
    config = replace(PUBLISHED, decay_connection=0.0, decay_arity=0.0)
    mutants = decay_mutants(TWO_LEVELS, config=config)
    assert_share((mutant.root != TWO_LEVELS.root for mutant in mutants), 0.5)


def test_an_inactive_hidden_node_of_a_decay_never_mutates() -> None:
    assert all(mutant.hidden == DECAY.hidden for mutant in decay_mutants(DECAY, 500))


def test_a_mutant_decay_is_valid_and_another_curve() -> None:
    mutator = Mutator(SPACE, DrawConfig(), mutation=PUBLISHED, generator=random.Random(0))
    decay, old = DECAY, curve(DECAY.express(), 100)
    for _ in range(300):
        mutant = mutator.mutant_decay(decay)
        assert mutant is not None
        new = curve(mutant.express(), 100)
        assert float(new.min()) >= 0
        assert float(new.max()) <= 1
        assert math.dist(old.tolist(), new.tolist()) > 1e-4
        decay, old = mutant, new


def test_a_mutant_decay_of_the_same_curve_is_drawn_again() -> None:
    # All base decays are positive, so |a| is a to the bit.
    space = SearchSpace.from_registries(decay_functions=("identity", "abs", "square", "mul"))
    config = replace(PUBLISHED, decay_connection=0.0, decay_arity=0.0)
    mutator = Mutator(space, DrawConfig(), mutation=config, generator=random.Random(0))
    plain = DecayGenome(DECAY.hidden, DecayNode("identity", ("a3",)))
    found = [mutator.mutant_decay(plain) for _ in range(50)]
    assert {mutant and mutant.root.function for mutant in found} == {"square"}


def test_a_mutant_decay_within_the_published_distance_is_drawn_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FUNCTIONS, "_rows", {**FUNCTIONS})  # other tests read the table too

    # The L2 norm of a3 is 6.1, so these are 6e-5 and 1.2e-4 away from it; the limit is 1e-4.
    @function(latex="n({0})", searched=())
    def near(x: Tensor) -> Tensor:
        return (1 - 1e-5) * x

    @function(latex="f({0})", searched=())
    def far(x: Tensor) -> Tensor:
        return (1 - 2e-5) * x

    assert {"near", "far"} <= set(FUNCTIONS)
    space = SearchSpace.from_registries(decay_functions=("identity", "near", "far", "mul"))
    config = replace(PUBLISHED, decay_connection=0.0, decay_arity=0.0)
    mutator = Mutator(space, DrawConfig(), mutation=config, generator=random.Random(0))
    plain = DecayGenome(DECAY.hidden, DecayNode("identity", ("a3",)))
    found = [mutator.mutant_decay(plain) for _ in range(50)]
    assert {mutant and mutant.root.function for mutant in found} == {"far"}


def test_weights_that_are_all_zero_are_refused() -> None:
    with pytest.raises(ValidationError, match="weight 0"):
        only()
    with pytest.raises(ValidationError, match="weight 0"):
        MutationConfig(decay_function=0, decay_connection=0, decay_arity=0)
