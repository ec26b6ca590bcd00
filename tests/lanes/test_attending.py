"""Native attention equals torch's, head by head."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from evolute.lanes import attending
from evolute.lanes.native_layers import layers

pytestmark = pytest.mark.skipif(
    layers() is None and not os.environ.get("CI"),
    reason="the native layers are not built (no CMake or compiler when this was installed)",
)

SHAPES = [  # lanes, examples, heads, places, width
    (2, 3, 2, 64, 16),
    (1, 2, 2, 7, 4),
    (1, 2, 1, 48, 20),
    (2, 1, 1, 100, 33),
    (1, 1, 1, 1, 1),
]


def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def given(shape: tuple[int, ...]) -> list[Tensor]:
    """Return queries, keys and values that lie in memory as a layer before them leaves them."""
    lanes, examples, heads, places, width = shape
    laid = (lanes, examples, places, heads, width)
    return [drawn(laid, seed).transpose(2, 3) for seed in range(3)]


def step(parts: list[Tensor], *, causal: bool, scale: float | None = None) -> list[Tensor]:
    leaves = [each.detach().requires_grad_() for each in parts]
    assert attending.serves_heads(*leaves)
    mixed = attending.attention(*leaves, causal=causal, scale=scale)
    gradient = drawn((4, *mixed.shape[1:]), 5)[: len(mixed)]
    return [mixed, *torch.autograd.grad(mixed, leaves, gradient)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_attention_and_its_gradients_equal_torchs_in_double(
    shape: tuple[int, ...], causal: bool
) -> None:
    parts = given(shape)
    leaves = [each.double().requires_grad_() for each in parts]
    query, key, value = leaves
    mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=causal, scale=0.7)
    gradient = drawn((4, *shape[1:]), 5)[: shape[0]].double()
    wanted = [mixed, *torch.autograd.grad(mixed, leaves, gradient)]
    for one, two in zip(step(parts, causal=causal, scale=0.7), wanted, strict=True):
        distance = (one.double() - two).norm().item()
        assert distance <= 1e-6 * two.norm().item() + 1e-7


def test_its_scale_is_torchs_unless_given() -> None:
    parts = given(SHAPES[0])
    query, key, value = parts
    wanted = functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(step(parts, causal=False)[0].detach(), wanted)


def test_a_lane_has_the_same_bits_beside_any_others_and_in_any_layout() -> None:
    parts = given((4, 2, 2, 37, 6))
    whole = step(parts, causal=True)
    turned = [each.transpose(3, 4).contiguous().transpose(3, 4) for each in parts]
    assert all(torch.equal(a, b) for a, b in zip(step(turned, causal=True), whole, strict=True))
    first = step([each[:1] for each in parts], causal=True)
    assert all(torch.equal(a, b[:1]) for a, b in zip(first, whole, strict=True))


def test_a_place_sees_no_later_one() -> None:
    query, key, value = given((1, 1, 1, 40, 8))
    before = attending.attention(query, key, value, causal=True)
    key[:, :, :, 20:], value[:, :, :, 20:] = 9.0, -9.0
    after = attending.attention(query, key, value, causal=True)
    assert torch.equal(before[:, :, :, :20], after[:, :, :, :20])
    assert not torch.equal(before[:, :, :, 20:], after[:, :, :, 20:])


def test_large_scores_neither_overflow_nor_lose_their_shares() -> None:
    query, key, value = given(SHAPES[0])
    wanted = functional.scaled_dot_product_attention(query * 50, key * 50, value, is_causal=True)
    found = attending.attention(query * 50, key * 50, value, causal=True)
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)


def test_numbers_that_are_not_finite_stay_in_their_head() -> None:
    parts = given((2, 2, 2, 20, 4))
    parts[1][0, 1, 1, 3, 2] = float("nan")
    mixed = step(parts, causal=True)[0]
    assert mixed[0, 1, 1, 3:].isnan().all()
    mixed[0, 1, 1] = 0.0  # a result may be written into
    assert mixed.isfinite().all()


def test_nan_of_any_bits_is_passed_on() -> None:
    every_bit = torch.tensor([-1], dtype=torch.int32).view(torch.float32)
    parts = given((1, 1, 1, 20, 16))
    parts[0][0, 0, 0, 3] = every_bit
    for found in step(parts, causal=True)[:2]:  # what place 3 sees, and its query's gradient
        assert found[0, 0, 0, 3].isnan().all()
