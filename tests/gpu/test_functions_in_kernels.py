"""Every function of the kernels over the whole range of floats: the native core's bounds hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from kernel_lanes import require_kernels
from native_truth import ROOTS, SAME_AS_TORCH, SPECIAL, TRUTH, Floats, all_floats, ulps
from torch import Tensor

from evolute.compiler.native import BOUNDS
from evolute.compiler.program import compile_rule
from evolute.compiler.triton_lanes import TritonLanes
from evolute.compiler.triton_program import OPCODES
from evolute.compiler.triton_tables import LaneNumbers
from evolute.lang.functions import _rows
from evolute.lang.registry import FUNCTIONS
from evolute.lang.rule import Rule

DEVICE = require_kernels()
BLOCK = 1 << 15
"""Elements of a block: few blocks are quick in the interpreter."""


@pytest.fixture(autouse=True)
def quiet_interpreter() -> Iterator[None]:
    """Triton's interpreter computes in numpy, which warns of overflows."""
    with np.errstate(all="ignore"):
        yield


def values_of(
    updates: Sequence[str],
    x: Floats,
    *,
    states: Floats | None = None,
    noise: Tensor | None = None,
    step: int = 0,
) -> tuple[list[Floats], list[Floats]]:
    """The updates of rules at gradients x, and their first states: weights of 0, rate −1."""
    weight = torch.zeros(len(updates), len(x), device=DEVICE)
    gradient = torch.from_numpy(x.copy()).to(DEVICE).expand_as(weight).contiguous()
    lanes, own = TritonLanes([weight], [gradient], block=BLOCK), []
    for slot, update in enumerate(updates):
        lane = lanes.lane(compile_rule(Rule.parse(f"none: {update}")))
        assert lane is not None
        if states is not None:
            lane.state.copy_(torch.from_numpy(states.copy()).expand_as(lane.state))
        if noise is not None:
            lane.noise.copy_(noise.expand_as(lane.noise))
        lanes.put(slot, lane)
        own.append(lane)
    signs = [each.program.program.sign for each in own]
    lanes.step([LaneNumbers(slot, -sign, 0.0, step) for slot, sign in enumerate(signs)])
    after = [lane.state[0].cpu().numpy() for lane in own if len(lane.state)]
    return list(weight.cpu().numpy()), after


@lru_cache
def of_one_argument() -> dict[str, Floats]:
    """The values of all functions of one argument over all floats."""
    names = [*TRUTH, *(name for name in SAME_AS_TORCH if FUNCTIONS[name].arity == 1)]
    found, _ = values_of([f"{name}(g)" for name in names], all_floats())
    return dict(zip(names, found, strict=True))


@lru_cache
def pairs() -> tuple[Floats, Floats]:
    """Floats of every kind, each beside another."""
    random, some = np.random.default_rng(3), all_floats(mantissas=10)
    x = np.concatenate([some, np.repeat(SPECIAL, len(SPECIAL))])
    return x, np.concatenate([random.permutation(some), np.tile(SPECIAL, len(SPECIAL))])


@lru_cache
def of_two_arguments() -> dict[str, Floats]:
    """The values of all functions of two: the second is the gradient of the step before."""
    names = [*(name for name in SAME_AS_TORCH if FUNCTIONS[name].arity == 2), "abs_pow"]
    x, y = pairs()
    found, _ = values_of([f"{name}(g, previous(g))" for name in names], x, states=y)
    return dict(zip(names, found, strict=True))


def test_the_kernels_know_every_function_of_the_package() -> None:
    assert set(OPCODES) == {row.name for row in _rows()}


@pytest.mark.parametrize("name", sorted(TRUTH))
def test_an_approximated_function_keeps_its_bound(name: str) -> None:
    exact = TRUTH[name](all_floats().astype(float))
    assert ulps(of_one_argument()[name], exact).max() <= BOUNDS[name]


@pytest.mark.parametrize("name", SAME_AS_TORCH)
def test_a_function_of_basic_arithmetic_is_that_of_torch(name: str) -> None:
    row = FUNCTIONS[name]
    if row.arity == 1:
        x, y = all_floats(), all_floats()
        found, expected = of_one_argument()[name], row.compute(torch.from_numpy(x))
    else:
        x, y = pairs()
        found = of_two_arguments()[name]
        expected = row.compute(torch.from_numpy(x), torch.from_numpy(y))
    if name in ROOTS:
        expected = torch.from_numpy(ROOTS[name](x, y))
    assert isinstance(expected, Tensor)
    # A weight of 0 forgets the sign of a zero.
    torch.testing.assert_close(
        torch.from_numpy(found), expected + 0.0, rtol=0, atol=0, equal_nan=True
    )


def test_a_power_keeps_its_bound_and_is_exact_at_its_special_values() -> None:
    x, y = (each.astype(float) for each in pairs())
    assert ulps(of_two_arguments()["abs_pow"], np.abs(x) ** y).max() <= BOUNDS["abs_pow"]


@pytest.mark.parametrize("step", [0, 6])
def test_averages_and_running_sums_keep_their_bounds(step: int) -> None:
    x, n = pairs()
    betas = (0.9, 0.999, 0.0)
    updates = [*(f"ema(g, {beta})" for beta in betas), *(f"ema_raw(g, {beta})" for beta in betas)]
    found, after = values_of([*updates, "accumulate(g, 0.9)"], x, states=n, step=step)
    for beta, value, raw, state in zip(betas, found[:3], found[3:6], after[:3], strict=True):
        one, other = beta * n.astype(float), (1 - beta) * x.astype(float)
        size = (np.abs(one) + np.abs(other)).astype(np.float32)
        factor = 1 / (1 - beta ** (step + 1))
        unit = np.spacing(size).astype(float)
        corrected = np.maximum(np.spacing((size * factor).astype(np.float32)), unit * factor)
        assert_within(value, (one + other) * factor, corrected, BOUNDS["ema"])
        assert_within(raw, one + other, unit, BOUNDS["ema_raw"])
        assert_within(state, one + other, unit, BOUNDS["ema_raw"])
    share = float(np.float32(0.9)) * n.astype(float)
    unit = np.spacing((np.abs(share) + np.abs(x)).astype(np.float32)).astype(float)
    assert_within(found[-1], share + x, unit, BOUNDS["accumulate"])


def assert_within(found: Floats, exact: Any, unit: Any, bound: float) -> None:
    """Hold a bound in these units where all that is added is finite, and NaN and infinity."""
    finite = np.isfinite(unit)
    assert finite.sum() > len(unit) / 2
    assert (np.abs(found[finite] - exact[finite]) <= bound * unit[finite]).all()
    never = ~np.isfinite(exact)  # two huge terms may cancel in the exact value alone
    np.testing.assert_array_equal(found[never], exact[never].astype(np.float32))


def test_a_function_of_the_state_alone_is_that_of_torch() -> None:
    x, n = pairs()
    names = ("delta", "running_max", "previous")
    found, after = values_of([f"{name}(g)" for name in names], x, states=n)
    for name, value, state in zip(names, found, after, strict=True):
        compute: Any = FUNCTIONS[name].compute
        expected, new = compute(torch.from_numpy(x), state=torch.from_numpy(n.copy()), step=0)
        np.testing.assert_array_equal(value, expected.numpy())
        np.testing.assert_array_equal(state, new.numpy())


@pytest.mark.parametrize("scale", [1e-42, 1e-3, 1.0, 1e38])
@pytest.mark.parametrize("count", [1, 2 * BLOCK + 1])
def test_clipping_by_the_norm_keeps_its_bound(scale: float, count: int) -> None:
    x = (scale * np.random.default_rng(4).uniform(-1, 1, count)).astype(np.float32)
    norm = max(1.0, float(np.sqrt((x.astype(float) ** 2).sum())))
    (found,), _ = values_of(["clip_norm(g)"], x)
    assert ulps(found, x.astype(float) / norm).max() <= BOUNDS["clip_norm"]


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_clipping_by_a_norm_that_is_no_number_is_as_in_torch(odd: float) -> None:
    x = np.random.default_rng(5).normal(size=333).astype(np.float32)
    x[7] = odd
    compute: Any = FUNCTIONS["clip_norm"].compute
    (found,), _ = values_of(["clip_norm(g)"], x)
    np.testing.assert_array_equal(found, compute(torch.from_numpy(x), dims=(0,)).numpy())


def test_dropout_keeps_its_bound_and_the_numbers_above_its_rate() -> None:
    x, rate = all_floats(), 0.3
    generator = torch.Generator().manual_seed(6)
    uniform = torch.rand(len(x), dtype=torch.float64, generator=generator)
    uniform[:2] = torch.tensor([rate, np.nextafter(rate, 0)])
    (found,), _ = values_of([f"dropout(g, {rate})"], x, noise=uniform)
    exact = np.where(uniform.numpy() >= rate, x.astype(float) / (1 - rate), 0.0)
    assert ulps(found, exact).max() <= BOUNDS["dropout"]


def test_denormals_are_numbers_like_others() -> None:
    tiny = np.arange(-50, 50).astype(np.float32) * np.float32(1e-45)
    (same, arctan, square), _ = values_of(["g", "arctan(g)", "g*g2"], tiny)
    assert (same == tiny).all()
    assert (arctan == tiny).all()
    assert (square == 0).all()
