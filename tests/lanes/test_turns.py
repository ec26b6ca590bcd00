"""Modules draw in turns, each from its own stream, and what nobody draws from costs little."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import mtrand

from evolute.lanes import turns as module
from evolute.lanes.turns import Turns
from evolute.seeds.streams import States, Stream, generator_states, install, same_states

DRAWS: list[Callable[[], Any]] = [
    lambda: torch.rand(1).item(),
    lambda: torch.randn(1).item(),
    np.random.rand,
    np.random.randn,
    random.random,
    lambda: random.gauss(0, 1),
    lambda: [random.random() for _ in range(312)],  # as many words as the generator has
    lambda: np.random.bytes(4 * 624),
]


@pytest.mark.parametrize("draw", DRAWS)
def test_each_draws_what_it_would_alone_whenever_it_begins(draw: Callable[[], Any]) -> None:
    plans = [[0, 1, 1, 0, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 0, 1]]
    seeds = [5, 5, 5, 5, 6]
    wanted = []
    for plan, seed in zip(plans, seeds, strict=True):
        alone = Stream(seed)
        with alone.active():
            wanted.append([draw() for draws in plan if draws])
    origin = {seed: Stream(seed) for seed in seeds}
    streams = [copy.copy(origin[seed]) for seed in seeds]
    found: list[list[Any]] = [[] for _ in plans]
    before, turns = generator_states(), Turns()
    for step in range(5):
        with turns.over():
            for stream, plan, values in zip(streams, plans, found, strict=True):
                with turns.of(stream):
                    if plan[step]:
                        values.append(draw())
    assert found == wanted
    assert same_states(before, generator_states())


def test_streams_that_nobody_draws_from_are_installed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed: list[States] = []

    def counted(states: States) -> None:
        installed.append(states)
        install(states)

    monkeypatch.setattr(module, "install", counted)
    origin = Stream(0)
    streams = [copy.copy(origin) for _ in range(16)]
    turns = Turns()
    with turns.over():
        for stream in streams:
            with turns.of(stream):
                pass
    assert len(installed) == 2  # of the streams, and of what was there before


def test_another_generator_of_numpy_is_told_from_itself_too() -> None:
    kept = mtrand.get_bit_generator()
    try:
        mtrand.set_bit_generator(np.random.PCG64(3))
        before = module._mark()
        assert module._mark() == before
        np.random.rand()
        assert module._mark() != before
    finally:
        mtrand.set_bit_generator(kept)
