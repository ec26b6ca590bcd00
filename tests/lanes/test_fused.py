"""The native pass of batch normalisation and activation equals torch's, column by column."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from evolute.lanes import fused
from evolute.lanes.native_layers import layers
from evolute.lanes.norms import normalise

ACTIVATIONS = {None: lambda y: y, "relu": functional.relu, "silu": functional.silu}

pytestmark = pytest.mark.skipif(
    layers() is None and not os.environ.get("CI"),
    reason="the native layers are not built (no CMake or compiler when this was installed)",
)


def run(x: Tensor, weight: Tensor, bias: Tensor, g: Tensor, activation: str | None) -> list[Tensor]:
    one, two, three = leaves = [each.detach().requires_grad_() for each in (x, weight, bias)]
    running = (torch.zeros(x.shape[1]), torch.ones(x.shape[1]))
    z = normalise(
        fused.RowNorm,
        one,
        weight=two,
        bias=three,
        running=running,
        momentum=0.1,
        epsilon=1e-5,
        activation=activation,
    )
    return [z.detach(), *torch.autograd.grad(z, leaves, g), *running]


def wanted(
    x: Tensor, weight: Tensor, bias: Tensor, g: Tensor, activation: str | None
) -> list[Tensor]:
    leaves = [each.detach().double().requires_grad_() for each in (x, weight, bias)]
    mean, variance = running = (torch.zeros(x.shape[1]).double(), torch.ones(x.shape[1]).double())
    y = functional.batch_norm(leaves[0], mean, variance, leaves[1], leaves[2], training=True)
    z = ACTIVATIONS[activation](y)
    return [z.detach(), *torch.autograd.grad(z, leaves, g.double()), *running]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(33, 29), (9, 16, 5, 5), (4, 3, 2, 7)])
def test_it_equals_torch_in_double(
    shape: tuple[int, ...], dtype: torch.dtype, activation: str | None
) -> None:
    assert fused.serves(torch.zeros(shape))
    generator = torch.Generator().manual_seed(4)
    x = (torch.randn(shape, generator=generator) * 3 + 20).to(dtype)
    weight, bias = (torch.randn(shape[1], generator=generator) for _ in range(2))
    g = torch.randn(shape, generator=generator).to(dtype)
    tolerance = 1e-5 if dtype is torch.float32 else 2e-2
    given = (x, weight, bias, g, activation)
    for found, right in zip(run(*given), wanted(*given), strict=True):
        assert (found.double() - right).norm() <= tolerance * right.norm()


def test_a_channel_has_the_same_bits_beside_any_others() -> None:
    generator = torch.Generator().manual_seed(5)
    x, g = (torch.randn(50, 37, generator=generator) for _ in range(2))
    weight, bias = (torch.randn(37, generator=generator) for _ in range(2))
    whole = run(x, weight, bias, g, "silu")
    for start, end in ((0, 1), (3, 7), (5, 13), (20, 37)):
        cut = [each[..., start:end].contiguous() for each in (x, weight, bias, g)]
        alone = run(cut[0], cut[1], cut[2], cut[3], "silu")
        assert all(torch.equal(a, b[..., start:end]) for a, b in zip(alone, whole, strict=True))


def test_numbers_that_are_not_finite_come_out_as_such() -> None:
    x = torch.randn(8, 3)
    x[2, 1] = float("nan")
    found = run(x, torch.ones(3), torch.zeros(3), torch.ones(8, 3), "silu")[0]
    assert found[:, 1].isnan().all()
    assert found[:, [0, 2]].isfinite().all()


def test_sigmoid_keeps_its_ends() -> None:
    x = torch.tensor([[-1.0], [1.0]])
    found = run(x, torch.tensor([300.0]), torch.zeros(1), torch.ones(2, 1), "silu")[0]
    torch.testing.assert_close(found, torch.tensor([[0.0], [300.0]]), atol=1e-2, rtol=1e-5)
