"""Every function of the native core over the whole range of floats, on every instruction set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from native_core import instruction_sets, require_native, using
from scipy import special
from torch import Tensor

from evolute.compiler.native import BOUNDS, JobTable, lower
from evolute.compiler.program import compile_rule
from evolute.lang.functions import EPSILON, _rows
from evolute.lang.registry import FUNCTIONS, Kind
from evolute.lang.rule import Rule

require_native()

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

TRUTH: dict[str, Callable[[Doubles], Doubles]] = {
    "log": lambda x: np.log((np.abs(x).astype(np.float32) + np.float32(EPSILON)).astype(float)),
    "exp": np.exp,
    "sigmoid": special.expit,
    "dsigmoid": lambda x: special.expit(x) * special.expit(-x),
    "softplus": lambda x: np.logaddexp(x, 0),
    "erf": special.erf,
    "erfc": special.erfc,
    "arcsinh": np.arcsinh,
    "tanh": np.tanh,
    "dtanh": lambda x: 1 / np.cosh(np.clip(x, -400, 400)) ** 2,
    "arctan": np.arctan,
    "bessel_i1e": special.i1e,
}
"""The exact value; ``dtanh`` and ``dsigmoid`` in forms that do not cancel."""

ROOTS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "sqrt": lambda x, _y: np.sqrt(np.abs(x)),
    "div_hypot": lambda x, y: x / np.sqrt(np.float32(1) + y * y),
}
"""Rows with a square root, which torch's own libraries round otherwise than IEEE 754 says."""

SAME_AS_TORCH = sorted(
    name
    for name, bound in BOUNDS.items()
    if bound == 0 and FUNCTIONS[name].kind is Kind.ELEMENTWISE
)


@pytest.fixture(params=instruction_sets(), autouse=True)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    yield from using(request.param)


def all_floats(*, mantissas: int = 40) -> Floats:
    """Every sign and exponent with the outermost and some random mantissas; NaN and infinities."""
    random = np.random.default_rng(0)
    exponents = np.arange(256, dtype=np.uint32) << 23
    edges = np.array([0, 1, 2, 0x400000, 0x7FFFFE, 0x7FFFFF], dtype=np.uint32)
    inner = random.integers(0, 1 << 23, mantissas, dtype=np.uint32)
    bits = (exponents[:, None] | np.concatenate([edges, inner])).ravel()
    near = [random.uniform(-width, width, 8000) for width in (0.1, 1.5, 12, 105)]
    signed = np.concatenate([bits, bits | np.uint32(1 << 31)]).view(np.float32)
    return np.concatenate([signed, *(each.astype(np.float32) for each in near)])


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


def ulps(found: Floats, exact: Doubles) -> Doubles:
    """Errors in units in the last place; infinite where NaN or infinity is not as it should be."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        unit = np.maximum(np.spacing(np.abs(rounded)).astype(float), 2.0**-149)
        error = np.abs(found.astype(float) - exact) / unit
        same = (found == rounded) | (np.isnan(found) & np.isnan(exact))
    finite = np.isfinite(rounded) & np.isfinite(found)
    return np.where(finite, error, np.where(same, 0.0, np.inf))


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


SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, 2.0, -3.0, 0.5, np.inf, -np.inf, np.nan, 1e-45, -1e-40, 3e38, -2.5],
    dtype=np.float32,
)


def test_a_power_keeps_its_bound_and_is_exact_at_its_special_values() -> None:
    random = np.random.default_rng(2)
    x = np.concatenate([all_floats(), np.repeat(SPECIAL, len(SPECIAL))])
    y = random.uniform(-3, 3, len(x)).astype(np.float32)
    y[::7] = random.permutation(x)[::7]
    y[-(len(SPECIAL) ** 2) :] = np.tile(SPECIAL, len(SPECIAL))
    with np.errstate(all="ignore"):
        exact = np.abs(x.astype(float)) ** y.astype(float)
    assert ulps(pair_value("abs_pow", x, y), exact).max() <= BOUNDS["abs_pow"]


@pytest.mark.parametrize(("name", "parameter"), [("ema", 0.9), ("ema_raw", 0.999), ("ema", 0.0)])
def test_an_average_keeps_its_bound(name: str, parameter: float) -> None:
    random = np.random.default_rng(3)
    x, n = (random.normal(size=5000).astype(np.float32) for _ in range(2))
    slot = torch.from_numpy(n.copy())
    found = value_of(f"{name}(g, {parameter})", x, slots=[slot], step=6)
    average = parameter * n.astype(float) + (1 - parameter) * x.astype(float)
    size = parameter * np.abs(n) + (1 - parameter) * np.abs(x)
    factor = 1 / (1 - parameter**7) if name == "ema" else 1.0
    unit = np.spacing((size * factor).astype(np.float32))
    assert (np.abs(found - average * factor) / unit).max() <= BOUNDS[name]
    assert (np.abs(slot.numpy() - average) / np.spacing(size.astype(np.float32))).max() <= 2


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e10, 1e38])
@pytest.mark.parametrize("count", [1, 33, 4096, 10_001])
def test_clipping_by_the_norm_keeps_its_bound(scale: float, count: int) -> None:
    x = (scale * np.random.default_rng(4).uniform(-1, 1, count)).astype(np.float32)
    norm = max(1.0, float(np.sqrt((x.astype(float) ** 2).sum())))
    assert ulps(value_of("clip_norm(g)", x), x.astype(float) / norm).max() <= BOUNDS["clip_norm"]


def test_dropout_keeps_its_bound_and_the_numbers_above_its_rate() -> None:
    x, uniform = all_floats(mantissas=2), torch.rand(100, dtype=torch.float64)
    x, rate = x[np.isfinite(x)][:100], 0.3
    native = lower(compile_rule(Rule.parse(f"none: dropout(g, {rate})")))
    assert native is not None
    weight, table = torch.zeros(100), JobTable(1)
    table.set(0, native, weight=weight, gradient=torch.from_numpy(x.copy()))
    table.set_noise(0, [uniform])
    table.rates[:] = -1.0
    table.run()
    exact = np.where(uniform.numpy() >= rate, x.astype(float) / (1 - rate), 0.0)
    assert ulps(weight.numpy(), exact).max() <= BOUNDS["dropout"]


def test_denormals_are_numbers_like_others() -> None:
    tiny = np.arange(-50, 50).astype(np.float32) * np.float32(1e-45)
    assert (value_of("g", tiny) == tiny).all()
    assert (value_of("arctan(g)", tiny) == tiny).all()
    assert (value_of("g*g2", tiny) == 0).all()
