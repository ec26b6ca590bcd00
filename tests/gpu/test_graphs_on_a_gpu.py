"""On a GPU the step of all rules is one graph: no allocation, no waiting, the same bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from kernel_lanes import Company, require_kernels
from rounding import gradients

from evolute.compiler.triton_graph import Launch, capture_graph
from evolute.lanes.graphed import never_waiting

DEVICE = require_kernels()
if DEVICE.type != "cuda":
    pytest.skip("no CUDA device: a CUDA graph cannot be made", allow_module_level=True)

RULES = ("momentum: v/(sqrt(s)+1e-08)", "nesterov: clip_norm(g)+clip_norm(w*clip_norm(g))", "g")
COUNT = 5000


def company(**options: Any) -> Company:
    return Company(RULES, [torch.linspace(-2, 2, COUNT)] * len(RULES), DEVICE, **options)


def followed(some: Company, steps: int) -> torch.Tensor:
    slope = gradients(COUNT)[0].to(DEVICE)
    for step in range(steps):
        some.gradient.copy_(slope * (step + 1))
        some.step(min(step, 2), range(len(RULES)))
    return torch.cat([some.everything(slot) for slot in range(len(RULES))])


def test_a_replayed_graph_gives_the_bits_of_launches_one_by_one() -> None:
    replays = []

    def counting(launch: Launch) -> Launch:
        replay = capture_graph(launch)

        def counted() -> None:
            replays.append("replayed")
            replay()

        return counted

    def never(launch: Launch) -> Launch:
        return launch

    graphed = followed(company(capture=counting), 6)
    assert len(replays) == 5
    assert torch.equal(graphed, followed(company(capture=never), 6))


def test_a_step_allocates_nothing_and_waits_for_nothing() -> None:
    some = company()
    followed(some, 3)
    torch.cuda.synchronize()
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    with never_waiting():
        for _ in range(10):
            some.step(2, range(len(RULES)))
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
