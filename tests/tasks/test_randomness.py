"""The global generators: seeded for a while, then as they were."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from evolute.tasks.randomness import Stream, seeded


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
