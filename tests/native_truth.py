"""The exact values of the native core's functions, and floats of every kind to try them at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special

from evolute.compiler.native import BOUNDS
from evolute.lang.functions import EPSILON
from evolute.lang.registry import FUNCTIONS, Kind

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

TRUTH: dict[str, Callable[[Doubles], Doubles]] = {
    "log": lambda x: np.log((np.abs(x).astype(np.float32) + np.float32(EPSILON)).astype(float)),
    "exp": np.exp,
    "sigmoid": special.expit,
    "dsigmoid": lambda x: special.expit(x) * special.expit(-x),
    "softplus": lambda x: np.logaddexp(x, 0),
    "erf": special.erf,
    "erfc": special.erfc,
    "arcsinh": np.arcsinh,
    "tanh": np.tanh,
    "dtanh": lambda x: 1 / np.cosh(np.clip(x, -400, 400)) ** 2,
    "arctan": np.arctan,
    "bessel_i1e": special.i1e,
}
"""The exact value; ``dtanh`` and ``dsigmoid`` in forms that do not cancel."""

ROOTS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "sqrt": lambda x, _y: np.sqrt(np.abs(x)),
    "div_hypot": lambda x, y: x / np.sqrt(np.float32(1) + y * y),
}
"""Rows with a square root, which torch's own libraries round otherwise than IEEE 754 says."""

SAME_AS_TORCH = sorted(
    name
    for name, bound in BOUNDS.items()
    if bound == 0 and FUNCTIONS[name].kind is Kind.ELEMENTWISE
)


SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, 2.0, -3.0, 0.5, np.inf, -np.inf, np.nan, 1e-45, -1e-40, 3e38, -2.5],
    dtype=np.float32,
)


def all_floats(*, mantissas: int = 40) -> Floats:
    """Every sign and exponent with the outermost and some random mantissas; NaN and infinities."""
    random = np.random.default_rng(0)
    exponents = np.arange(256, dtype=np.uint32) << 23
    edges = np.array([0, 1, 2, 0x400000, 0x7FFFFE, 0x7FFFFF], dtype=np.uint32)
    inner = random.integers(0, 1 << 23, mantissas, dtype=np.uint32)
    bits = (exponents[:, None] | np.concatenate([edges, inner])).ravel()
    near = [random.uniform(-width, width, 8000) for width in (0.1, 1.5, 12, 105)]
    signed = np.concatenate([bits, bits | np.uint32(1 << 31)]).view(np.float32)
    return np.concatenate([signed, *(each.astype(np.float32) for each in near)])


def ulps(found: Floats, exact: Doubles) -> Doubles:
    """Errors in units in the last place; infinite where NaN or infinity is not as it should be."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        unit = np.maximum(np.spacing(np.abs(rounded)).astype(float), 2.0**-149)
        error = np.abs(found.astype(float) - exact) / unit
        same = (found == rounded) | (np.isnan(found) & np.isnan(exact))
    finite = np.isfinite(rounded) & np.isfinite(found)
    return np.where(finite, error, np.where(same, 0.0, np.inf))
