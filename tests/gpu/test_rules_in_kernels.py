"""Rules in kernels: as the reference to float32 rounding, whatever shares the launch."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import numpy as np
import pytest
import rounding
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from kernel_lanes import Company, require_kernels, walked_together
from native_core import require_native, using
from rounding import COEFFICIENT, SEED, STEPS, gradients, numbers_at
from strategies import decays, rules, searched_rules
from torch import Tensor

from evolute import zoo
from evolute.compiler.execute import uniform_noise
from evolute.compiler.native import JobTable
from evolute.compiler.native import lower as lower_for_the_core
from evolute.compiler.program import compile_rule
from evolute.lang.rule import Momentum, Rule

DEVICE = require_kernels()

EVERYTHING = (
    "nesterov: ema(clip_norm(g), 0.9)*tanh(arcsinh(w))+dropout(bessel_i1e(erfc(g)), 0.3)"
    "+abs_pow(softplus(g), sigmoid(previous(w)))-running_max(log(g))+mix(delta(g), arctan(w))"
)


@pytest.fixture(autouse=True)
def quiet_interpreter() -> Iterator[None]:
    """Triton's interpreter computes in numpy, which warns of overflows."""
    with np.errstate(all="ignore"):
        yield


def assert_equal_to_rounding(some: list[Rule]) -> None:
    weight, slopes = torch.linspace(-2, 2, 37), gradients(37)
    paths = walked_together(some, weight, slopes, DEVICE)
    for rule, path in zip(some, paths, strict=True):
        rounding.assert_equal_to_rounding(rule, weight, slopes, path)


def test_every_rule_of_the_zoo_moves_as_the_reference_to_float32_rounding() -> None:
    assert_equal_to_rounding([zoo.load(name).rule for name in zoo.names()])


@settings(max_examples=8, phases=(Phase.explicit, Phase.generate))  # to shrink takes minutes here
@given(st.lists(searched_rules() | rules(decays=decays()), min_size=8, max_size=8))
def test_any_rules_move_as_the_reference_to_float32_rounding(some: list[Rule]) -> None:
    assert_equal_to_rounding(some)


def test_the_four_equations_of_momentum_are_those_of_the_reference() -> None:
    updates = ("g", "ema(w, 0.9)", "clip_norm(g)+clip_norm(w*clip_norm(g))", "exp(0.5)*2")
    assert_equal_to_rounding(
        [Rule.parse(f"{momentum.value}: -({each})") for momentum in Momentum for each in updates]
    )


def test_an_update_that_is_one_number_moves_every_weight_by_it() -> None:
    texts = ("none: 0.5", "none: ema(1, 0.9)+dropout(1, 0.5)+clip_norm(2)", "none: w")
    assert_equal_to_rounding([Rule.parse(each) for each in texts])


def test_the_rate_at_step_0_may_be_that_of_an_infinite_schedule() -> None:
    assert_equal_to_rounding([Rule.parse("none: [quotient(1, a12)]*g")])


def test_weight_decay_and_maximize_come_before_the_rule() -> None:
    company = Company(["none: g*w"], [torch.tensor([1.0, -2.0, 3.0])], DEVICE)
    company.gradient.copy_(torch.tensor([[0.5, 0.25, -1.0]]))
    company.step(0, [0], shrink=0.5, maximize=True)
    half, gradient = torch.tensor([0.5, -1.0, 1.5]), torch.tensor([0.5, 0.25, -1.0])
    torch.testing.assert_close(company.weight[0].cpu(), half + rounding.RATE * gradient * half)


COUNT = 2500  # two blocks and a part of one


def followed(slots: dict[int, str], hostile: set[int], size: int) -> dict[int, Tensor]:
    """Weights and states of some lanes after all steps; the gradients of hostile ones are NaN."""
    texts = [slots.get(slot, "none: g") for slot in range(size)]
    company = Company(texts, [torch.linspace(-2, 2, COUNT)] * size, DEVICE)
    for step, gradient in enumerate(gradients(COUNT)):
        company.gradient.copy_(gradient.expand_as(company.gradient))
        for slot in hostile:
            company.gradient[slot] = float("nan")
        company.step(step, sorted({*slots, *hostile}))
    return {slot: company.everything(slot) for slot in slots}


def test_a_lane_has_the_same_bits_in_any_company_and_slot() -> None:
    alone = followed({0: EVERYTHING}, set(), 1)[0]
    together = followed({2: EVERYTHING, 0: "momentum: exp(g)", 3: EVERYTHING}, {1}, 5)
    assert torch.equal(alone, together[2])
    assert torch.equal(alone, together[3])


def test_lanes_that_take_no_part_stay_as_they_are() -> None:
    company = Company([EVERYTHING, "momentum: g"], [torch.linspace(-2, 2, 50)] * 2, DEVICE)
    company.gradient.fill_(0.5)
    before = company.everything(0)
    company.step(0, [1])
    assert torch.equal(company.everything(0), before)
    assert not torch.equal(company.weight[1], company.weight[0])
    company.step(0, [])
    assert torch.equal(company.everything(0), before)


def test_hostile_values_do_not_reach_their_neighbours() -> None:
    rule = EVERYTHING.replace("clip_norm(g)", "g")
    values = (0.5, float("nan"), float("inf"), -3e38, 1e-44)
    company = Company([rule] * len(values), [torch.linspace(-2, 2, 100)] * len(values), DEVICE)
    for step, gradient in enumerate(gradients(100)):
        company.gradient.copy_(gradient.expand_as(company.gradient))
        company.gradient[:, 30] = torch.tensor(values, device=DEVICE)
        company.step(step, range(len(values)))
    rows = company.weight.cpu()
    rows[:, 30] = 0.0
    assert all(torch.equal(rows[0], row) for row in rows)


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"),
    reason="the native core's baseline fuses multiplications and additions on this processor",
)
def test_rules_without_a_norm_move_as_on_the_native_cores_baseline_to_the_bit() -> None:
    require_native()
    # The core adds up the squares of a norm in another order, and multiplies by its reciprocal.
    texts = [EVERYTHING.replace("clip_norm(g)", "g")]
    texts += [str(zoo.load(name).rule) for name in ("opt6", "opt7", "opt10", "a1")]
    weight, slopes = torch.linspace(-2, 2, 600), gradients(600)
    found = walked_together(texts, weight, slopes, DEVICE)
    for _ in using("baseline"):
        for text, path in zip(texts, found, strict=True):
            assert torch.equal(path[-1], native_path(text, weight, slopes)), text


def native_path(text: str, weight: Tensor, slopes: list[Tensor]) -> Tensor:
    """The weights after all steps of the native core."""
    program = compile_rule(Rule.parse(text))
    native = lower_for_the_core(program)
    assert native is not None
    weight, table = weight.clone(), JobTable(1)
    slots = [torch.zeros_like(weight) for _ in range(native.slots)]
    for step in range(STEPS):
        table.set(0, native, weight=weight, gradient=slopes[step], slots=slots)
        rate, values = numbers_at(program, step)
        table.rates[0], table.steps[0], table.momenta[0] = native.sign * rate, step, COEFFICIENT
        table.set_decays(0, values)
        noise = [uniform_noise(SEED, 0, step, node=each, like=weight) for each in native.noise]
        table.set_noise(0, noise)
        table.run()
    return weight
