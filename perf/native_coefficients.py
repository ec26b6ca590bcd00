"""The polynomials of the native core's functions, fitted anew.

``python -m perf.native_coefficients`` prints ``src/evolute/native/core/coefficients.h``: for each
polynomial its degree, interval and largest relative error, and its coefficients, lowest power
first. Each is the weighted least-squares fit on Chebyshev points whose weights are raised where the
error is large until it is nearly the same everywhere (Lawson, 1961), which comes within a few
percent of the best polynomial.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[np.float64]
Function = Callable[[Array], Array]

POINTS, ROUNDS = 4000, 60


@dataclass(frozen=True)
class Fit:
    """One polynomial q: ``target(x) ≈ q(x)``, the error counted times ``weight(x)``.

    Parameters
    ----------
    name
        As in coefficients.h.
    use
        The formula that reads it.
    kind
        ``float`` or ``double``.
    lower, upper, degree
        Interval and degree.
    target
        What it approximates.
    weight
        What an error of q at x counts in the function's relative error.
    """

    name: str
    use: str
    kind: str
    lower: float
    upper: float
    degree: int
    target: Function
    weight: Function


def fitted(fit: Fit) -> tuple[Array, float]:
    """Return coefficients and the largest weighted error."""
    nodes = np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)
    middle, half = (fit.upper + fit.lower) / 2, (fit.upper - fit.lower) / 2
    x = middle + half * nodes
    target, weight = fit.target(x), fit.weight(x)
    basis = np.polynomial.chebyshev.chebvander(nodes, fit.degree)
    lawson = np.ones(POINTS)
    best, least = np.zeros(fit.degree + 1), np.inf
    for _ in range(ROUNDS):
        scale = np.sqrt(lawson) * weight
        found, *_ = np.linalg.lstsq(basis * scale[:, None], target * scale, rcond=None)
        error = np.abs(basis @ found - target) * weight
        if error.max() < least:
            best, least = found.astype(np.float64), float(error.max())
        lawson = lawson * error / error.max()
        lawson /= lawson.mean()
    series = np.polynomial.chebyshev.Chebyshev(best, domain=[fit.lower, fit.upper])
    powers = series.convert(kind=np.polynomial.Polynomial)
    return np.asarray(powers.coef, dtype=np.float64), least


def _by_series(x: Array, exact: Function, terms: list[float]) -> Array:
    """Return the exact values, by the Taylor series where they would cancel."""
    small = np.abs(x) < 1e-3
    with np.errstate(all="ignore"):
        return np.where(small, np.polynomial.polynomial.polyval(x, terms), exact(x))


def exp_tail(r: Array) -> Array:
    """(eʳ − 1 − r)/r²."""
    return _by_series(r, lambda r: (np.expm1(r) - r) / r**2, [1 / 2, 1 / 6, 1 / 24, 1 / 120])


def log_tail(f: Array) -> Array:
    """(ln(1+f) − f + f²/2)/f³."""
    big = np.abs(f) > 0.02
    terms = [(-1.0) ** n / (n + 3) for n in range(10)]
    with np.errstate(all="ignore"):
        exact = (np.log1p(f) - f + f**2 / 2) / f**3
    return np.where(big, exact, np.polynomial.polynomial.polyval(f, terms))


def odd_tail(function: Function, terms: list[float]) -> Function:
    """(function(√z) − √z)/√z³, from which function(x) = x + x³·q(x²)."""

    def tail(z: Array) -> Array:
        x = np.sqrt(z)
        with np.errstate(all="ignore"):
            exact = (function(x) - x) / x**3
        return np.where(z > 1e-3, exact, np.polynomial.polynomial.polyval(z, terms))

    return tail


def odd_weight(function: Function) -> Function:
    """What an error of q counts in x + x³·q(x²)."""
    return lambda z: np.sqrt(z) ** 3 / np.maximum(function(np.sqrt(z)), 1e-30)


def erf_ratio(z: Array) -> Array:
    """erf(√z)/√z − 1."""
    x = np.sqrt(np.maximum(z, 1e-300))
    return np.asarray(special.erf(x) / x - 1)


def softplus_tail(z: Array) -> Array:
    """(ln(2·cosh(√z/2)) − ln 2)/z."""
    return _by_series(
        z, lambda z: np.log(np.cosh(np.sqrt(z) / 2)) / z, [1 / 8, -1 / 192, 1 / 2880, -17 / 645120]
    )


def sigmoid_tail(z: Array) -> Array:
    """(sigmoid(√z) − ½)/√z."""
    return _by_series(
        z,
        lambda z: np.tanh(np.sqrt(z) / 2) / 2 / np.sqrt(z),
        [1 / 4, -1 / 48, 1 / 480, -17 / 80640],
    )


FITS = (
    Fit("exp_tail", "exp(r) = 1 + r + r^2 q(r)", "float", -0.3475, 0.3475, 4,
        exp_tail, lambda r: r**2 / np.exp(r)),
    Fit("log_tail", "log(1+f) = f - f^2/2 + f^3 q(f)", "float", 2**-0.5 - 1, 2**0.5 - 1, 7,
        log_tail, lambda f: np.abs(f**3 / np.where(f == 0, 1, np.log1p(f)))),
    Fit("atanh_tail", "atanh(s) = s + s^3 q(s^2)", "float", 0.0, 0.1112, 4,
        odd_tail(np.arctanh, [1 / 3, 1 / 5, 1 / 7, 1 / 9]), odd_weight(np.arctanh)),
    Fit("tanh_tail", "tanh(x) = x + x^3 q(x^2), |x| < 0.625", "float", 0.0, 0.625**2, 4,
        odd_tail(np.tanh, [-1 / 3, 2 / 15, -17 / 315, 62 / 2835]), odd_weight(np.tanh)),
    Fit("atan_tail", "atan(x) = x + x^3 q(x^2), |x| <= 1", "float", 0.0, 1.0, 8,
        odd_tail(np.arctan, [-1 / 3, 1 / 5, -1 / 7, 1 / 9]), odd_weight(np.arctan)),
    Fit("erf_near", "erf(x) = x + x q(x^2), |x| < 0.921875", "float", 0.0, 0.921875**2, 6,
        erf_ratio, lambda z: 1 / (1 + erf_ratio(z))),
    Fit("erf_far", "erf(x) = 1 - exp(-q(x)), 0.921875 <= x <= 4", "float", 0.921875, 4.0, 6,
        lambda x: -np.log(special.erfc(x)), special.erfc),
    Fit("i1e_least", "i1e(x) = x q(x), 0 <= x < 1", "float", 1e-9, 1.0, 7,
        lambda x: special.i1e(x) / x, lambda x: x / special.i1e(x)),
    Fit("i1_near", "I1(x) = x q(x^2), |x| < 6.5", "float", 0.0, 6.5**2, 8,
        lambda z: special.i1(np.sqrt(z)) / np.sqrt(z),
        lambda z: np.sqrt(z) / special.i1(np.sqrt(z))),
    Fit("i1e_far", "i1e(x) = sqrt(r) q(r), r = 1/x, x >= 6.5", "float", 1e-12, 1 / 6.5, 6,
        lambda r: special.i1e(1 / r) / np.sqrt(r), lambda r: np.sqrt(r) / special.i1e(1 / r)),
    Fit("softplus_tail", "softplus(x) = ln 2 + x/2 + x^2 q(x^2), |x| < 0.34", "float", 0.0, 0.34**2,
        2, softplus_tail, lambda z: z / np.logaddexp(0, -np.sqrt(z))),
    Fit("sigmoid_tail", "sigmoid(x) = 1/2 + x q(x^2), |x| < 0.34", "float", 0.0, 0.34**2, 2,
        sigmoid_tail, lambda z: np.sqrt(z) / special.expit(-np.sqrt(z))),
    Fit("erfcx", "erfc(x) = exp(-x^2) q((x-3)/(x+3)), 0 <= x <= 11", "double", -1.0, 8 / 14, 12,
        lambda u: special.erfcx(3 * (1 + u) / (1 - u)),
        lambda u: 1 / special.erfcx(3 * (1 + u) / (1 - u))),
    Fit("exp2", "2^f = q(f)", "double", -0.5, 0.5, 7, np.exp2, lambda f: np.exp2(-f)),
    Fit("log2", "log2(m) = s q(s^2), s = (m-1)/(m+1)", "double", 0.0, 0.0295, 5,
        lambda z: 2 / np.log(2) * (1 + z * odd_tail(np.arctanh, [1 / 3, 1 / 5, 1 / 7, 1 / 9])(z)),
        lambda z: np.full_like(z, np.log(2) / 2)),
)  # fmt: skip


def main() -> None:
    """Print the header."""
    print("// Printed by perf/native_coefficients.py, which says how they were found.")
    print("#pragma once\n\nnamespace evolute {\nnamespace coefficients {")
    for fit in FITS:
        found, error = fitted(fit)
        values = found.astype(np.float32) if fit.kind == "float" else found
        suffix = "f" if fit.kind == "float" else ""
        print(f"\n// {fit.use}; relative error {error:.1e}.")
        print(f"constexpr {fit.kind} {fit.name}[] = {{")
        for value in values:
            print(f"    {float(value)!r}{suffix},")
        print("};")
        print(f"{fit.name}: {error:.2e}", file=sys.stderr)
    print("\n}  // namespace coefficients\n}  // namespace evolute")


if __name__ == "__main__":
    main()
