"""Lanes of stacked parameters on a GPU are moved by kernels, as each rule alone moves its model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from kernel_lanes import Company, require_kernels
from rounding import STEPS, gradients
from torch import Tensor

from evolute.compiler.optimizer import RuleOptimizer
from evolute.compiler.population import LaneOptimizer
from evolute.compiler.triton_lanes import kernel_lanes, status
from evolute.lang.functions import function
from evolute.lang.registry import FUNCTIONS
from evolute.lang.rule import Rule

DEVICE = require_kernels()
SHAPES = ((3, 5), (5,), (2, 2, 3))
TEXTS = (
    "g",
    "momentum: v/(sqrt(s)+1e-08)",
    "nesterov: [a3]*arcsinh([a1]*qh_g)",
    "none: [a1]*(dropout(v, 0.5) + delta(g))",
    "nesterov_published: clip_norm(g) + running_max(v)",
    "-sign(g)",
    "none: half(g)",
)
"""The last one has a function of the user's own: it is stepped in lists of tensors."""


@pytest.fixture(autouse=True)
def quiet_interpreter() -> Iterator[None]:
    """Triton's interpreter computes in numpy, which warns of overflows."""
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(autouse=True)
def half() -> Iterator[None]:
    """A function that the kernels do not know."""

    @function(name="half", latex="{0}", searched=())
    def compute(x: Tensor) -> Tensor:
        return x / 2

    yield
    del FUNCTIONS._rows["half"]


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def slopes_of(lane: int, step: int) -> list[Tensor]:
    return [random(*shape, seed=97 * lane + 7 * step + at) for at, shape in enumerate(SHAPES)]


def alone(lane: int) -> list[Tensor]:
    """The weights of one model after all steps of a plain optimizer in lists, on the CPU."""
    weights = [torch.nn.Parameter(random(*shape, seed=at)) for at, shape in enumerate(SHAPES)]
    optimizer = RuleOptimizer(
        weights, TEXTS[lane], lr=0.1 * (lane + 1), total_steps=STEPS, seed=lane // 2, foreach=True
    )
    for step in range(STEPS):
        for weight, gradient in zip(weights, slopes_of(lane, step), strict=True):
            weight.grad = gradient
        optimizer.step()
    return [weight.detach() for weight in weights]


def test_every_lane_is_what_its_rule_makes_of_one_model_to_rounding() -> None:
    size = len(TEXTS) + 1
    weights = [torch.zeros(size, *shape, device=DEVICE) for shape in SHAPES]
    slopes = [torch.zeros_like(each) for each in weights]
    optimizer = LaneOptimizer(weights, slopes)
    slot_of = {lane: size - 1 - lane for lane in range(len(TEXTS))}
    steps = dict.fromkeys(slot_of, 0)
    for tick in range(STEPS + len(TEXTS)):
        active = [lane for lane in slot_of if lane <= tick and steps[lane] < STEPS]
        for lane in active:
            slot = slot_of[lane]
            if steps[lane] == 0:  # lanes begin one after the other
                for at, shape in enumerate(SHAPES):
                    weights[at][slot] = random(*shape, seed=at)
                optimizer.assign(slot, Rule.parse(TEXTS[lane]), total_steps=STEPS, seed=lane // 2)
            for at, gradient in enumerate(slopes_of(lane, steps[lane])):
                slopes[at][slot] = gradient
            steps[lane] += 1
        rates = [0.1 * (lane + 1) for lane in active]
        momenta = [0.9] * len(active)
        optimizer.step([slot_of[lane] for lane in active], rates=rates, momenta=momenta)
        if tick == STEPS:  # and move to other slots half-way
            keep = sorted(slot_of.values())
            weights, slopes = ([each[keep].clone() for each in some] for some in (weights, slopes))
            optimizer.rebind(weights, slopes, keep=keep)
            slot_of = {lane: keep.index(slot) for lane, slot in slot_of.items()}
    for lane, slot in slot_of.items():
        for weight, expected in zip(weights, alone(lane), strict=True):
            torch.testing.assert_close(weight[slot].cpu(), expected, rtol=1e-4, atol=1e-5)


def test_a_longer_rule_makes_larger_tables_and_changes_no_other_lane() -> None:
    text, rows = "momentum: ema(g, 0.9)", []
    long = "none: " + "+".join(f"ema(clip_norm(g*{n}), 0.{n})" for n in range(1, 6))
    for others in ([], [long]):
        company = Company([text, *others], [torch.linspace(-2, 2, 50)] * (1 + len(others)), DEVICE)
        for step, gradient in enumerate(gradients(50)):
            company.gradient.copy_(gradient.expand_as(company.gradient))
            if step == 1 and others:  # put a second time: what it has done so far stays
                company.lanes.put(0, company.own[0])
            company.step(step, range(1 + len(others)))
        rows.append(company.everything(0))
    assert torch.equal(*rows)


def test_memory_beside_a_tensor_is_left_alone() -> None:
    room = torch.full((4, 133), 7.0, device=DEVICE)
    lanes = kernel_lanes([room[1:3]], [torch.ones(2, 133, device=DEVICE)])
    assert lanes is not None
    company = Company(["momentum: ema(g, 0.9)"] * 2, [torch.zeros(133)] * 2, DEVICE)
    company.lanes, company.weight = lanes, room[1:3]
    for slot, lane in enumerate(company.own):
        lanes.put(slot, lane)
    company.step(0, [0, 1])
    assert (room[[0, 3]] == 7).all()
    assert (room[1:3] < 7).all()


@pytest.mark.parametrize(
    "other",
    [
        lambda tensor: tensor.double(),
        lambda tensor: tensor.half(),
        lambda tensor: tensor.mT,
        lambda tensor: tensor.to("meta"),
    ],
)
def test_other_tensors_are_left_to_the_lists(other: Callable[[Tensor], Tensor]) -> None:
    tensor = torch.zeros(2, 3, 4, device=DEVICE)
    assert kernel_lanes([tensor], [tensor]) is not None
    assert kernel_lanes([other(tensor)], [other(tensor)]) is None
    assert kernel_lanes([tensor], [other(tensor)]) is None
    assert kernel_lanes([], []) is None


def test_the_status_says_that_kernels_are_in_use() -> None:
    assert status().active


def test_what_is_said_of_a_fault_is_one_line_and_lists_serve(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("evolute.compiler.triton_lanes._fault", lambda device: "no compiler")
    weights = [torch.zeros(1, 3, device=DEVICE)]
    for _ in range(2):
        optimizer = LaneOptimizer(weights, [torch.ones(1, 3, device=DEVICE)])
    optimizer.assign(0, Rule.parse("g"), total_steps=1, seed=0)
    optimizer.step([0], rates=[0.5], momenta=[0.9])
    assert weights[0].tolist() == [[-0.5] * 3]
    said = [record.getMessage() for record in caplog.records]
    assert said == ["rules are applied in lists of tensors: no compiler"]
