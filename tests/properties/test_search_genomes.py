"""What holds for every genome that is drawn, and for every child of one."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from evolute.lang.rule import Rule
from evolute.search.drawing import DrawConfig, draw_genome
from evolute.search.genome import Genome, is_valid_decay
from evolute.search.mutation import MutationConfig, Mutator
from evolute.search.space import SearchSpace

SPACE = SearchSpace.from_registries()

seeds = st.integers(0, 2**32)
drawings = st.builds(
    DrawConfig,
    hidden_nodes=st.integers(1, 6),
    hidden_unary=st.floats(0.3, 1.0),
    root_binary=st.floats(0.0, 1.0),
    operand=st.floats(0.6, 0.9),
    decay=st.floats(0.0, 1.0),
    decay_node_unary=st.floats(0.0, 1.0),
    base_decay=st.floats(0.0, 1.0),
)


def assert_sound(genome: Genome) -> None:
    assert not genome.is_cyclic()
    assert any(isinstance(source, int) for source in genome.nodes[genome.root].sources)
    for index, node in enumerate(genome.nodes):
        assert node.operation in (SPACE.unary if len(node.inputs) == 1 else SPACE.binary)
        assert len(set(node.sources)) == len(node.sources)
        assert index not in node.sources
        for edge in node.inputs:
            assert isinstance(edge.source, int) or edge.source in SPACE.operands
            assert edge.decay is None or is_valid_decay(edge.decay)
    rule = genome.express()
    assert Rule.parse(str(rule)) == rule
    assert Rule.from_json(rule.to_json()) == rule


@settings(max_examples=60)
@given(seeds, drawings)
def test_every_drawn_genome_is_sound(seed: int, drawing: DrawConfig) -> None:
    assert_sound(draw_genome(SPACE, drawing, generator=random.Random(seed)))


@settings(max_examples=40)
@given(seeds, drawings)
def test_every_child_is_sound_and_differs_in_one_active_node_or_the_momentum(
    seed: int, drawing: DrawConfig
) -> None:
    generator = random.Random(seed)
    mutator = Mutator(SPACE, drawing, mutation=MutationConfig(), generator=generator)
    parent = draw_genome(SPACE, drawing, generator=generator)
    for _ in range(8):
        child = mutator.child(parent)
        assert child is not None
        assert_sound(child)
        changed = [
            index
            for index, (old, new) in enumerate(zip(parent.nodes, child.nodes, strict=True))
            if old != new
        ]
        assert len(changed) + (child.momentum != parent.momentum) == 1
        assert set(changed) <= set(parent.active())
        parent = child


@settings(max_examples=30)
@given(seeds)
def test_a_genome_is_a_function_of_its_generator(seed: int) -> None:
    first, second = (
        draw_genome(SPACE, DrawConfig(), generator=random.Random(seed)) for _ in range(2)
    )
    assert first == second
