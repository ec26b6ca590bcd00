"""Native convolution and normalisation of small images equal torch's, lane by lane."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from evolute.lanes import images
from evolute.lanes.native_layers import layers
from evolute.lanes.norms import normalise

ACTIVATIONS = {None: lambda y: y, "relu": functional.relu, "silu": functional.silu}
SHAPES = [  # lanes, examples, channels in and out, size, kernel, stride, padding
    (2, 128, 8, 16, 8, 3, 2, 1),
    (3, 5, 3, 5, 7, 3, 1, 1),
    (1, 37, 1, 9, 6, 3, 1, 1),
    (2, 33, 6, 10, 5, 1, 2, 0),
    (2, 18, 3, 7, 5, 5, 3, 2),
    (2, 70, 14, 20, 12, 3, 1, 1),  # images of more than 2^17 numbers from here on
    (1, 37, 30, 90, 13, 5, 2, 2),
    (1, 150, 3, 9, 11, 3, 1, 1),
]

pytestmark = pytest.mark.skipif(
    layers() is None and not os.environ.get("CI"),
    reason="the native layers are not built (no CMake or compiler when this was installed)",
)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def near(found: list[Tensor], wanted: list[Tensor]) -> bool:
    pairs = zip(found, wanted, strict=True)
    return all((a.detach().double() - b).norm() <= 1e-6 * b.norm() for a, b in pairs)


def convolved(x: Tensor, weight: Tensor, stride: int, padding: int) -> list[Tensor]:
    x, weight = (each.detach().requires_grad_() for each in (x, weight))
    y = images.convolve(x, weight, stride=(stride, stride), padding=(padding, padding))
    return [y, *torch.autograd.grad(y, (x, weight), drawn(*y.shape))]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_convolution_and_its_gradients_equal_those_of_torch_in_double(
    shape: tuple[int, ...],
) -> None:
    lanes, examples, inputs, outputs, size, kernel, stride, padding = shape
    x = drawn(lanes, examples, inputs, size, size + 1)
    weight = drawn(lanes, outputs, inputs, kernel, kernel)
    found = convolved(x, weight, stride, padding)
    leaves = [each.double().requires_grad_() for each in (x, weight)]
    y = torch.stack(
        [
            functional.conv2d(own, kernels, stride=stride, padding=padding)
            for own, kernels in zip(*leaves, strict=True)
        ]
    )
    gradient = drawn(*y.shape).double()
    assert near(found, [y.detach(), *torch.autograd.grad(y, leaves, gradient)])


def test_images_that_lanes_share_are_convolved_as_if_each_had_its_own() -> None:
    x, weight = drawn(5, 2, 6, 6), drawn(3, 4, 2, 3, 3).requires_grad_()
    found = []
    for each in (x.expand(3, *x.shape), x.repeat(3, 1, 1, 1, 1)):
        y = images.convolve(each, weight, stride=(1, 1), padding=(1, 1))
        found.append([y, *torch.autograd.grad(y.square().sum(), weight)])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def normalised(x: Tensor, weight: Tensor, bias: Tensor, activation: str | None) -> list[Tensor]:
    leaves = one, two, three = [each.detach().requires_grad_() for each in (x, weight, bias)]
    running = (torch.zeros(weight.shape), torch.ones(weight.shape))
    z = normalise(
        images.ImageNorm,
        one,
        weight=two,
        bias=three,
        running=running,
        momentum=0.1,
        epsilon=1e-5,
        activation=activation,
    )
    return [z, *torch.autograd.grad(z, leaves, drawn(*z.shape).flip(1)), *running]


def wanted_norm(x: Tensor, weight: Tensor, bias: Tensor, activation: str | None) -> list[Tensor]:
    leaves = [each.double().requires_grad_() for each in (x, weight, bias)]
    running = (torch.zeros(weight.shape).double(), torch.ones(weight.shape).double())
    pairs = zip(leaves[0], *running, leaves[1], leaves[2], strict=True)
    z = torch.stack([functional.batch_norm(*each, training=True) for each in pairs])
    z = ACTIVATIONS[activation](z)
    return [
        z.detach(),
        *torch.autograd.grad(z, leaves, drawn(*z.shape).flip(1).double()),
        *running,
    ]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(2, 32, 4, 3, 3), (3, 7, 5, 1, 2), (1, 129, 1, 16, 9)])
def test_a_normalisation_and_its_gradients_equal_those_of_torch_in_double(
    shape: tuple[int, ...], activation: str | None
) -> None:
    x = drawn(*shape) * 3 + 20
    weight, bias = drawn(shape[0], shape[2]) + 1.5, drawn(shape[0], shape[2])
    found, wanted = (f(x, weight, bias, activation) for f in (normalised, wanted_norm))
    pairs = zip(found, wanted, strict=True)
    assert all((a.detach() - b).norm() <= 1e-5 * (b.norm() + 1) for a, b in pairs)


@settings(max_examples=8)
@given(data=st.data())
def test_a_lane_has_the_same_bits_beside_any_others(data: st.DataObject) -> None:
    examples = data.draw(st.integers(1, 40))
    sizes = [data.draw(st.integers(1, 9)) for _ in range(2)]
    x, weight = drawn(4, examples, sizes[0], 5, 5), drawn(4, sizes[1], sizes[0], 3, 3)
    scale, bias = drawn(4, sizes[0]), drawn(4, sizes[0])
    gradient = drawn(4, examples, sizes[1], 3, 3)

    def step(lanes: slice) -> list[Tensor]:
        leaves = [each[lanes].detach().requires_grad_() for each in (x, scale, bias, weight)]
        one, two, three, kernels = leaves
        z = normalise(
            images.ImageNorm,
            one,
            weight=two,
            bias=three,
            running=None,
            momentum=0.1,
            epsilon=1e-5,
            activation="silu",
        )
        y = images.convolve(z, kernels, stride=(2, 2), padding=(1, 1))
        return [z, y, *torch.autograd.grad(y, leaves, gradient[lanes])]

    whole = step(slice(0, 4))
    start = data.draw(st.integers(0, 3))
    lanes = slice(start, data.draw(st.integers(start + 1, 4)))
    assert all(torch.equal(a, b[lanes]) for a, b in zip(step(lanes), whole, strict=True))


def test_numbers_that_are_not_finite_come_out_as_such() -> None:
    x, weight = torch.randn(2, 20, 3, 4, 4), torch.randn(2, 5, 3, 3, 3)
    x[0, 3, 1, 0, 0], x[0, 17, 1, 3, 3] = float("nan"), float("inf")
    y = images.convolve(x, weight, stride=(1, 1), padding=(1, 1))
    right = torch.stack(
        [functional.conv2d(a, b, padding=1) for a, b in zip(x, weight, strict=True)]
    )
    assert torch.equal(y.isnan(), right.isnan())
    assert torch.equal(y.isinf(), right.isinf())
    z = normalise(
        images.ImageNorm,
        x,
        weight=torch.ones(2, 3),
        bias=torch.zeros(2, 3),
        running=None,
        momentum=0,
        epsilon=1e-5,
        activation="silu",
    )
    assert z[0, :, 1].isnan().all()
    assert z[0, :, 0].isfinite().all()
    assert z[1].isfinite().all()


def test_silu_after_a_normalisation_is_right_far_from_zero_too() -> None:
    x = torch.linspace(-2, 2, 4096).view(1, 32, 1, 8, 16)
    weight, bias = torch.tensor([[40.0]]), torch.tensor([[3.0]])
    found, wanted = (f(x, weight, bias, "silu") for f in (normalised, wanted_norm))
    assert found[0].min() < 0
    assert found[0].max() > 60
    torch.testing.assert_close(found[0].double(), wanted[0], rtol=3e-5, atol=1e-5)
    torch.testing.assert_close(found[1].double(), wanted[1], rtol=1e-3, atol=1e-4)


def test_the_mean_of_pixels_is_torchs() -> None:
    x = drawn(2, 5, 3, 4, 4)
    torch.testing.assert_close(images.average(x), x.mean((3, 4), keepdim=True))


@pytest.mark.parametrize("examples", [5, 37])
def test_a_gradient_that_all_pixels_share_is_as_good_as_one_for_each(examples: int) -> None:
    weight, bias = drawn(2, 3) + 1.5, drawn(2, 3)
    found = []
    for mean in (images.average, lambda z: z.mean((3, 4), keepdim=True) + 0 * z):
        leaves = [each.requires_grad_() for each in (drawn(2, examples, 3, 4, 5), weight, bias)]
        z = normalise(
            images.ImageNorm,
            leaves[0],
            weight=leaves[1],
            bias=leaves[2],
            running=None,
            momentum=0,
            epsilon=1e-5,
            activation="silu",
        )
        found.append(torch.autograd.grad(mean(z).square().sum() / mean(z)[0, 0, 0].numel(), leaves))
    assert near(list(found[0]), [each.double() for each in found[1]])
