"""Every row of the tables follows the formula of the published method, written here a second time.

The formulas use math, numpy and scipy on plain numbers; the rows use torch. What a row says of
itself (commutative, idempotent, parity) is held to the bit, but for the sign of a zero.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch
from torch import Tensor

from evolute.lang.curve import curve
from evolute.lang.expand import expand
from evolute.lang.expression import Call, Constant, DecayRef, Expression, OperandRef, read_operand
from evolute.lang.registry import BASE_DECAYS, FUNCTIONS, OPERANDS, Function, Kind, Parity

E = 1e-7
NUMBERS = [
    0.0, 1e-300, -1e-300, 1e-12, -1e-9, 1e-7, -1e-7, 1e-3, -0.01, 0.25, -0.5, 1.0, -1.0, 1.5, -2.0,
    3.7, -6.0, 12.0, -25.0, 40.0, -80.0, 300.0, -700.0, 1e4, -1e5, 1e10, -1e15,
]  # fmt: skip
PAIRS = list(itertools.product(NUMBERS, NUMBERS))
STEPS = 6


def bessel_i1e(x: float) -> float:
    """Abramowitz and Stegun 1964, 9.7.1, where scipy's series for any order gives up."""
    if abs(x) < 1e6:
        return float(scipy.special.ive(1, x))
    leading = math.copysign(1 / math.sqrt(2 * math.pi * abs(x)), x)
    return leading * (1 - 3 / (8 * abs(x)))


ELEMENTWISE: dict[str, Callable[..., float]] = {
    "identity": lambda x: x,
    "neg": lambda x: 0 - x,
    "log": lambda x: math.log(math.fabs(x) + E),
    "sqrt": lambda x: math.sqrt(math.fabs(x)),
    "exp": lambda x: float(np.exp(x)),
    "abs": lambda x: max(x, -x),
    "sigmoid": lambda x: float(scipy.special.expit(x)),
    "dsoftsign": lambda x: 1 / (1 + math.fabs(x)),
    "softplus": lambda x: max(x, 0.0) + math.log1p(math.exp(-math.fabs(x))),
    "erf": math.erf,
    "erfc": math.erfc,
    "arcsinh": math.asinh,
    "tanh": math.tanh,
    "arctan": math.atan,
    "reciprocal": lambda x: float(np.float64(1) / np.float64(x + E)),
    "bessel_i1e": lambda x: bessel_i1e(x),
    "max0": lambda x: x if x > 0 else 0.0,
    "min0": lambda x: x if x < 0 else 0.0,
    "softsign": lambda x: x / (1 + math.fabs(x)),
    "square": lambda x: x * x,
    "dtanh": lambda x: 1 - math.tanh(x) ** 2,
    "dsigmoid": lambda x: float(scipy.special.expit(x) * scipy.special.expit(-x)),
    "sign": lambda x: float((x > 0) - (x < 0)),
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "max": lambda x, y: x if x > y else y,
    "min": lambda x, y: x if x < y else y,
    "div": lambda x, y: float(np.float64(x) / np.float64(y + E)),
    "div_hypot": lambda x, y: x / math.sqrt(1 + y * y),
    "clip": lambda x, y: sorted((-math.fabs(y), x, math.fabs(y)))[1],
    "mix": lambda x, y: 0.95 * x + 0.05 * y,
    "abs_pow": lambda x, y: float(np.float64(math.fabs(x)) ** np.float64(y)),
    "quotient": lambda x, y: float(np.float64(x) / np.float64(y)) if y else x * math.inf,
}


def rows(*kinds: Kind) -> list[str]:
    return [name for name, row in FUNCTIONS.items() if row.kind in kinds]


def test_every_elementwise_row_has_a_formula_here() -> None:
    assert set(ELEMENTWISE) == set(rows(Kind.ELEMENTWISE))


@pytest.mark.parametrize("name", rows(Kind.ELEMENTWISE))
def test_an_elementwise_row_follows_its_formula(name: str) -> None:
    row = FUNCTIONS[name]
    points = [(x,) for x in NUMBERS] if row.arity == 1 else PAIRS
    arguments = [torch.tensor(column, dtype=torch.float64) for column in zip(*points, strict=True)]
    with np.errstate(all="ignore"):
        formula = torch.tensor([ELEMENTWISE[name](*point) for point in points], dtype=torch.float64)
    value = row.compute(*arguments)
    torch.testing.assert_close(value, formula, rtol=1e-12, atol=1e-300, equal_nan=True)


def run(name: str, values: list[list[float]], *parameters: float) -> list[list[float]]:
    """Follow a stateful row over steps of values."""
    state = torch.zeros(len(values[0]), dtype=torch.float64)
    path = []
    compute: Callable[..., Any] = FUNCTIONS[name].compute
    for step, given in enumerate(values):
        x = torch.tensor(given, dtype=torch.float64)
        value, state = compute(x, *parameters, state=state, step=step)
        path.append(value.tolist())
    return path


WALK = [[1.0, -2.0], [3.0, 0.5], [-4.0, 0.25], [0.0, 7.0]]


def test_the_moving_averages_follow_their_sums() -> None:
    for step in range(len(WALK)):
        for beta in (0.0, 0.9, 0.999):
            weights = [(1 - beta) * beta ** (step - past) for past in range(step + 1)]
            raw = [
                math.fsum(weight * WALK[past][at] for past, weight in enumerate(weights))
                for at in range(2)
            ]
            corrected = [value / (1 - beta ** (step + 1)) for value in raw]
            assert run("ema_raw", WALK, beta)[step] == pytest.approx(raw, rel=1e-12)
            assert run("ema", WALK, beta)[step] == pytest.approx(corrected, rel=1e-12)


def test_the_other_stateful_rows_follow_their_recurrences() -> None:
    # n ← x − n is the alternating sum, from the last value back.
    delta = [[sum((-1) ** (t - p) * WALK[p][at] for p in range(t + 1)) for at in (0, 1)]
             for t in range(len(WALK))]  # fmt: skip
    assert run("delta", WALK) == delta
    highest = [[max(0.0, *(WALK[p][at] for p in range(t + 1))) for at in (0, 1)]
               for t in range(len(WALK))]  # fmt: skip
    assert run("running_max", WALK) == highest
    assert run("previous", WALK) == [[0.0, 0.0], *WALK[:-1]]
    assert set(rows(Kind.STATEFUL)) == {
        *("ema", "ema_raw", "delta", "running_max", "previous", "accumulate")
    }


def test_accumulate_is_the_sum_of_values_times_the_later_factors() -> None:
    factors = [[0.5, 0.0], [-1.0, 2.0], [0.25, 3.0], [2.0, 0.5]]
    state = torch.full((2,), 0.0, dtype=torch.float64)
    compute: Callable[..., Any] = FUNCTIONS["accumulate"].compute
    for t in range(len(WALK)):
        x, y = (torch.tensor(row[t], dtype=torch.float64) for row in (WALK, factors))
        value, state = compute(x, y, state=state, step=t)
        expected = [
            sum(WALK[p][at] * math.prod(factors[q][at] for q in range(p + 1, t + 1))
                for p in range(t + 1))
            for at in (0, 1)
        ]  # fmt: skip
        assert value.tolist() == pytest.approx(expected, rel=1e-12)


def test_dropout_drops_its_rate_and_scales_the_rest() -> None:
    assert rows(Kind.RANDOM) == ["dropout"]
    uniform = torch.tensor([0.0, 0.29, 0.3, 0.99], dtype=torch.float64)
    value = FUNCTIONS["dropout"].compute(
        torch.tensor([1.0, -2.0, 3.5, -7.0], dtype=torch.float64), 0.3, uniform=uniform
    )
    assert isinstance(value, Tensor)
    assert value.tolist() == pytest.approx([0.0, 0.0, 5.0, -10.0])


def test_clip_by_norm_shrinks_each_lane_to_norm_one_and_leaves_shorter_ones() -> None:
    assert rows(Kind.PER_TENSOR) == ["clip_norm"]
    lanes = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], dtype=torch.float64)
    value = FUNCTIONS["clip_norm"].compute(lanes, dims=(1,))
    assert isinstance(value, Tensor)
    torch.testing.assert_close(
        value, torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]], dtype=torch.float64)
    )
    alone = FUNCTIONS["clip_norm"].compute(torch.tensor(-5.0), dims=())
    assert float(alone) == -1.0  # type: ignore[arg-type]


def demon(t: int, T: int) -> float:
    beta = 0.95 * (1 - (t + 1) / T)
    return beta / ((1 - 0.95) + beta)


DECAYS: dict[str, Callable[[int, int], float]] = {
    "a1": lambda t, T: 1 - t / T,
    "a2": lambda t, T: t / T,
    "a3": lambda t, T: 0.5 * (1 + math.cos(math.pi * t / T)),
    "a4": lambda t, T: 0.5 * (1 - math.cos(math.pi * t / T)),
    "a5": lambda t, T: 0.5 * (1 + math.cos(2 * math.pi * t / T)),
    "a6": lambda t, T: 0.5 * (1 - math.cos(2 * math.pi * t / T)),
    "a7": lambda t, T: 0.5 * (1 + math.cos(math.pi * ((2 * t) % T) / T)),
    "a8": lambda t, T: 0.5 * (1 - math.cos(math.pi * ((2 * t) % T) / T)),
    "a9": lambda t, T: 1 - ((2 * t) % T) / T,
    "a10": lambda t, T: ((2 * t) % T) / T,
    "a11": lambda t, T: 0.01 ** (t / T),
    "a12": lambda t, T: 1 - 0.01 ** (t / T),
    "a13": demon,
    "a14": lambda t, T: 0.95 - demon(t, T),
}


def test_every_base_decay_has_a_formula_here() -> None:
    assert set(DECAYS) == set(BASE_DECAYS)


@pytest.mark.parametrize("name", list(DECAYS))
@pytest.mark.parametrize("total_steps", [1, 2, 7, 100, 1000])
def test_a_base_decay_follows_its_formula(name: str, total_steps: int) -> None:
    formula = [DECAYS[name](t, total_steps) for t in range(total_steps)]
    assert curve(DecayRef(name), total_steps).tolist() == pytest.approx(
        formula, rel=1e-12, abs=1e-12
    )


@pytest.mark.parametrize("name", list(DECAYS))
def test_a_base_decay_is_a_valid_decay(name: str) -> None:
    values = curve(DecayRef(name), 100)
    assert ((values >= 0) & (values <= 1)).all()


def average(values: list[float], beta: float, *, hat: bool) -> float:
    """The EMA of section 1.1 after the last value."""
    n = 0.0
    for value in values:
        n = beta * n + (1 - beta) * value
    return n / (1 - beta ** len(values)) if hat else n


def spread(values: list[float], betas: tuple[float, ...]) -> float:
    """Mean over β of (β·n − x), n the plain average with the last β that is not 0."""
    n = average(values, betas[1], hat=False)
    return sum(beta * n - values[-1] for beta in betas) / len(betas)


OPERAND_FORMULAS: dict[str, Callable[[list[float], list[float]], float]] = {
    "g": lambda g, w: g[-1],
    "g2": lambda g, w: g[-1] ** 2,
    "g3": lambda g, w: g[-1] ** 3,
    "v": lambda g, w: average(g, 0.9, hat=True),
    "s": lambda g, w: average([x**2 for x in g], 0.99, hat=True),
    "lam": lambda g, w: average([x**3 for x in g], 0.999, hat=True),
    "1": lambda g, w: 1.0,
    "2": lambda g, w: 2.0,
    "w": lambda g, w: w[-1],
    "w1e_6": lambda g, w: 1e-6 * w[-1],
    "w1e_5": lambda g, w: 1e-5 * w[-1],
    "w1e_4": lambda g, w: 1e-4 * w[-1],
    "w1e_3": lambda g, w: 1e-3 * w[-1],
    "sign_g": lambda g, w: math.copysign(1, g[-1]),
    "sign_v": lambda g, w: math.copysign(1, average(g, 0.9, hat=True)),
    "qh_g": lambda g, w: 0.3 * g[-1] + 0.7 * average(g, 0.9, hat=True),
    "qh_g2": lambda g, w: 0.05 * g[-1] ** 2 + 0.95 * average([x**2 for x in g], 0.99, hat=True),
    "qh_g3": lambda g, w: 0.01 * g[-1] ** 3 + 0.99 * average([x**3 for x in g], 0.999, hat=True),
    "agg_g": lambda g, w: spread(g, (0, 0.9, 0.999)),
    "agg_g2": lambda g, w: spread([x**2 for x in g], (0, 0.99, 0.999)),
    "agg_g3": lambda g, w: spread([x**3 for x in g], (0, 0.999, 0.9999)),
}


def test_every_operand_has_a_formula_here() -> None:
    assert set(OPERAND_FORMULAS) == set(OPERANDS)


def operand_path(name: str, g: list[float], w: list[float]) -> list[float]:
    """Follow the definition of an operand, written out in primitives, over steps."""
    states: dict[Expression, Tensor] = {}

    def value(node: Expression, t: int) -> Tensor:
        match node:
            case Constant(number):
                return torch.tensor(number, dtype=torch.float64)
            case OperandRef(primitive):
                return torch.tensor({"g": g, "w": w}[primitive][t], dtype=torch.float64)
            case Call(function, arguments, parameters):
                row = FUNCTIONS[function]
                inputs = [*(value(part, t) for part in arguments), *parameters]
                compute: Callable[..., Any] = row.compute
                if row.kind is not Kind.STATEFUL:
                    result = compute(*inputs)
                else:
                    state = states.get(node, torch.tensor(0.0, dtype=torch.float64))
                    result, states[node] = compute(*inputs, state=state, step=t)
                assert isinstance(result, Tensor)
                return result
            case _:
                raise AssertionError(node)

    expression = expand(read_operand(name))
    return [float(value(expression, t)) for t in range(STEPS)]


@pytest.mark.parametrize("name", list(OPERAND_FORMULAS))
@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e4])
def test_an_operand_follows_its_formula(name: str, scale: float) -> None:
    g = [scale * value for value in (0.3, -1.7, 2.2, 0.9, -0.05, -3.1)]
    w = [1.5, 1.4, -0.2, 3.0, 0.7, 0.1]
    formula = [OPERAND_FORMULAS[name](g[: t + 1], w[: t + 1]) for t in range(STEPS)]
    assert operand_path(name, g, w) == pytest.approx(formula, rel=1e-11)


def tensors(dtype: torch.dtype) -> Tensor:
    """Numbers of both signs and all sizes, both zeros, infinities and NaN; odd in number."""
    generator = torch.Generator().manual_seed(0)
    telling = [*NUMBERS, -0.0, math.inf, -math.inf, math.nan, 1e-40, -1e-45, 1e38]
    drawn = torch.randn(300, generator=generator, dtype=torch.float64)
    wide = drawn * 10 ** torch.linspace(-12, 12, 300, dtype=torch.float64)
    return torch.cat([torch.tensor(telling, dtype=torch.float64), drawn, wide]).to(dtype)


def values(row: Function, *steps: tuple[Tensor, ...]) -> list[Tensor]:
    """Apply a row at consecutive steps, with the same noise whenever it is asked."""
    parameters = tuple(0.875 for _ in row.parameters)
    state = torch.zeros_like(steps[0][0])
    path: list[Tensor] = []
    for step, arguments in enumerate(steps):
        keywords: dict[str, object] = {}
        if row.kind is Kind.STATEFUL:
            keywords = {"state": state, "step": step}
        elif row.kind is Kind.RANDOM:
            keywords = {"uniform": torch.linspace(0, 1, len(state), dtype=state.dtype)}
        elif row.kind is Kind.PER_TENSOR:
            keywords = {"dims": (0,)}
        result = row.compute(*arguments, *parameters, **keywords)
        if row.kind is Kind.STATEFUL:
            result, state = result  # type: ignore[misc]
        assert isinstance(result, Tensor)
        path.append(result)
    return path


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    """Tell whether values are equal to the bit, any NaN for any NaN, 0 for −0."""
    return all(
        torch.equal(a.isnan(), b.isnan()) and torch.equal(a[~a.isnan()], b[~b.isnan()])
        for a, b in zip(one, other, strict=True)
    )


def arguments(row: Function, x: Tensor) -> list[tuple[Tensor, ...]]:
    """Arguments for three steps; pairs of numbers for a function of two."""
    if row.arity == 1:
        finite = torch.where(x.isfinite(), x, torch.ones_like(x))
        # One infinity makes the norm of a whole tensor infinite: it is tested on finite numbers.
        x = finite if row.kind is Kind.PER_TENSOR else x
        return [(x,), (x.roll(1),), (x.roll(2) * 0.5,)]
    return [(x, x.roll(shift)) for shift in (0, 1, 5, 29, 111)]


def flagged(told: Callable[[Function], object]) -> list[str]:
    names = [name for name, row in FUNCTIONS.items() if told(row)]
    assert names
    return names


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", flagged(lambda row: row.parity or row.second_parity))
def test_parity_holds_to_the_bit(name: str, dtype: torch.dtype) -> None:
    row = FUNCTIONS[name]
    given = arguments(row, tensors(dtype))
    for position, parity in enumerate((row.parity, row.second_parity)):
        if parity is not None:
            turned = [
                tuple(-x if at == position else x for at, x in enumerate(step)) for step in given
            ]
            expected = values(row, *given)
            if parity is Parity.ODD:
                expected = [-value for value in expected]
            assert same(values(row, *turned), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", flagged(lambda row: row.idempotent))
def test_idempotence_holds_to_the_bit(name: str, dtype: torch.dtype) -> None:
    row = FUNCTIONS[name]
    x = tensors(dtype)
    if row.arity == 2:
        assert same(values(row, (x, x)), [x])
    else:
        once = values(row, *arguments(row, x))
        assert same(values(row, *((value,) for value in once)), once)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", flagged(lambda row: row.commutative))
def test_commutativity_holds_to_the_bit(name: str, dtype: torch.dtype) -> None:
    row = FUNCTIONS[name]
    given = arguments(row, tensors(dtype))
    assert same(values(row, *given), values(row, *((y, x) for x, y in given)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_no_function_tells_minus_zero_from_zero(name: str, dtype: torch.dtype) -> None:
    row = FUNCTIONS[name]
    zeros = torch.zeros(33, dtype=dtype)
    others = [torch.full_like(zeros, value) for value in (0.0, 1.0, -2.5)]
    given: list[tuple[Tensor, ...]] = [(zeros,)]
    if row.arity == 2:
        given = [pair for y in others for pair in ((zeros, y), (y, zeros))]
    for step in given:
        turned = tuple(-x if not x.any() else x for x in step)
        assert same(values(row, step, step), values(row, turned, turned))


@pytest.mark.parametrize("name", list(FUNCTIONS))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_function_computes_in_the_dtype_of_its_argument(
    name: str, dtype: torch.dtype
) -> None:
    row = FUNCTIONS[name]
    x = torch.linspace(-2, 2, 9, dtype=torch.float64).to(dtype)
    assert all(value.dtype == dtype for value in values(row, *[(x,) * row.arity] * 2))
