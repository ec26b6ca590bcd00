"""Native layer normalisation and gelu equal torch's, lane by lane."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from evolute.lanes import sequences
from evolute.lanes.native_layers import layers

pytestmark = pytest.mark.skipif(
    layers() is None and not os.environ.get("CI"),
    reason="the native layers are not built (no CMake or compiler when this was installed)",
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def normalised(*leaves: Tensor) -> list[Tensor]:
    x, weight, bias = (each.detach().requires_grad_() for each in leaves)
    z = sequences.layer_norm(x, weight, bias, epsilon=1e-5)
    return [z, *torch.autograd.grad(z, (x, weight, bias), drawn(*z.shape, seed=3))]


SHAPES = [(2, 100, 64), (3, 5, 7, 19), (1, 4, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_layer_normalisation_equals_torchs_in_double(shape: tuple[int, ...]) -> None:
    given = [drawn(*shape) + 2, *(drawn(shape[0], shape[-1], seed=seed) for seed in (1, 2))]
    found = normalised(*given)
    leaves = [each.double().requires_grad_() for each in given]
    pairs = zip(*leaves, strict=True)
    z = torch.stack([functional.layer_norm(a, shape[-1:], b, c) for a, b, c in pairs])
    wanted = [z.detach(), *torch.autograd.grad(z, leaves, drawn(*shape, seed=3).double())]
    for one, two in zip(found, wanted, strict=True):
        assert (one.detach().double() - two).norm() <= 1e-6 * two.norm()


def test_a_lane_is_normalised_to_the_same_bits_beside_any_others() -> None:
    given = [drawn(4, 70, 21), drawn(4, 21), drawn(4, 21)]
    whole = normalised(*given)
    first = normalised(*(each[:1] for each in given))
    assert torch.equal(first[0], whole[0][:1])
    x, weight, bias = (each.detach().requires_grad_() for each in given)
    z = sequences.layer_norm(x[1:3], weight[1:3], bias[1:3], epsilon=1e-5)
    some = torch.autograd.grad(z, (x, weight, bias), drawn(4, 70, 21, seed=3)[1:3])
    assert all(torch.equal(a[1:3], b[1:3]) for a, b in zip(some, whole[1:], strict=True))


def unit(x: Tensor, gradient: Tensor) -> list[Tensor]:
    leaf = x.detach().requires_grad_()
    y = sequences.gelu(leaf)
    return [y, *torch.autograd.grad(y, leaf, gradient)]


@pytest.mark.parametrize("turned", [False, True])
def test_gelu_and_its_gradient_equal_torchs_in_double(turned: bool) -> None:
    x, gradient = drawn(2, 33, 21) * 3, drawn(2, 33, 21, seed=1)
    given = x.transpose(1, 2).contiguous().transpose(1, 2) if turned else x
    leaf = x.double().requires_grad_()
    y = functional.gelu(leaf)
    wanted = [y.detach(), *torch.autograd.grad(y, leaf, gradient.double())]
    for one, two in zip(unit(given, gradient), wanted, strict=True):
        torch.testing.assert_close(one.double(), two, atol=1e-6, rtol=1e-6)


def test_gelu_has_the_same_bits_beside_any_others() -> None:
    x, gradient = drawn(5, 3, 7), drawn(5, 3, 7, seed=1)
    whole = unit(x, gradient)
    for lane in range(5):
        one = slice(lane, lane + 1)
        found = unit(x[one], gradient[one])
        assert all(torch.equal(a, b[one]) for a, b in zip(found, whole, strict=True))


def test_numbers_that_are_not_finite_come_out_as_such() -> None:
    x = torch.tensor([[float("nan"), float("inf"), -float("inf"), 1.0]])
    assert sequences.gelu(x).isfinite().tolist() == [[False, False, False, True]]
    x = drawn(1, 3, 20)
    x[0, 1, 4] = float("nan")
    z = sequences.layer_norm(x, torch.ones(1, 20), torch.zeros(1, 20), epsilon=1e-5)
    assert z[0, 1].isnan().all()
    assert z[0, [0, 2]].isfinite().all()
