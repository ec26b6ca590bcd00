"""Functions of a compiled step: all digits over the whole range, as the functions of torch."""

from __future__ import annotations

import math
import re
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from evolute.compiler import traced_functions
from evolute.compiler.optimizer import RuleOptimizer
from evolute.compiler.program import compile_rule
from evolute.compiler.traced import traced_program
from evolute.compiler.traced_functions import TRACED
from evolute.lang.registry import FUNCTIONS, Kind, Parity
from evolute.lang.rule import Rule

CORE = Path(__file__).parents[2] / "src" / "evolute" / "native" / "core" / "coefficients.h"
TORCH = {"erf": torch.special.erf, "expm1": torch.expm1, "i1e": torch.special.i1e}
ULPS = 5.0  # of which exp has 1, and another CPU another one
EDGES = [0.0, -0.0, 1e-45, -1e-45, math.inf, -math.inf, math.nan]
UNARY = sorted(
    name
    for name, row in FUNCTIONS.items()
    if row.kind is Kind.ELEMENTWISE and row.arity == 1 and row.published is not None
)
pytestmark = [
    # torch's own modules use what torch deprecates.
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning"),
]


def numbers() -> Tensor:
    """Return float32 numbers of all sizes, those without leading bit and the largest included."""
    bits = torch.linspace(0, 0x7F7FFFFF, 300_001, dtype=torch.float64).to(torch.int32)
    sizes = torch.cat([bits.view(torch.float32), torch.linspace(0, 20, 200_001)])
    return torch.cat([sizes, -sizes])


def assert_within(value: Tensor, truth: Tensor, *, ulps: float) -> None:
    """Compare with numbers of float64, in units of the last place of their neighbours."""
    nearest = truth.to(value.dtype)
    assert torch.equal(value.isnan(), nearest.isnan())
    upper = torch.nextafter(nearest.abs(), torch.tensor(math.inf, dtype=value.dtype))
    unit = upper.double() - nearest.abs().double()
    error = ((value.double() - truth) / unit).abs()[(value != nearest) & ~value.isnan()]
    assert not error.numel() or error.max() <= ulps


@pytest.mark.parametrize("name", sorted(TRACED))
def test_a_formula_is_right_over_the_whole_range(name: str) -> None:
    x = numbers()
    assert_within(TRACED[name](x), TORCH[name](x.double()), ulps=ULPS)


@pytest.mark.parametrize("name", sorted(TRACED))
def test_zeros_infinities_and_nan_are_as_torch_has_them(name: str) -> None:
    x = torch.tensor(EDGES)
    value = TRACED[name](x)
    # 0.5 of the smallest number may be rounded either way.
    torch.testing.assert_close(value, TORCH[name](x), rtol=0, atol=2e-45, equal_nan=True)
    assert value[:2].signbit().tolist() == [False, True]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(TRACED))
def test_sixteen_bits_are_the_nearest_to_the_truth(name: str, dtype: torch.dtype) -> None:
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    x = bits.view(dtype)
    x = x[x.isfinite()]
    value = TRACED[name](x)
    assert value.dtype is dtype
    truth = TORCH[name](x.double())
    fits = truth.abs() <= torch.finfo(dtype).max
    assert_within(value[fits], truth[fits], ulps=0.51)


@pytest.mark.parametrize("name", sorted(TRACED))
def test_double_precision_is_left_to_torch(name: str) -> None:
    x = torch.linspace(-30, 30, 1001, dtype=torch.float64)
    assert torch.equal(TRACED[name](x), TORCH[name](x))


def test_polynomials_are_those_of_the_native_core() -> None:
    text = CORE.read_text(encoding="utf-8")
    for ours, theirs in [
        ("BESSEL_NEAR", "i1_near"),
        ("BESSEL_FAR", "i1e_far"),
        ("ERF_NEAR", "erf_near"),
        ("ERF_FAR", "erf_far"),
    ]:
        found = re.search(rf" {theirs}\[\] = {{([^}}]*)}}", text)
        assert found is not None
        printed = tuple(float(each) for each in re.findall(r"\S+(?=f,)", found[1]))
        assert getattr(traced_functions, ours) == printed


@pytest.mark.parametrize("rule", ["none: bessel_i1e(g)", "none: erf(g)"])
def test_a_captured_step_calls_no_function_that_the_compiler_does_badly(rule: str) -> None:
    torch._dynamo.reset()
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    called: list[str] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        called.extend(str(each.target) for each in graph.graph.nodes)
        return graph.forward

    torch.compile(RuleOptimizer([weight], rule, lr=0.1).step, backend=backend)()
    assert any("copysign" in each for each in called)
    assert not any("i1e" in each or "erf" in each for each in called)


@pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("c++") is None, reason="no C++ compiler here"
)
def test_machine_code_of_every_function_gives_what_its_row_gives() -> None:
    """An odd function is small where its argument is: there, too, all digits are wanted."""
    torch._dynamo.reset()
    programs = [traced_program(compile_rule(Rule.parse(f"none: {name}(g)"))) for name in UNARY]

    def compute(x: Tensor) -> list[Tensor]:
        return [each.program.sign * each.update(x, x, (), ())[0] for each in programs]

    size = torch.logspace(-37, 1.9, 4001)
    x = torch.cat([size, -size])
    for name, value in zip(UNARY, torch.compile(compute)(x), strict=True):
        row = FUNCTIONS[name]
        expected = row.compute(x.double())
        assert isinstance(expected, Tensor)
        atol = 1e-44 if row.parity is Parity.ODD else 5e-7
        torch.testing.assert_close(
            value, expected.float(), rtol=1e-5, atol=atol, msg=partial("{}: {}".format, name)
        )
