"""What tests of the kernels for a GPU share: where they run, and rules followed side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from rounding import COEFFICIENT, SEED, STEPS, numbers_at
from torch import Tensor

from evolute.compiler.execute import uniform_noise
from evolute.compiler.program import compile_rule
from evolute.compiler.triton_lanes import TritonLanes, is_interpreted
from evolute.compiler.triton_program import INSTALLED
from evolute.compiler.triton_tables import LaneNumbers
from evolute.lang.rule import Rule


def require_triton() -> None:
    """Skip where Triton is not installed, but never in continuous integration."""
    if INSTALLED:
        return
    reason = "triton is not installed: pip install 'evolute[gpu]'"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)


def require_kernels() -> torch.device:
    """Return where kernels run: on a GPU, or on the CPU where Triton interprets; else skip."""
    require_triton()
    if is_interpreted():
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip(
            "no CUDA device; tests/compiler/test_triton_interpreted.py runs these tests here",
            allow_module_level=True,
        )
    return torch.device("cuda")


class Company:
    """Lanes on one tensor of weights each, with the numbers of :mod:`rounding`.

    Parameters
    ----------
    rules
        One for each lane.
    weights
        One for each lane, all of one size.
    device
        Where they live.
    options
        Of :class:`TritonLanes`.
    """

    def __init__(
        self,
        rules: Sequence[Rule | str],
        weights: Sequence[Tensor],
        device: torch.device,
        **options: Any,
    ) -> None:
        self.weight = torch.stack(list(weights)).to(device)
        self.gradient = torch.zeros_like(self.weight)
        self.lanes = TritonLanes([self.weight], [self.gradient], **options)
        self.own = []
        for slot, each in enumerate(rules):
            rule = each if isinstance(each, Rule) else Rule.parse(each)
            lane = self.lanes.lane(compile_rule(rule))
            assert lane is not None
            self.lanes.put(slot, lane)
            self.own.append(lane)

    def step(self, step: int, slots: Sequence[int], **more: float) -> None:
        """Make one step of these slots."""
        told = []
        for slot in slots:
            lane = self.own[slot]
            program = lane.program.program
            rate, decays = numbers_at(program, step)
            like = self.gradient[slot].cpu()
            for room, node in zip(lane.noise, lane.program.noise, strict=True):
                room.copy_(uniform_noise(SEED, 0, step, node=node, like=like))
            given = {"shrink": 1.0, "maximize": False, **more}
            told.append(
                LaneNumbers(
                    slot,
                    program.sign * rate,
                    COEFFICIENT,
                    step,
                    decays,
                    shrink=given["shrink"],
                    maximize=bool(given["maximize"]),
                )
            )
        self.lanes.step(told)

    def everything(self, slot: int) -> Tensor:
        """Weights and states of a slot."""
        return torch.cat([self.weight[slot][None], self.own[slot].state]).cpu()


def walked_together(
    rules: Sequence[Rule | str], weight: Tensor, given: Sequence[Tensor], device: torch.device
) -> list[list[Tensor]]:
    """The weights of each rule after each step, all rules in one launch."""
    company = Company(rules, [weight] * len(rules), device)
    paths: list[list[Tensor]] = [[] for _ in rules]
    for step in range(STEPS):
        company.gradient.copy_(given[step].expand_as(company.gradient))
        company.step(step, range(len(rules)))
        for path, row in zip(paths, company.weight.cpu().clone(), strict=True):
            path.append(row)
    return paths
