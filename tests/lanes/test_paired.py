"""Native layers on images in bfloat16 are torch's under autocast, to rounding, lane by lane."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lanes.networks import CLASSES
from torch import Tensor, nn
from torch.nn import functional

from evolute.lanes import paired
from evolute.lanes.check import Subject, check_against_plain, check_company
from evolute.lanes.native_layers import layers
from evolute.lanes.norms import ACTIVATIONS
from evolute.lanes.plans import PLANS
from evolute.tasks.networks import ResidualBlock, published_convnet

PLAIN = {None: lambda y: y, "relu": functional.relu, "silu": functional.silu}
SHAPES = [  # lanes, examples, channels in and out, size, kernel, stride, padding
    (2, 128, 8, 16, 8, 3, 2, 1),
    (3, 5, 3, 5, 7, 3, 1, 1),
    (1, 37, 1, 6, 9, 3, 1, 1),
    (2, 33, 6, 5, 10, 1, 2, 0),
    (2, 18, 3, 5, 7, 5, 3, 2),
    (1, 64, 11, 49, 6, 3, 2, 1),
    (1, 3, 2, 3, 5, 2, 3, 0),
]
HALF_STEP = 2.0**-8
"""Largest relative error of one rounding to bfloat16."""

pytestmark = pytest.mark.skipif(
    layers() is None and not os.environ.get("CI"),
    reason="the native layers are not built (no CMake or compiler when this was installed)",
)
ways = pytest.mark.parametrize("plain", [False, True], ids=["best of the machine", "plain"])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers that bfloat16 holds."""
    generator = torch.Generator().manual_seed(sum(shape) + seed)
    return torch.randn(*shape, generator=generator).bfloat16().float()


def convolved(
    x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int, *, plain: bool
) -> list[Tensor]:
    leaves = [each.detach().requires_grad_() for each in (x, weight, bias)]
    words = paired.convolve(
        paired.packed(leaves[0], plain=plain),
        *leaves[1:],
        examples=x.shape[1],
        stride=(stride, stride),
        padding=(padding, padding),
        plain=plain,
    )
    y = paired.unpacked(words, x.shape[1], weight.shape[1])
    return [y.detach(), *torch.autograd.grad(y, leaves, drawn(*y.shape).bfloat16())]


def near(found: Tensor, wanted: Tensor) -> bool:
    """Say whether two results differ by a rounding of each number, and of its parts' sum."""
    most = wanted.abs().max().item() if wanted.numel() else 0.0
    bound = 1.05 * HALF_STEP * wanted.abs() + 1e-5 * (most + 1)
    return bool(((found.detach().double() - wanted).abs() <= bound).all())


@ways
@pytest.mark.parametrize("shape", SHAPES)
def test_a_convolution_and_its_gradients_are_those_of_torch_to_one_rounding(
    shape: tuple[int, ...], plain: bool
) -> None:
    lanes, examples, inputs, outputs, size, kernel, stride, padding = shape
    x = drawn(lanes, examples, inputs, size, size + 1)
    weight, bias = drawn(lanes, outputs, inputs, kernel, kernel), drawn(lanes, outputs)
    found = convolved(x, weight, bias, stride, padding, plain=plain)
    leaves = [each.double().requires_grad_() for each in (x, weight, bias)]
    y = torch.stack(
        [
            functional.conv2d(own, kernels, offset, stride=stride, padding=padding)
            for own, kernels, offset in zip(*leaves, strict=True)
        ]
    )
    wanted = [y.detach(), *torch.autograd.grad(y, leaves, drawn(*y.shape).double())]
    assert all(near(a, b) for a, b in zip(found, wanted, strict=True))
    for a, b in zip(found[2:], wanted[2:], strict=True):  # of the weights: not rounded
        assert (a.double() - b).norm() <= 1e-5 * b.norm()


def normalised(
    x: Tensor, weight: Tensor, bias: Tensor, activation: str | None, *, plain: bool
) -> list[Tensor]:
    leaves = [each.detach().requires_grad_() for each in (x, weight, bias)]
    words = paired.packed(leaves[0], plain=plain)
    apply: Any = paired.PairedNorm2d.apply
    code, examples = ACTIVATIONS[activation], x.shape[1]
    z, mean, variance = apply(words, *leaves[1:], 1e-5, code, examples, plain)
    given = paired.normalised_by(
        words.detach(), weight, bias, (mean, variance),
        examples=examples, epsilon=1e-5, activation=code, plain=plain,
    )  # fmt: skip
    assert torch.allclose(given, z, rtol=2 * HALF_STEP, atol=1e-4, equal_nan=True)
    out = paired.unpacked(z, examples, x.shape[2])
    gradients = torch.autograd.grad(out, leaves, drawn(*x.shape, seed=1).bfloat16())
    return [out.detach(), *gradients, mean, variance]


@ways
@pytest.mark.parametrize("activation", PLAIN)
@pytest.mark.parametrize("shape", [(2, 32, 4, 3, 3), (3, 7, 5, 1, 2), (1, 129, 1, 16, 9)])
def test_a_normalisation_and_its_gradients_are_those_of_torch_to_rounding(
    shape: tuple[int, ...], activation: str | None, plain: bool
) -> None:
    x = (drawn(*shape) * 3 + 20).bfloat16().float()
    weight, bias = drawn(shape[0], shape[2]) + 1.5, drawn(shape[0], shape[2])
    found = normalised(x, weight, bias, activation, plain=plain)
    leaves = [each.double().requires_grad_() for each in (x, weight, bias)]
    z = PLAIN[activation](
        torch.stack(
            [
                functional.batch_norm(own, None, None, scale, offset, training=True)
                for own, scale, offset in zip(*leaves, strict=True)
            ]
        )
    )
    wanted = [
        z.detach(),
        *torch.autograd.grad(z, leaves, drawn(*shape, seed=1).double()),
        x.double().mean((1, 3, 4)),
        x.double().var((1, 3, 4), unbiased=False),
    ]
    for number, (a, b) in enumerate(zip(found, wanted, strict=True)):
        bound = 1e-2 if number < 2 else 1e-4  # images are rounded, and some of them twice
        assert (a.double() - b).norm() <= bound * (b.norm() + 1e-2)


@settings(max_examples=8)
@given(data=st.data())
def test_a_lane_has_the_same_bits_beside_any_others(data: st.DataObject) -> None:
    examples, plain = data.draw(st.integers(1, 40)), data.draw(st.booleans())
    sizes = [data.draw(st.integers(1, 15)) for _ in range(2)]
    x, weight = drawn(4, examples, sizes[0], 5, 5), drawn(4, sizes[1], sizes[0], 3, 3)
    scale, bias = drawn(4, sizes[0]), drawn(4, sizes[0])

    def step(lanes: slice) -> list[Tensor]:
        z = normalised(x[lanes], scale[lanes], bias[lanes], "silu", plain=plain)
        offset = weight[lanes, :, 0, 0, 0]
        return [*z, *convolved(z[0].float(), weight[lanes], offset, 2, 1, plain=plain)]

    whole = step(slice(0, 4))
    start = data.draw(st.integers(0, 3))
    lanes = slice(start, data.draw(st.integers(start + 1, 4)))
    alone = step(lanes)
    # The gradient that the result is given differs with the number of lanes, not the result.
    for place in (0, 4, 5, 6):
        assert torch.equal(alone[place], whole[place][lanes])


def test_gradients_of_a_lane_have_the_same_bits_beside_any_others() -> None:
    x, weight, g = drawn(3, 40, 5, 6, 6), drawn(3, 7, 5, 3, 3), drawn(3, 40, 7, 6, 6)

    def step(lanes: slice) -> tuple[Tensor, ...]:
        leaves = [each[lanes].detach().requires_grad_() for each in (x, weight)]
        words = paired.convolve(
            paired.packed(leaves[0]), leaves[1], examples=40, stride=(1, 1), padding=(1, 1)
        )
        y = paired.unpacked(words, 40, 7)
        return torch.autograd.grad(y, leaves, g[lanes].bfloat16())

    whole = step(slice(0, 3))
    for lane in range(3):
        own = slice(lane, lane + 1)
        assert all(torch.equal(a, b[own]) for a, b in zip(step(own), whole, strict=True))


def test_images_that_lanes_share_are_convolved_as_if_each_had_its_own() -> None:
    x, weight = drawn(5, 2, 6, 6), drawn(3, 4, 2, 3, 3).requires_grad_()
    found = []
    for each in (x.expand(3, *x.shape), x.repeat(3, 1, 1, 1, 1)):
        words = paired.convolve(
            paired.packed(each), weight, examples=5, stride=(1, 1), padding=(1, 1)
        )
        found.append([words, *torch.autograd.grad(words.float().square().sum(), weight)])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


@ways
def test_numbers_that_are_not_finite_come_out_as_such_and_nothing_else_does(plain: bool) -> None:
    x, weight = drawn(2, 20, 3, 4, 4), drawn(2, 5, 3, 3, 3)
    x[0, 3, 1, 0, 0], x[0, 17, 1, 3, 3] = float("nan"), float("inf")
    weight[1, 2, 0, 1, 1] = float("inf")
    y, of_x, of_weight, _ = convolved(x, weight, drawn(2, 5), 1, 1, plain=plain)
    leaves = [each.detach().requires_grad_() for each in (x, weight)]
    pairs = zip(*leaves, drawn(2, 5), strict=True)
    right = torch.stack([functional.conv2d(a, b, c, padding=1) for a, b, c in pairs])
    wanted = [right.detach(), *torch.autograd.grad(right, leaves, drawn(*y.shape))]
    for a, b in zip((y, of_x, of_weight), wanted, strict=True):
        assert torch.equal(a.isnan(), b.isnan())
        assert torch.equal(a.isinf(), b.isinf())
    z, *_ = normalised(x, torch.ones(2, 3), torch.zeros(2, 3), "silu", plain=plain)
    assert z[0, :, 1].isnan().all()
    assert z[0, :, 0].isfinite().all()
    assert z[1].isfinite().all()


def test_what_fills_up_the_last_examples_and_channels_stays_zero() -> None:
    x, weight = drawn(1, 5, 3, 4, 4), drawn(1, 5, 3, 3, 3)
    x[0, 0, 0, 0, 0] = float("inf")
    words = paired.convolve(
        paired.packed(x), weight, torch.ones(1, 5), examples=5, stride=(1, 1), padding=(1, 1)
    )
    apply: Any = paired.PairedNorm2d.apply
    normed, *_ = apply(words, torch.ones(1, 5), torch.ones(1, 5), 1e-5, 0, 5, False)
    for each in (words, normed):
        assert not each[..., 5:, :].any()
        assert not each[..., 2, :, 1].any()


def test_the_mean_of_pixels_is_torchs() -> None:
    x = drawn(2, 37, 3, 4, 4).requires_grad_()
    found = paired.average(paired.packed(x), 37, 3)
    wanted = x.mean((3, 4), keepdim=True)
    assert near(found, wanted.double())
    one, other = (torch.autograd.grad(each.sum(), x)[0] for each in (found, wanted))
    assert torch.allclose(one, other)


NETWORKS: dict[str, Any] = {
    "convnet": lambda: published_convnet(channels=3, classes=10, width=5),
    "with a bias, dropout and a product": lambda: nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(5, 4, 2, groups=1),
        nn.MaxPool2d(2), nn.Conv2d(4, 6, 1), nn.Flatten(), nn.Linear(24, 10),
    ),
    "residual": lambda: nn.Sequential(
        ResidualBlock(3, 5, stride=2), ResidualBlock(5, 5, stride=1), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(5, 10),
    ),
}  # fmt: skip


def subject(name: str) -> Subject:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(48, 3, 8, 8, generator=generator)
    targets = torch.randint(10, (48,), generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        models = tuple(NETWORKS[name]() for _ in range(3))
    batches = ((inputs, targets), (inputs.flip(0), targets))
    return Subject(models, batches, CLASSES, "bf16", torch.device("cpu"))


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Let these layers run whatever the processor; what is convolved."""
    seen: list[Tensor] = []
    convolve = paired.convolve

    def watched(words: Tensor, *args: Any, **named: Any) -> Tensor:
        seen.append(words)
        return convolve(words, *args, **named)

    monkeypatch.setattr(paired, "wanted", lambda: torch.is_autocast_enabled("cpu"))
    monkeypatch.setattr(paired, "convolve", watched)
    return seen


@pytest.mark.parametrize("plan", ["stacked", "stacked/1"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_train_as_the_plain_module_under_autocast_in_any_company(
    name: str, plan: str, used: list[Tensor]
) -> None:
    own = subject(name)

    def make(size: int) -> Any:
        return PLANS[plan].make(own.models[0], size, precision="bf16")

    check_against_plain(make, own)
    assert used
    check_company(make, own, most=5, counts=(1, 2, 3, 5))


def test_torch_convolves_in_float32_and_where_the_processor_has_no_products_of_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow:
        def evolute_paired_is_fast(self) -> int:
            return 0

    assert not paired.wanted()
    with torch.autocast("cpu", dtype=torch.float16):
        assert not paired.wanted()
    monkeypatch.setattr(paired, "layers", Slow)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not paired.wanted()
    monkeypatch.setattr(paired, "layers", lambda: None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not paired.wanted()


def test_other_functions_find_images_as_torch_has_them() -> None:
    x = drawn(2, 9, 3, 4, 4)
    lanes = paired.PairedLanes(paired.packed(x), 9, 3)
    assert lanes.shape == x.shape[1:]
    assert torch.equal(lanes.apart().float(), x)
    assert lanes.widened().shape == (9, 6, 4, 4)
