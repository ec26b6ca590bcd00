"""Native linear layers equal torch's, lane by lane, and no BLAS decides their bits."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from lanes.networks import CASES, CLASSES
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from evolute.lanes import products
from evolute.lanes.choose import choose
from evolute.lanes.native_layers import layers

pytestmark = pytest.mark.skipif(
    layers() is None and not os.environ.get("CI"),
    reason="the native layers are not built (no CMake or compiler when this was installed)",
)

SIZES = [  # lanes, rows, inputs, outputs
    (3, 128, 64, 32),
    (2, 37, 19, 10),
    (1, 5, 3, 1),
    (2, 12, 16, 49),
    (1, 600, 17, 33),
    (2, 4, 520, 300),
    (2, 1, 3, 10),
    (2, 3, 5, 26),
]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def given(lanes: int, rows: int, inputs: int, outputs: int) -> list[Tensor]:
    return [
        drawn(lanes, rows, inputs),
        drawn(lanes, outputs, inputs, seed=1),
        drawn(lanes, outputs, seed=2),
    ]


def step(x: Tensor, *weights: Tensor, rectified: bool) -> list[Tensor]:
    leaves = [each.detach().requires_grad_() for each in (x, *weights)]
    y = products.linear(*leaves, rectified=rectified)
    return [y, *torch.autograd.grad(y, leaves, drawn(*y.shape, seed=3))]


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_a_linear_layer_and_its_gradients_equal_torchs_in_double(
    sizes: tuple[int, int, int, int], rectified: bool
) -> None:
    parts = given(*sizes)
    found = step(*parts, rectified=rectified)
    x, weight, bias = leaves = [each.double().requires_grad_() for each in parts]
    y = x @ weight.transpose(1, 2) + bias[:, None]
    y = y.relu() if rectified else y
    wanted = [y, *torch.autograd.grad(y, leaves, drawn(*y.shape, seed=3).double())]
    for one, two in zip(found, wanted, strict=True):
        assert one.shape == two.shape
        assert (one.double() - two).norm().item() <= 1e-6 * two.norm().item()


def test_without_a_bias_and_with_inputs_that_lanes_share() -> None:
    x, weight, bias = given(3, 20, 7, 5)
    shared = step(x[:1].expand(3, -1, -1), weight, bias * 0, rectified=False)
    own = step(x[:1].repeat(3, 1, 1), weight, rectified=False)
    assert all(torch.equal(a, b) for a, b in zip(shared, own, strict=False))


@pytest.mark.parametrize("sizes", SIZES)
def test_a_lane_has_the_same_bits_beside_any_others(sizes: tuple[int, int, int, int]) -> None:
    _, *rest = sizes
    parts = given(4, *rest)
    x, weight, bias = (each.detach().requires_grad_() for each in parts)
    y = products.linear(x, weight, bias)
    whole = torch.autograd.grad(y.square().sum(), (x, weight, bias))
    for start, end in ((0, 1), (1, 4), (3, 4)):
        one = [each[start:end].detach().requires_grad_() for each in parts]
        z = products.linear(one[0], one[1], one[2])
        some = torch.autograd.grad(z.square().sum(), one)
        assert torch.equal(z, y[start:end])
        assert all(torch.equal(a, b[start:end]) for a, b in zip(some, whole, strict=True))


def test_numbers_that_are_not_finite_come_out_as_such() -> None:
    x, weight, bias = given(2, 20, 9, 11)
    x[0, 3, 4], x[0, 17, 1] = float("nan"), float("inf")
    for rectified in (False, True):
        y = products.linear(x, weight, bias, rectified=rectified)
        assert y[0, 3].isnan().all()
        assert y[0, 17].isinf().any()
        assert y[0, [0, 1, 2, 4]].isfinite().all()
        assert y[1].isfinite().all()


class Rounding(TorchDispatchMode):
    """Torch's products of matrices, with bits that depend on the sizes of what is multiplied."""

    products = (
        torch.ops.aten.mm.default,
        torch.ops.aten.addmm.default,
        torch.ops.aten.bmm.default,
        torch.ops.aten.baddbmm.default,
    )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in self.products:
            size = sum(each.numel() for each in args if isinstance(each, Tensor))
            out.mul_(1 + size % 13 * torch.finfo(out.dtype).eps)
        return out


@pytest.mark.parametrize("name", ["perceptron", "transformer"])
def test_the_stacked_plan_serves_whatever_torchs_products_do(name: str) -> None:
    case = CASES[name]
    rounding: Any = Rounding
    with rounding():
        choice = choose(case.build, case.batch, CLASSES, name=name, version="", plan="stacked")
    assert choice.plan == "stacked"
