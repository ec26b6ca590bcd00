"""arcsinh: within 4 ulp over the whole range, and as torch's at the edges."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from evolute.lang.arcsinh import LARGE, arcsinh

ULPS = 4.0


def errors(numbers: npt.NDArray[np.floating]) -> npt.NDArray[np.longdouble]:
    """Return the error at each number, in units of the last place of the true value."""
    truth = np.arcsinh(numbers.astype(np.longdouble))
    unit = np.spacing(np.abs(truth).astype(numbers.dtype)).astype(np.longdouble)
    return np.abs(arcsinh(torch.from_numpy(numbers)).numpy().astype(np.longdouble) - truth) / unit


@pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="the truth needs numbers wider than float64"
)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("dtype", "bits"), [(np.float32, np.uint32), (np.float64, np.uint64)])
def test_every_finite_number_is_within_four_ulp(
    dtype: type[np.floating], bits: type[np.unsignedinteger], sign: int
) -> None:
    last = int(np.array(np.finfo(dtype).max, dtype).view(bits))
    # Numbers of all sizes, those without leading bit included: their bits count up evenly.
    spread = np.array([last * at // 400_000 for at in range(400_001)], bits).view(dtype)
    near = np.linspace(0, 4, 100_001, dtype=dtype)
    edges = np.nextafter(np.array([1, LARGE, 2 * LARGE], dtype), np.array(0, dtype))
    numbers = (sign * np.concatenate([spread, near, edges])).astype(dtype)
    assert errors(numbers).max() < ULPS


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_zeros_infinities_and_nan_are_as_torch_has_them(dtype: torch.dtype) -> None:
    x = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan], dtype=dtype)
    value = arcsinh(x)
    torch.testing.assert_close(value, torch.arcsinh(x), rtol=0, atol=0, equal_nan=True)
    assert value.signbit().tolist()[:4] == [False, True, False, True]


def test_sixteen_bits_are_not_squared() -> None:
    assert arcsinh(torch.tensor(60000.0, dtype=torch.float16)).item() == pytest.approx(11.7, 1e-2)


def test_autograd_follows_it_at_zero() -> None:
    x = torch.tensor([0.0, 2.0], requires_grad=True)
    arcsinh(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([1.0, 1 / math.sqrt(5)])


def test_a_value_may_be_written_over_its_argument() -> None:
    x = torch.linspace(-3, 3, 7)
    expected = arcsinh(x)
    arcsinh(x, out=x)
    assert torch.equal(x, expected)
