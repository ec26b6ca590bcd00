"""Drawing follows the probabilities of the published method, section 3."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from search.statistics import assert_even, assert_share

from evolute.errors import InputError
from evolute.lang.curve import curve
from evolute.search.drawing import (
    DrawConfig,
    draw_decay,
    draw_decay_node,
    draw_genome,
    draw_node,
)
from evolute.search.genome import DECAY_HIDDEN, Genome, Node
from evolute.search.space import SearchSpace

SPACE = SearchSpace.from_registries()
CONFIG = DrawConfig()
ALWAYS_VALID = SearchSpace.from_registries(decay_functions=("identity", "square", "mul", "max"))


@pytest.fixture(scope="module")
def hidden() -> list[Node]:
    generator = random.Random(1)
    return [draw_node(SPACE, CONFIG, generator=generator, index=2) for _ in range(12_000)]


@pytest.fixture(scope="module")
def genomes() -> list[Genome]:
    generator = random.Random(2)
    return [draw_genome(SPACE, CONFIG, generator=generator) for _ in range(2500)]


def unary(nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if len(node.inputs) == 1]


def binary(nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if len(node.inputs) == 2]


def roots(genomes: list[Genome]) -> list[Node]:
    return [genome.nodes[genome.root] for genome in genomes]


def test_a_candidate_has_five_hidden_nodes_and_a_root(genomes: list[Genome]) -> None:
    assert {len(genome.nodes) for genome in genomes} == {6}


def test_three_hidden_nodes_of_four_are_unary(hidden: list[Node]) -> None:
    assert_share((len(node.inputs) == 1 for node in hidden), 0.75)


def test_three_roots_of_four_are_binary(genomes: list[Genome]) -> None:
    assert_share((len(root.inputs) == 2 for root in roots(genomes)), 0.75)


def test_one_unary_function_of_five_is_the_identity(hidden: list[Node]) -> None:
    assert_share((node.operation.function == "identity" for node in unary(hidden)), 0.20)


def test_the_other_unary_functions_are_drawn_evenly(hidden: list[Node]) -> None:
    others = [choice for choice in SPACE.unary if choice.function != "identity"]
    assert len(others) == 25
    drawn = [node.operation for node in unary(hidden) if node.operation.function != "identity"]
    assert_even(drawn, others)


def test_binary_functions_are_drawn_evenly(hidden: list[Node]) -> None:
    assert_even((node.operation for node in binary(hidden)), SPACE.binary)


def test_four_inputs_of_five_are_operands(hidden: list[Node]) -> None:
    assert_share((isinstance(node.sources[0], str) for node in unary(hidden)), 0.80)


def test_operands_and_other_hidden_nodes_are_drawn_evenly(hidden: list[Node]) -> None:
    sources = [node.sources[0] for node in unary(hidden)]
    assert_even((each for each in sources if isinstance(each, str)), SPACE.operands)
    assert_even((each for each in sources if isinstance(each, int)), (0, 1, 3, 4))


def test_the_inputs_of_a_binary_node_differ(hidden: list[Node], genomes: list[Genome]) -> None:
    for node in binary(hidden) + binary(roots(genomes)):
        assert node.sources[0] != node.sources[1]


def test_the_root_reads_a_hidden_node(genomes: list[Genome]) -> None:
    for root in roots(genomes):
        assert any(isinstance(source, int) for source in root.sources)


def test_a_binary_root_reads_two_hidden_nodes_as_often_as_its_inputs_say(
    genomes: list[Genome],
) -> None:
    two, one = 0.2 * 0.2 * 4 / 5, 2 * 0.8 * 0.2
    both = (
        all(isinstance(source, int) for source in root.sources) for root in binary(roots(genomes))
    )
    assert_share(both, two / (two + one))


def test_an_edge_carries_a_decay_with_0_15(hidden: list[Node], genomes: list[Genome]) -> None:
    nodes = hidden + binary(roots(genomes))
    assert_share((edge.decay is not None for node in nodes for edge in node.inputs), 0.15)


def test_the_edge_of_a_unary_root_carries_a_decay_with_0_85() -> None:
    generator = random.Random(3)
    config = replace(CONFIG, root_binary=0.0)
    drawn = [draw_node(SPACE, config, generator=generator, index=5) for _ in range(2000)]
    assert_share((root.inputs[0].decay is not None for root in drawn), 0.85)


def test_momentum_types_are_drawn_evenly(genomes: list[Genome]) -> None:
    assert_even((genome.momentum for genome in genomes), SPACE.momentum_types)


def test_no_candidate_is_cyclic_though_some_draws_are(genomes: list[Genome]) -> None:
    assert not any(genome.is_cyclic() for genome in genomes)
    generator = random.Random(4)
    raw = [
        Genome(
            tuple(draw_node(SPACE, CONFIG, generator=generator, index=index) for index in range(6)),
            SPACE.momentum_types[0],
        )
        for _ in range(200)
    ]
    assert any(genome.is_cyclic() for genome in raw)


def test_four_decay_nodes_of_five_are_unary() -> None:
    generator = random.Random(5)
    decays = [draw_decay(ALWAYS_VALID, CONFIG, generator=generator) for _ in range(2000)]
    assert_share((len(decay.root.inputs) == 1 for decay in decays), 0.80)
    assert_share((len(decay.hidden.inputs) == 1 for decay in decays), 0.80)


def test_one_input_of_five_of_a_decay_root_is_its_hidden_node() -> None:
    generator = random.Random(6)
    nodes = [draw_decay_node(SPACE, CONFIG, generator=generator, is_root=True) for _ in range(4000)]
    assert_share((node.inputs[0] == DECAY_HIDDEN for node in nodes if len(node.inputs) == 1), 0.2)


def test_the_hidden_node_of_a_decay_reads_base_decays_evenly() -> None:
    generator = random.Random(7)
    nodes = [
        draw_decay_node(SPACE, CONFIG, generator=generator, is_root=False) for _ in range(4000)
    ]
    assert_even((node.inputs[0] for node in nodes), SPACE.base_decays)
    functions = [node.function for node in nodes if len(node.inputs) == 1]
    assert_even(functions, SPACE.decay_unary)
    assert all(len(set(node.inputs)) == len(node.inputs) for node in nodes)


def test_every_decay_stays_within_0_and_1_though_some_draws_leave() -> None:
    space = SearchSpace.from_registries(decay_functions=("identity", "add", "sub", "div"))
    generator = random.Random(8)
    config = replace(CONFIG, decay_node_unary=0.1)
    for _ in range(200):
        values = curve(draw_decay(space, config, generator=generator).express(), 100)
        assert bool(((values >= 0) & (values <= 1)).all())
    raw = [draw_decay_node(space, config, generator=generator, is_root=False) for _ in range(100)]
    assert any(node.function == "sub" for node in raw)


def test_a_space_whose_decays_all_leave_0_and_1_is_refused() -> None:
    space = SearchSpace.from_registries(base_decays=("a1", "a3"), decay_functions=("exp", "add"))
    with pytest.raises(InputError, match=r"left \[0, 1\]"):
        draw_decay(space, CONFIG, generator=random.Random(0))


def test_a_space_without_base_decays_draws_no_decays() -> None:
    space = SearchSpace.from_registries(base_decays=())
    generator = random.Random(9)
    for _ in range(200):
        genome = draw_genome(space, CONFIG, generator=generator)
        assert all(edge.decay is None for node in genome.nodes for edge in node.inputs)


def test_a_root_that_can_never_read_a_hidden_node_is_refused() -> None:
    config = replace(CONFIG, operand=1.0, root_binary=1.0)
    with pytest.raises(InputError, match="lower 'operand'"):
        draw_node(SPACE, config, generator=random.Random(0), index=5)


def test_graphs_that_are_always_cyclic_are_refused() -> None:
    config = replace(CONFIG, operand=0.0)
    space = SearchSpace.from_registries(base_decays=())
    with pytest.raises(InputError, match="cyclic"):
        draw_genome(space, config, generator=random.Random(0))


def test_a_decay_can_be_drawn_whose_root_always_reads_its_hidden_node() -> None:
    config = replace(CONFIG, base_decay=0.0, decay_node_unary=0.0)
    node = draw_decay_node(SPACE, config, generator=random.Random(0), is_root=True)
    assert node.inputs[0] == DECAY_HIDDEN
    assert node.inputs[1] in SPACE.base_decays
