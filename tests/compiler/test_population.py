"""Lanes of many rules are moved as each rule alone would move its model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from evolute.compiler import lane_noise
from evolute.compiler.execute import uniform_noise
from evolute.compiler.lane_noise import RememberedNoise
from evolute.compiler.native import available
from evolute.compiler.optimizer import RuleOptimizer
from evolute.compiler.population import LaneOptimizer
from evolute.lang.rule import Rule
from evolute.schedules import BaseSchedule, base_schedule

SHAPES = ((3, 5), (5,), (2, 2, 3))
STEPS = 6
TEXTS = (
    "g",
    "momentum: v/(sqrt(s)+1e-08)",
    "nesterov: [a3]*arcsinh([a1]*qh_g)",
    "none: [a1]*(dropout(v, 0.5) + delta(g))",
    "nesterov_published: clip_norm(g) + running_max(v)",
    "-sign(g)",
    "none: [quotient(1, sqrt(softsign(arctan(a12))))]*g",
)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def gradients(lane: int, step: int) -> list[Tensor]:
    return [random(*shape, seed=97 * lane + 7 * step + at) for at, shape in enumerate(SHAPES)]


def alone(lane: int, text: str, *, fused: bool) -> list[Tensor]:
    """The weights of one model after some steps of a plain optimizer under the base schedule."""
    weights = [torch.nn.Parameter(random(*shape, seed=at)) for at, shape in enumerate(SHAPES)]
    path: dict[str, bool] = {"fused": True} if fused else {"foreach": True}
    optimizer = RuleOptimizer(
        weights, text, lr=0.1 * (lane + 1), total_steps=STEPS, seed=lane // 2, **path
    )
    schedule = BaseSchedule(optimizer, STEPS, 2)
    for step in range(STEPS):
        for weight, gradient in zip(weights, gradients(lane, step), strict=True):
            weight.grad = gradient
        optimizer.step()
        schedule.step()
    return [weight.detach() for weight in weights]


def together(*, fused: bool, moved: bool) -> dict[int, list[Tensor]]:
    """The weights of all lanes, in slots that begin at different steps and move half-way."""
    size = len(TEXTS) + 2
    weights = [torch.zeros(size, *shape) for shape in SHAPES]
    slopes = [torch.zeros(size, *shape) for shape in SHAPES]
    optimizer = LaneOptimizer(weights, slopes, fused=fused)
    slot_of = {lane: size - 1 - lane for lane in range(len(TEXTS))}
    steps = dict.fromkeys(slot_of, 0)
    for tick in range(STEPS + len(TEXTS)):
        active = [lane for lane in slot_of if lane <= tick and steps[lane] < STEPS]
        for lane in active:
            if steps[lane] == 0:
                for at, shape in enumerate(SHAPES):
                    weights[at][slot_of[lane]] = random(*shape, seed=at)
                rule = Rule.parse(TEXTS[lane])
                optimizer.assign(slot_of[lane], rule, total_steps=STEPS, seed=lane // 2)
            for at, gradient in enumerate(gradients(lane, steps[lane])):
                slopes[at][slot_of[lane]] = gradient
        pairs = [base_schedule(steps[lane], STEPS, warmup_steps=2) for lane in active]
        rates = [0.1 * (lane + 1) * pair[0] for lane, pair in zip(active, pairs, strict=True)]
        slots, momenta = [slot_of[lane] for lane in active], [pair[1] for pair in pairs]
        optimizer.step(slots, rates=rates, momenta=momenta)
        for lane in active:
            steps[lane] += 1
        if moved and tick == STEPS:
            keep = sorted(slot_of.values())
            weights = [each[keep].clone() for each in weights]
            slopes = [each[keep].clone() for each in slopes]
            optimizer.rebind(weights, slopes, keep=keep)
            slot_of = {lane: keep.index(slot) for lane, slot in slot_of.items()}
    return {lane: [each[slot] for each in weights] for lane, slot in slot_of.items()}


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_every_lane_is_what_its_rule_makes_of_one_model_to_the_bit(
    fused: bool, moved: bool
) -> None:
    if fused and not available():
        pytest.skip("the native core is not built")
    for lane, weights in together(fused=fused, moved=moved).items():
        assert all(map(torch.equal, weights, alone(lane, TEXTS[lane], fused=fused))), TEXTS[lane]


def test_a_slot_that_takes_no_part_stays_as_it_is() -> None:
    weights, slopes = [torch.ones(2, 3)], [torch.ones(2, 3)]
    optimizer = LaneOptimizer(weights, slopes)
    for slot in (0, 1):
        optimizer.assign(slot, Rule.parse("g"), total_steps=1, seed=0)
    optimizer.step([1], rates=[1.0], momenta=[0.9])
    assert weights[0].tolist() == [[1.0] * 3, [0.0] * 3]


def test_a_slot_that_is_taken_again_begins_with_a_state_of_zero() -> None:
    weights, slopes = [torch.zeros(1, 3)], [torch.ones(1, 3)]
    optimizer = LaneOptimizer(weights, slopes)
    rule = Rule.parse("momentum: g")
    for _ in range(2):
        optimizer.assign(0, rule, total_steps=5, seed=0)
        weights[0].zero_()
        optimizer.step([0], rates=[1.0], momenta=[0.9])
        assert weights[0].tolist() == [[-1.0] * 3]
        optimizer.release(0)


@pytest.mark.parametrize("fused", [True, False])
def test_decays_and_schedules_keep_their_last_value_past_the_end(fused: bool) -> None:
    if fused and not available():
        pytest.skip("the native core is not built")
    total, more = 3, 40
    weights, slopes = [torch.zeros(2, 4)], [torch.ones(2, 4)]
    optimizer = LaneOptimizer(weights, slopes, fused=fused)
    one = torch.nn.Parameter(torch.zeros(4))
    plain = RuleOptimizer([one], TEXTS[2], lr=0.1, total_steps=total, fused=fused)
    for group in plain.param_groups:
        group["momentum"] = 0.9
    optimizer.assign(1, Rule.parse(TEXTS[2]), total_steps=total, seed=0)
    for _ in range(total + more):
        optimizer.step([1], rates=[0.1], momenta=[0.9])
        one.grad = torch.ones(4)
        plain.step()
    assert torch.equal(weights[0][1], one.detach())
    assert not weights[0][0].any()


def test_what_lanes_draw_alike_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    if not available():
        pytest.skip("the native core is not built")
    drawn: list[int] = []

    def counted(seed: int, parameter: int, step: int, *, node: str, like: Tensor) -> Tensor:
        drawn.append(step)
        return uniform_noise(seed, parameter, step, node=node, like=like)

    monkeypatch.setattr(lane_noise, "uniform_noise", counted)
    weights, slopes = [torch.zeros(2, 3)], [torch.ones(2, 3)]
    optimizer = LaneOptimizer(weights, slopes)
    rule = Rule.parse("none: dropout(g, 0.5)")
    for slot, ticks in ((0, 3), (1, 4)):  # the second lane comes to the same steps later
        optimizer.assign(slot, rule, total_steps=4, seed=0)
        for _ in range(ticks):
            optimizer.step([slot], rates=[1.0], momenta=[0.9])
    assert drawn == [0, 1, 2, 3]


def test_noise_is_that_of_each_parameter_of_one_model() -> None:
    noise = RememberedNoise([0, 2], [(2, 3), (4,)])
    drawn = noise.at(5, 7, node="dropout(g, 0.5)")
    for place, (index, shape) in enumerate(((0, (2, 3)), (2, (4,)))):
        alone = uniform_noise(5, index, 7, node="dropout(g, 0.5)", like=torch.empty(shape))
        (part,) = noise.parts(drawn[None], place)
        assert torch.equal(part, alone.flatten())


def test_no_more_noise_is_kept_than_the_budget_allows() -> None:
    noise = RememberedNoise([0], [(4,)], budget_bytes=2 * 4 * 8)
    first = noise.at(0, 0, node="n")
    noise.at(0, 1, node="n")
    assert noise.at(0, 0, node="n") is first
    noise.at(0, 2, node="n")  # step 1 was used least lately
    assert noise.at(0, 0, node="n") is first
    again = noise.at(0, 1, node="n")
    noise.at(0, 3, node="n")
    assert noise.at(0, 1, node="n") is again
    assert noise.at(0, 0, node="n") is not first


def test_complex_weights_are_moved_as_the_pairs_of_numbers_that_they_are() -> None:
    begin, text = torch.complex(random(3, 4, seed=1), random(3, 4, seed=2)), "v/sqrt(s) + delta(g)"
    alone = torch.nn.Parameter(begin.clone())
    optimizer = RuleOptimizer([alone], text, lr=0.1, total_steps=STEPS, seed=0)
    weights, gradients = begin.repeat(2, 1, 1), torch.zeros(2, 3, 4, dtype=begin.dtype)
    lanes = LaneOptimizer([weights], [gradients])
    lanes.assign(1, Rule.parse(text), total_steps=STEPS, seed=0)
    for step in range(STEPS):
        gradient = torch.complex(random(3, 4, seed=10 + step), random(3, 4, seed=20 + step))
        alone.grad = gradient
        optimizer.step()
        gradients[1] = gradient
        lanes.step([1], rates=[0.1], momenta=[0.9])
    torch.testing.assert_close(weights[1], alone.detach())
    assert torch.equal(weights[0], begin)
