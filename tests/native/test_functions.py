"""Every function of the native core over the whole range of floats, on every instruction set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from native_core import instruction_sets, require_native, using
from native_truth import ROOTS, SAME_AS_TORCH, SPECIAL, TRUTH, Doubles, Floats, all_floats, ulps
from torch import Tensor

from evolute.compiler.native import BOUNDS, JobTable, lower
from evolute.compiler.program import compile_rule
from evolute.lang.functions import _rows
from evolute.lang.registry import FUNCTIONS
from evolute.lang.rule import Rule

require_native()


@pytest.fixture(params=instruction_sets(), autouse=True)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    yield from using(request.param)


def value_of(update: str, x: Floats, *, slots: Sequence[Tensor] = (), step: int = 0) -> Floats:
    """The update of a rule at gradients x: a weight of 0 makes a step with rate −1."""
    native = lower(compile_rule(Rule.parse(f"none: {update}")))
    assert native is not None
    weight, gradient = torch.zeros(len(x)), torch.from_numpy(x.copy())
    table = JobTable(1)
    table.set(0, native, weight=weight, gradient=gradient, slots=slots)
    table.rates[:], table.steps[:] = -native.sign, step
    table.run()
    return weight.numpy()


def test_every_function_of_the_package_has_a_bound() -> None:
    assert set(BOUNDS) == {row.name for row in _rows()}


@pytest.mark.parametrize("name", sorted(TRUTH))
def test_an_approximated_function_keeps_its_bound(name: str) -> None:
    x = all_floats()
    with np.errstate(all="ignore"):
        exact = TRUTH[name](x.astype(float))
    assert ulps(value_of(f"{name}(g)", x), exact).max() <= BOUNDS[name]


@pytest.mark.parametrize("name", SAME_AS_TORCH)
def test_a_function_of_basic_arithmetic_is_that_of_torch(name: str) -> None:
    row, x = FUNCTIONS[name], all_floats(mantissas=4)
    y = np.random.default_rng(1).permutation(x)
    if row.arity == 1:
        found, expected = value_of(f"{name}(g)", x), row.compute(torch.from_numpy(x))
    else:
        found = pair_value(name, x, y)
        expected = row.compute(torch.from_numpy(x), torch.from_numpy(y))
    if name in ROOTS:
        with np.errstate(all="ignore"):
            expected = torch.from_numpy(ROOTS[name](x, y))
    assert isinstance(expected, Tensor)
    # A weight of 0 forgets the sign of a zero.
    torch.testing.assert_close(
        torch.from_numpy(found), expected + 0.0, rtol=0, atol=0, equal_nan=True
    )


def pair_value(name: str, x: Floats, y: Floats) -> Floats:
    """The value of a function of two arguments: the second is the gradient of the step before."""
    return value_of(f"{name}(g, previous(g))", x, slots=[torch.from_numpy(y.copy())])


def test_a_power_keeps_its_bound_and_is_exact_at_its_special_values() -> None:
    random = np.random.default_rng(2)
    x = np.concatenate([all_floats(), np.repeat(SPECIAL, len(SPECIAL))])
    y = random.uniform(-3, 3, len(x)).astype(np.float32)
    y[::7] = random.permutation(x)[::7]
    y[-(len(SPECIAL) ** 2) :] = np.tile(SPECIAL, len(SPECIAL))
    with np.errstate(all="ignore"):
        exact = np.abs(x.astype(float)) ** y.astype(float)
    assert ulps(pair_value("abs_pow", x, y), exact).max() <= BOUNDS["abs_pow"]


def paired() -> tuple[Floats, Floats]:
    """Floats of every kind, each beside another."""
    random = np.random.default_rng(3)
    x = np.concatenate([all_floats(mantissas=10), np.repeat(SPECIAL, len(SPECIAL))])
    y = np.concatenate(
        [random.permutation(all_floats(mantissas=10)), np.tile(SPECIAL, len(SPECIAL))]
    )
    return x, y


def assert_within(found: Floats, exact: Doubles, unit: Doubles, bound: float) -> None:
    """Hold a bound in these units where all that is added is finite, and NaN and infinity."""
    finite = np.isfinite(unit)
    assert finite.sum() > len(unit) / 2
    assert (np.abs(found[finite] - exact[finite]) <= bound * unit[finite]).all()
    never = ~np.isfinite(exact)  # two huge terms may cancel in the exact value alone
    np.testing.assert_array_equal(found[never], exact[never].astype(np.float32))


@pytest.mark.parametrize(
    ("name", "parameter"), [("ema", 0.9), ("ema", 0.999), ("ema_raw", 0.999), ("ema", 0.0)]
)
@pytest.mark.parametrize("step", [0, 6])
def test_an_average_keeps_its_bound(name: str, parameter: float, step: int) -> None:
    x, n = paired()
    slot = torch.from_numpy(n.copy())
    found = value_of(f"{name}(g, {parameter})", x, slots=[slot], step=step)
    factor = 1 / (1 - parameter ** (step + 1)) if name == "ema" else 1.0
    with np.errstate(all="ignore"):
        one, other = parameter * n.astype(float), (1 - parameter) * x.astype(float)
        size = (np.abs(one) + np.abs(other)).astype(np.float32)
        unit = np.spacing(size).astype(float)
        # Of the average before its correction, which multiplies the error of a denormal too.
        corrected = np.maximum(np.spacing((size * factor).astype(np.float32)), unit * factor)
        assert_within(found, (one + other) * factor, corrected, BOUNDS[name])
        assert_within(slot.numpy(), one + other, unit, BOUNDS["ema_raw"])


def test_a_running_sum_keeps_its_bound() -> None:
    x, n = paired()
    found = value_of("accumulate(g, 0.9)", x, slots=[torch.from_numpy(n.copy())])
    with np.errstate(all="ignore"):
        share = float(np.float32(0.9)) * n.astype(float)
        unit = np.spacing((np.abs(share) + np.abs(x)).astype(np.float32)).astype(float)
        assert_within(found, share + x, unit, BOUNDS["accumulate"])


@pytest.mark.parametrize("name", ["delta", "running_max", "previous"])
def test_a_function_of_the_state_alone_is_that_of_torch(name: str) -> None:
    x, n = paired()
    slot = torch.from_numpy(n.copy())
    found = value_of(f"{name}(g)", x, slots=[slot])
    compute: Any = FUNCTIONS[name].compute
    value, new = compute(torch.from_numpy(x), state=torch.from_numpy(n.copy()), step=0)
    np.testing.assert_array_equal(found, value.numpy())
    np.testing.assert_array_equal(slot.numpy(), new.numpy())


@pytest.mark.parametrize("scale", [1e-42, 1e-3, 1.0, 1e10, 1e38])
@pytest.mark.parametrize("count", [1, 33, 4096, 10_001])
def test_clipping_by_the_norm_keeps_its_bound(scale: float, count: int) -> None:
    x = (scale * np.random.default_rng(4).uniform(-1, 1, count)).astype(np.float32)
    norm = max(1.0, float(np.sqrt((x.astype(float) ** 2).sum())))
    assert ulps(value_of("clip_norm(g)", x), x.astype(float) / norm).max() <= BOUNDS["clip_norm"]


def test_a_norm_keeps_its_bound_where_every_square_is_rounded_the_same_way() -> None:
    some = np.random.default_rng(8).uniform(1, 1.1, 100_000).astype(np.float32)
    exact = some.astype(float) ** 2
    error = (some * some).astype(float) / exact - 1
    for worst in (some[error > 0.8 * 2**-24], some[error < -0.8 * 2**-24]):
        for count in (2, 4, 32, 1000):
            x = worst[:count]
            exact_value = x.astype(float) / np.sqrt((x.astype(float) ** 2).sum())
            assert ulps(value_of("clip_norm(g)", x), exact_value).max() <= BOUNDS["clip_norm"]


@pytest.mark.parametrize("count", [100, 20_001])
def test_a_square_that_no_float_can_hold_is_in_the_norm(count: int) -> None:
    x = np.random.default_rng(9).normal(size=count).astype(np.float32)
    x[count // 2] = 3e25
    norm = float(np.sqrt((x.astype(float) ** 2).sum()))
    assert ulps(value_of("clip_norm(g)", x), x.astype(float) / norm).max() <= BOUNDS["clip_norm"]


def test_clipping_by_a_norm_keeps_small_numbers_and_the_sign_of_zero() -> None:
    for largest in (1.0, 3.0, 1e20, 1e35):
        x = np.array([-0.0, 0.0, 1e-44, -1e-38, 3e-37, largest], dtype=np.float32)
        norm = float(np.sqrt((x.astype(float) ** 2).sum()))
        kept = torch.zeros(len(x))
        value_of("previous(clip_norm(g))", x, slots=[kept])
        assert ulps(kept.numpy(), x.astype(float) / norm).max() <= BOUNDS["clip_norm"]
        np.testing.assert_array_equal(np.signbit(kept.numpy()), np.signbit(x))


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_clipping_by_a_norm_that_is_no_number_is_as_in_torch(odd: float) -> None:
    x = np.random.default_rng(5).normal(size=333).astype(np.float32)
    x[7] = odd
    compute: Any = FUNCTIONS["clip_norm"].compute
    expected = compute(torch.from_numpy(x), dims=(0,))
    np.testing.assert_array_equal(value_of("clip_norm(g)", x), expected.numpy())


def test_dropout_keeps_its_bound_and_the_numbers_above_its_rate() -> None:
    x, rate = all_floats(), 0.3
    generator = torch.Generator().manual_seed(6)
    uniform = torch.rand(len(x), dtype=torch.float64, generator=generator)
    native = lower(compile_rule(Rule.parse(f"none: dropout(g, {rate})")))
    assert native is not None
    weight, table = torch.zeros(len(x)), JobTable(1)
    table.set(0, native, weight=weight, gradient=torch.from_numpy(x.copy()))
    table.set_noise(0, [uniform])
    table.rates[:] = -1.0
    table.run()
    with np.errstate(all="ignore"):
        exact = np.where(uniform.numpy() >= rate, x.astype(float) / (1 - rate), 0.0)
    assert ulps(weight.numpy(), exact).max() <= BOUNDS["dropout"]


def test_denormals_are_numbers_like_others() -> None:
    tiny = np.arange(-50, 50).astype(np.float32) * np.float32(1e-45)
    assert (value_of("g", tiny) == tiny).all()
    assert (value_of("arctan(g)", tiny) == tiny).all()
    assert (value_of("g*g2", tiny) == 0).all()


@pytest.mark.parametrize("name", sorted(TRUTH))
def test_the_bits_of_a_value_depend_on_no_neighbour(name: str) -> None:
    # Near 0 a formula is skipped that no element of a vector, or of a block, needs.
    edges = np.array([0.17, 0.34, 0.625, 0.75, 0.921875, 1.0], dtype=np.float32)
    near = np.concatenate([np.nextafter(edges, 0), edges, np.linspace(0, 1, 4000)])
    x = np.sort(np.concatenate([near, -near])).astype(np.float32)
    others = np.stack([x, np.full_like(x, 1e3)], axis=1).ravel()
    apart, mixed = value_of(f"{name}(g)", x), value_of(f"{name}(g)", others)[::2]
    assert (apart.view(np.int32) == mixed.view(np.int32)).all()


def test_every_root_is_the_rounded_one_whatever_its_exponent() -> None:
    # The roots of two neighbouring exponents are those of all others but for a power of two.
    for first in ("0x1p0", "0x1p-100", "0x1p126"):
        begin = int(np.float32(float.fromhex(first)).view(np.int32))
        x = np.arange(begin, begin + 2**24, dtype=np.int32).view(np.float32)
        assert (value_of("sqrt(g)", x) == np.sqrt(x)).all()


@pytest.mark.parametrize("name", sorted(TRUTH))
def test_a_function_of_a_sign_has_the_bits_of_that_function(name: str) -> None:
    x = np.array([-np.inf, -3.0, -1e-45, -0.0, 0.0, 1e-45, 3.0, np.inf, np.nan], dtype=np.float32)
    signs = np.nan_to_num(np.sign(x), nan=0.0)
    found, expected = value_of(f"{name}(sign(g))", x), value_of(f"{name}(g)", signs)
    assert (found.view(np.int32) == expected.view(np.int32)).all()
    old = torch.from_numpy(-x)
    product = value_of(f"{name}(-(sign(g)*sign(previous(g))))", x, slots=[old])
    assert (product == value_of(f"{name}(g)", signs * signs)).all()


@pytest.mark.parametrize(
    ("update", "of"),
    [
        ("sign(g)*sign(y)", lambda x, y: x.sign() * y.sign()),
        ("sign(y)*g", lambda x, y: y.sign() * x),
        ("sign(g)*g", lambda x, _: x.sign() * x),
        ("(1+sign(g)*sign(y))*g", lambda x, y: (1 + x.sign() * y.sign()) * x),
        ("0.25*sign(y)+sign(g)", lambda x, y: 0.25 * y.sign() + x.sign()),
        ("sign(y)-0.3*sign(g*y)", lambda x, y: y.sign() - x.new_tensor(0.3) * (x * y).sign()),
        ("0.3*sign(g)-sign(g)", lambda x, _: x.new_tensor(0.3) * x.sign() - x.sign()),
        ("0.3*g-y", lambda x, y: x.new_tensor(0.3) * x - y),
        ("0.3*(g*y)-g", lambda x, y: x.new_tensor(0.3) * (x * y) - x),
        ("g-0.3*y", lambda x, y: x - x.new_tensor(0.3) * y),
        ("g*y+0.3*g", lambda x, y: x * y + x.new_tensor(0.3) * x),
        ("0.3*g+0.4*g", lambda x, _: x.new_tensor(0.3) * x + x.new_tensor(0.4) * x),
        ("0.3*g-0.4*g", lambda x, _: x.new_tensor(0.3) * x - x.new_tensor(0.4) * x),
        ("0.3*(g+y)-0.4*y", lambda x, y: x.new_tensor(0.3) * (x + y) - x.new_tensor(0.4) * y),
    ],
)
def test_signs_and_sums_of_products_are_those_of_torch_to_the_sign_of_zero(
    update: str, of: Callable[[Tensor, Tensor], Tensor]
) -> None:
    x, y = (torch.from_numpy(each) for each in paired())
    kept = torch.zeros(len(x))
    slots = [y.clone(), kept] if "y" in update else [kept]
    value_of(f"previous({update.replace('y', 'previous(g)')})", x.numpy(), slots=slots)
    expected = of(x, y)
    torch.testing.assert_close(kept, expected, rtol=0, atol=0, equal_nan=True)
    some = ~expected.isnan()
    assert torch.equal(kept.signbit()[some], expected.signbit()[some])


@pytest.mark.parametrize("parameter", [0.0, 0.9, 0.999])
def test_the_sign_of_an_average_is_that_of_what_is_corrected(parameter: float) -> None:
    x, n = paired()
    averages = [torch.from_numpy(n.copy()) for _ in range(2)]
    kept = torch.zeros(len(x))
    found = value_of(f"sign(ema(g, {parameter}))", x, slots=averages[:1])
    value_of(f"previous(sign(ema(g, {parameter}))*g)", x, slots=[averages[1], kept])
    signs = averages[0].sign()
    np.testing.assert_array_equal(found, signs.numpy())
    np.testing.assert_array_equal(kept.numpy(), (signs * torch.from_numpy(x)).numpy())


@pytest.mark.parametrize("name", ["erf", "tanh", "arctan", "bessel_i1e", "arcsinh"])
def test_an_odd_function_keeps_the_sign_of_zero(name: str) -> None:
    for zeros in ([0.0, -0.0], [0.0, -0.0, 1e3]):  # the last is not near 0, in the same block
        x, kept = np.array(zeros, dtype=np.float32), torch.ones(len(zeros))
        value_of(f"previous({name}(g))", x, slots=[kept])
        np.testing.assert_array_equal(kept.signbit().numpy(), np.signbit(x))


@pytest.mark.parametrize("name", sorted(TRUTH))
def test_a_hostile_neighbour_changes_no_bit(name: str) -> None:
    x = np.random.default_rng(5).normal(size=4096).astype(np.float32)
    hostile = np.resize(SPECIAL, x.shape)
    others = np.stack([x, hostile], axis=1).ravel()
    apart, mixed = value_of(f"{name}(g)", x), value_of(f"{name}(g)", others)[::2]
    assert (apart.view(np.int32) == mixed.view(np.int32)).all()
