"""The global generators: seeded for a while, then as they were."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from evolute.seeds.streams import Stream, generator_states, same_states, seeded


def draw() -> tuple[float, float, float]:
    return torch.rand(()).item(), float(np.random.rand()), random.random()


def test_a_seed_decides_all_three_generators_and_leaves_them_as_they_were() -> None:
    with seeded(0):
        expected = draw()
    with seeded(0):
        with seeded(5):
            first = draw()
        assert draw() == expected
    with seeded(5):
        assert draw() == first
    with seeded(6):
        other = draw()
    assert all(x != y for x, y in zip(first, other, strict=True))


def test_the_generators_come_back_when_the_code_inside_raises() -> None:
    with seeded(0):
        expected = draw()
    with seeded(0):
        with pytest.raises(ValueError, match="inside"), seeded(5):
            raise ValueError("inside")
        stream = Stream(5)
        with pytest.raises(ValueError, match="inside"), stream.active():
            raise ValueError("inside")
        assert draw() == expected


def test_a_stream_goes_on_where_it_stopped_whatever_is_drawn_between() -> None:
    with seeded(9):
        expected = [draw() for _ in range(4)]
    stream = Stream(9)
    drawn = []
    for _ in range(2):
        with stream.active():
            drawn += [draw(), draw()]
        draw()
    assert drawn == expected


def test_a_seed_of_63_bits_is_allowed() -> None:
    with seeded(2**63 - 1):
        assert draw()


@pytest.mark.parametrize("seed", [0, 5, 2**32 - 1, 2**32 + 5, 2**63 - 1])
def test_a_stream_begins_where_seeding_the_generators_would(seed: int) -> None:
    outer = generator_states()
    stream = Stream(seed)
    assert same_states(outer, generator_states())
    with stream.active():
        own = generator_states()
    with seeded(seed):
        assert same_states(own, generator_states())


@pytest.mark.parametrize("draws", [lambda: torch.rand(1), np.random.rand, random.random])
def test_one_draw_of_any_generator_is_seen(draws: Callable[[], object]) -> None:
    with seeded(1):
        draw()  # NumPy draws 624 numbers at once: those that follow move its place alone
        before = generator_states()
        assert same_states(before, generator_states())
        draws()
        assert not same_states(before, generator_states())
