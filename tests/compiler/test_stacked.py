"""Stacked programs: each row is what its program gives alone, call for call."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import decays, rules
from torch import Tensor

from evolute.compiler.execute import execute, uniform_noise
from evolute.compiler.program import compile_rule
from evolute.compiler.stacked import LARGEST_GROUP, StackedPrograms, row_width
from evolute.lang.curve import curve
from evolute.lang.rule import Rule

LANES, SIZE, STEPS = 3, 5, 3
USED = LANES * SIZE


def noise(node: str, step: int) -> Tensor:
    return uniform_noise(0, 0, step, node=node, like=torch.empty(SIZE))


def values(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, USED, generator=generator, dtype=torch.float64)


def stacked_updates(rules: Sequence[Rule]) -> list[Tensor]:
    """Return the updates of every rule at each step, without the padding."""
    programs = [compile_rule(rule) for rule in rules]
    schedules = dict.fromkeys(decay for program in programs for decay in program.decays)
    stacked = StackedPrograms(
        programs,
        lanes=LANES,
        size=SIZE,
        decays={decay: curve(decay, STEPS) for decay in schedules},
        noise=noise,
    )
    updates = []
    for step in range(STEPS):
        stacked.weights[:, :USED] = values(len(rules), 10 + step)
        stacked.gradients[:, :USED] = values(len(rules), 20 + step)
        updates.append(stacked.updates()[:, :USED])
    return updates


def executed_updates(rules: Sequence[Rule]) -> list[Tensor]:
    """The same, one rule at a time."""
    updates = [torch.zeros(len(rules), USED, dtype=torch.float64) for _ in range(STEPS)]
    for row, rule in enumerate(rules):
        program = compile_rule(rule)
        curves = [curve(decay, STEPS).tolist() for decay in program.decays]
        state = [torch.zeros(LANES, SIZE, dtype=torch.float64) for _ in program.state_slots]
        for step in range(STEPS):
            update = execute(
                program,
                values(len(rules), 10 + step)[row].view(LANES, SIZE),
                gradient=values(len(rules), 20 + step)[row].view(LANES, SIZE),
                state=state,
                step=step,
                decays=[each[step] for each in curves],
                uniform=lambda node, step=step: noise(node, step),  # type: ignore[misc]
                dims=(1,),
            )
            updates[step][row] = update.expand(LANES, SIZE).flatten()
    return updates


@settings(max_examples=40)
@given(st.lists(rules(decays=decays()), min_size=1, max_size=5))
def test_rows_are_what_programs_give_alone(stacked: Sequence[Rule]) -> None:
    for together, alone in zip(stacked_updates(stacked), executed_updates(stacked), strict=True):
        torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12, equal_nan=True)


def test_a_program_that_returns_an_input_is_a_row_too() -> None:
    stacked = [Rule.parse(text) for text in ("none: g", "none: w", "none: previous(g)", "none: 2")]
    for together, alone in zip(stacked_updates(stacked), executed_updates(stacked), strict=True):
        assert torch.equal(together, alone)


def test_more_instructions_than_fit_one_call_are_split() -> None:
    stacked = [Rule.parse("none: tanh(g) + 0.5*dropout(g, 0.5)")] * (LARGEST_GROUP + 3)
    for together, alone in zip(stacked_updates(stacked), executed_updates(stacked), strict=True):
        torch.testing.assert_close(together, alone)


@pytest.mark.parametrize(("lanes", "size", "width"), [(12, 5, 64), (1, 1, 32), (4, 8, 32)])
def test_rows_are_whole_vector_registers(lanes: int, size: int, width: int) -> None:
    assert row_width(lanes, size) == width
