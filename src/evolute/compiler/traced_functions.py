"""Functions that ``torch.compile`` does slowly or badly on a CPU, in operations that it does well.

It calls the Bessel function number by number. Its error function is within 1e-7 absolutely: 0 for
every smaller number. Its expm1 is exp minus 1: 0 for small numbers as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps

import torch
from torch import Tensor

BESSEL_NEAR, BESSEL_FAR, ERF_NEAR, ERF_FAR = (
    # I₁(x) = x·q(x²), |x| < 6.5
    (
        0.5,
        0.0624999925494194,
        0.002604172332212329,
        5.425173731055111e-05,
        6.784266020076757e-07,
        5.630643507004152e-09,
        3.458662869992857e-11,
        1.2587832523298231e-13,
        8.395728633900357e-16,
    ),
    # e^(−x)·I₁(x) = √r·q(r), r = 1/x, x ≥ 6.5
    (
        0.3989422917366028,
        -0.1496037393808365,
        -0.04675166681408882,
        -0.03980889543890953,
        -0.0919271782040596,
        0.2904166877269745,
        -2.024104118347168,
    ),
    # erf(x) = x + x·q(x²), |x| < 0.921875
    (
        0.12837916612625122,
        -0.37612634897232056,
        0.11283695697784424,
        -0.026859398931264877,
        0.005201032385230064,
        -0.0008142703445628285,
        8.370097202714533e-05,
    ),
    # erf(x) = 1 − e^(−q(x)), 0.921875 ≤ x ≤ 4
    (
        0.0002099135163007304,
        1.1276154518127441,
        0.6372857689857483,
        0.10383891314268112,
        -0.022181402891874313,
        0.0030316016636788845,
        -0.00019473461725283414,
    ),
)
"""Polynomials of the native core, lowest power first; perf/native_coefficients.py finds them."""

Function = Callable[[Tensor], Tensor]


def _for_float32(exact: Function) -> Callable[[Function], Function]:
    """Compute in float32 what has no more digits; leave float64 to the function of torch."""

    def decorate(formula: Function) -> Function:
        @wraps(formula)
        def call(x: Tensor) -> Tensor:
            return exact(x) if x.dtype is torch.float64 else formula(x.float()).to(x.dtype)

        return call

    return decorate


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    *others, last = coefficients
    value = torch.full_like(x, last)
    for each in reversed(others):
        value = value * x + each
    return value


@_for_float32(torch.special.i1e)
def i1e(x: Tensor) -> Tensor:
    """Return e^(−|x|)·I₁(x), within 4 ulp.

    Examples
    --------
    >>> [round(each, 5) for each in i1e(torch.tensor([0.0, -1.0, 1e6])).tolist()]
    [0.0, -0.20791, 0.0004]
    """
    size = x.abs()
    near = size * _polynomial(BESSEL_NEAR, size * size) * torch.exp(-size)
    inverse = 1 / size
    far = inverse.sqrt() * _polynomial(BESSEL_FAR, inverse)
    return torch.where(size < 6.5, near, far).copysign(x)


@_for_float32(torch.special.erf)
def erf(x: Tensor) -> Tensor:
    """Return the error function, within 4 ulp.

    Examples
    --------
    >>> [round(each, 5) for each in erf(torch.tensor([0.0, -0.5, 5.0])).tolist()]
    [0.0, -0.5205, 1.0]
    """
    size = x.abs()
    near = size + size * _polynomial(ERF_NEAR, size * size)
    far = 1 - torch.exp(-_polynomial(ERF_FAR, size.clamp(max=4.0)))
    return torch.where(size < 0.921875, near, far).copysign(x)


@_for_float32(torch.expm1)
def expm1(x: Tensor) -> Tensor:
    """Return eˣ − 1 = tanh(x/2)·(eˣ + 1), within 4 ulp.

    Examples
    --------
    >>> [round(each, 5) for each in expm1(torch.tensor([1.0, -100.0])).tolist()]
    [1.71828, -1.0]
    """
    return torch.tanh(x / 2) * (torch.exp(x) + 1)


TRACED: Mapping[str, Function] = {"erf": erf, "expm1": expm1, "i1e": i1e}
"""What a compiled step calls for an elementary operation, by the operation's name."""
