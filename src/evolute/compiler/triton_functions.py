"""The approximated functions of the language for the kernels: native/core/special.h, in Triton.

Every operation is one that IEEE 754 defines (no exponential of the hardware, no fused
multiply-add), so what Triton's interpreter computes is what a GPU computes, bit for bit, and both
are what the native core's ``baseline`` computes on x86-64; its bounds hold. Which formula gives the
result of an element depends on that element alone. A comparison with NaN is false, and selections
are written so that NaN passes.
"""

from __future__ import annotations

from evolute.compiler.triton_coefficients import COEFFICIENTS
from evolute.compiler.triton_language import constexpr, jit, tl

EPSILON = constexpr(1e-7)
INFINITY = constexpr(float("inf"))
UNREDUCED = constexpr(0.34)
ROUNDING = constexpr(12582912.0)
ROUNDING_BITS = constexpr(0x4B400000)
LOG2_E = constexpr(1.44269504)
LN2_HIGH, LN2_LOW = constexpr(0.693359375), constexpr(-2.12194440e-4)
LN2 = constexpr(0.693147181)
ROOT_HALF_BITS = constexpr(0x3F3504F3)
DOUBLE_ROUNDING, DOUBLE_ROUNDING_BITS = constexpr(6755399441055744.0), constexpr(0x4338 << 48)
DOUBLE_ROOT_HALF_BITS = constexpr(0x3FE6A09E667F3BCD)
DOUBLE_LOG2_E = constexpr(1.4426950408889634)
HALF_PI, HALF_PI_REST = constexpr(1.57079637), constexpr(-4.37113883e-8)
BITS_OF_MAGNITUDE = constexpr(0x7FFFFFFF)
DOUBLE_BITS_OF_MAGNITUDE = constexpr((1 << 63) - 1)

EXP_TAIL = constexpr(COEFFICIENTS["exp_tail"])
LOG_TAIL = constexpr(COEFFICIENTS["log_tail"])
ATANH_TAIL = constexpr(COEFFICIENTS["atanh_tail"])
TANH_TAIL = constexpr(COEFFICIENTS["tanh_tail"])
ATAN_TAIL = constexpr(COEFFICIENTS["atan_tail"])
ERF_NEAR, ERF_FAR = constexpr(COEFFICIENTS["erf_near"]), constexpr(COEFFICIENTS["erf_far"])
I1E_LEAST, I1_NEAR = constexpr(COEFFICIENTS["i1e_least"]), constexpr(COEFFICIENTS["i1_near"])
I1E_FAR = constexpr(COEFFICIENTS["i1e_far"])
SOFTPLUS_TAIL = constexpr(COEFFICIENTS["softplus_tail"])
SIGMOID_TAIL = constexpr(COEFFICIENTS["sigmoid_tail"])
ERFCX, EXP2, LOG2 = (constexpr(COEFFICIENTS[name]) for name in ("erfcx", "exp2", "log2"))


@jit()
def _polynomial(x: tl.tensor, coefficients: tl.constexpr) -> tl.tensor:
    """Return q(x) by Horner's rule."""
    count: tl.constexpr = len(coefficients.value)
    value = x * coefficients.value[count - 1] + coefficients.value[count - 2]
    for back in tl.static_range(3, count + 1):
        value = value * x + coefficients.value[count - back]
    return value


@jit()
def magnitude(x: tl.tensor) -> tl.tensor:
    """Return |x|, NaN as it is but for its sign."""
    return (x.to(tl.int32, bitcast=True) & BITS_OF_MAGNITUDE).to(tl.float32, bitcast=True)


@jit()
def _with_sign_of(x: tl.tensor, y: tl.tensor) -> tl.tensor:
    """Return x, which is at least +0 or NaN, with the sign of y."""
    sign = y.to(tl.int32, bitcast=True) & ~BITS_OF_MAGNITUDE
    return (x.to(tl.int32, bitcast=True) | sign).to(tl.float32, bitcast=True)


@jit()
def _odd(x: tl.tensor, squared: tl.tensor, tail: tl.constexpr) -> tl.tensor:
    """Return x + x³·q(x²), the form of odd functions near 0."""
    return (x * squared) * _polynomial(squared, tail) + x


@jit()
def exponential(x: tl.tensor) -> tl.tensor:
    """Return eˣ = 2ⁿ·eʳ with |r| ≤ ln 2 / 2."""
    x = tl.where(x > 89.0, 89.0, x)
    x = tl.where(x < -105.0, -105.0, x)
    shifted = x * LOG2_E + ROUNDING
    n = shifted - ROUNDING
    r = n * -LN2_LOW + (n * -LN2_HIGH + x)
    power = ((r * r) * _polynomial(r, EXP_TAIL) + r) + 1.0
    # In two factors, as 2ⁿ itself may be no float; the first product is exact.
    whole = shifted.to(tl.int32, bitcast=True) - ROUNDING_BITS
    half = whole >> 1
    power = power * ((half + 127) << 23).to(tl.float32, bitcast=True)
    return power * ((whole - half + 127) << 23).to(tl.float32, bitcast=True)


@jit()
def _exponent(x: tl.tensor) -> tl.tensor:
    """Return k of a positive normal number 2ᵏ·m with √½ ≤ m < √2."""
    return (x.to(tl.int32, bitcast=True) - ROOT_HALF_BITS) >> 23


@jit()
def _mantissa(x: tl.tensor, k: tl.tensor) -> tl.tensor:
    """Return that m."""
    return (x.to(tl.int32, bitcast=True) - (k << 23)).to(tl.float32, bitcast=True)


@jit()
def logarithm(x: tl.tensor) -> tl.tensor:
    """Return ln(|x| + ε), whose argument is a normal number."""
    y = magnitude(x) + EPSILON
    whole = _exponent(y)
    k = whole.to(tl.float32)
    f = _mantissa(y, whole) - 1.0
    squared = f * f
    tail = k * LN2_LOW + (f * squared) * _polynomial(f, LOG_TAIL)
    tail = squared * -0.5 + tail
    log = k * LN2_HIGH + (f + tail)
    return tl.where(y < INFINITY, log, y)


@jit()
def sigmoid(x: tl.tensor) -> tl.tensor:
    """Return 1/(1+e⁻ˣ) = eˣ/(1+eˣ), where the exponential never overflows."""
    a = magnitude(x)
    near = x * _polynomial(x * x, SIGMOID_TAIL) + 0.5
    e = exponential(-a)
    far = tl.div_rn(tl.where(x < 0.0, e, 1.0), e + 1.0)
    return tl.where(a < UNREDUCED, near, far)


@jit()
def bell(e: tl.tensor) -> tl.tensor:
    """Return e/(1+e)², which neither overflows nor cancels."""
    d = e + 1.0
    return tl.div_rn(e, d * d)


@jit()
def _twice_atanh(doubled: tl.tensor) -> tl.tensor:
    """Return 2·atanh(doubled/2) for |doubled| ≤ 2/3."""
    return _odd(doubled, doubled * doubled * 0.25, ATANH_TAIL)


@jit()
def softplus(x: tl.tensor) -> tl.tensor:
    """Return max(x, 0) + ln(1+e) with e = e^(−|x|) and ln(1+e) = 2·atanh(e/(2+e))."""
    a = magnitude(x)
    squared = x * x
    near = squared * _polynomial(squared, SOFTPLUS_TAIL) + (x * 0.5 + LN2)
    e = exponential(-a)
    far = tl.where(x <= 0.0, 0.0, x) + _twice_atanh(tl.div_rn(e + e, e + 2.0))
    return tl.where(a < UNREDUCED, near, far)


@jit()
def hyperbolic_tangent(x: tl.tensor) -> tl.tensor:
    """Return tanh(x) = 1 − 2/(e²ˣ+1)."""
    a = magnitude(x)
    near = _odd(a, a * a, TANH_TAIL)
    far = 1.0 - tl.div_rn(2.0 + tl.zeros_like(a), exponential(a * 2.0) + 1.0)
    return _with_sign_of(tl.where(a < 0.625, near, far), x)


@jit()
def arcsinh(x: tl.tensor) -> tl.tensor:
    """Return arcsinh(x) = ln t with t = a + √(a²+1).

    Where a is small 2·atanh(a/(1+√(a²+1))), which does not cancel; where it is large t = 2a, which
    may be no float.
    """
    a = magnitude(x)
    r = tl.sqrt_rn(a * a + 1.0)
    small = a < 0.75
    large = a > 8192.0
    t = tl.where(large, a, a + r)
    whole = _exponent(t)
    m = _mantissa(t, whole)
    above = tl.where(small, a, m - 1.0)
    below = tl.where(small, r, m) + 1.0
    rest = _twice_atanh(tl.div_rn(above + above, below))
    k = whole.to(tl.float32)
    k = tl.where(small, 0.0, tl.where(large, k + 1.0, k))
    total = k * LN2_HIGH + (k * LN2_LOW + rest)
    return _with_sign_of(tl.where(a < INFINITY, total, a), x)


@jit()
def arctangent(x: tl.tensor) -> tl.tensor:
    """Return arctan(x), π/2 − arctan(1/a) where a > 1."""
    a = magnitude(x)
    large = a > 1.0
    s = tl.div_rn(tl.where(large, -1.0, a), tl.where(large, a, 1.0))
    small = _odd(s, s * s, ATAN_TAIL)
    far = (small + HALF_PI_REST) + HALF_PI
    return _with_sign_of(tl.where(large, far, small), x)


@jit()
def error_function(x: tl.tensor) -> tl.tensor:
    """Return erf(x)."""
    a = magnitude(x)
    near = a * _polynomial(a * a, ERF_NEAR) + a
    exponent = _polynomial(tl.where(a > 4.0, 4.0, a), ERF_FAR)
    far = 1.0 - exponential(-exponent)
    return _with_sign_of(tl.where(a < 0.921875, near, far), x)


@jit()
def bessel_i1e(x: tl.tensor) -> tl.tensor:
    """Return e^(−|x|)·I₁(x)."""
    a = magnitude(x)
    least = a * _polynomial(a, I1E_LEAST)
    middle = a * _polynomial(a * a, I1_NEAR) * exponential(-a)
    r = tl.div_rn(1.0 + tl.zeros_like(a), a)
    far = tl.sqrt_rn(r) * _polynomial(r, I1E_FAR)
    return _with_sign_of(tl.where(a < 1.0, least, tl.where(a < 6.5, middle, far)), x)


@jit()
def _power_of_two(v: tl.tensor) -> tl.tensor:
    """Return 2ᵛ for doubles |v| ≤ 1000, and NaN."""
    shifted = v + DOUBLE_ROUNDING
    fraction = v - (shifted - DOUBLE_ROUNDING)
    exponent = (shifted.to(tl.int64, bitcast=True) - DOUBLE_ROUNDING_BITS + 1023) << 52
    return _polynomial(fraction, EXP2) * exponent.to(tl.float64, bitcast=True)


@jit()
def _double_magnitude(x: tl.tensor) -> tl.tensor:
    bits = x.to(tl.float64).to(tl.int64, bitcast=True) & DOUBLE_BITS_OF_MAGNITUDE
    return bits.to(tl.float64, bitcast=True)


@jit()
def complementary_error(x: tl.tensor) -> tl.tensor:
    """Return erfc(x) = e^(−a²)·erfcx(a), and 2 minus that where x < 0, in doubles."""
    a = _double_magnitude(x)
    a = tl.where(a > 11.0, 11.0, a)
    scaled = _polynomial((a - 3.0) / (a + 3.0), ERFCX)
    far = _power_of_two(a * a * -DOUBLE_LOG2_E) * scaled
    return tl.where(x < 0.0, 2.0 - far, far).to(tl.float32)


@jit()
def power(x: tl.tensor, y: tl.tensor) -> tl.tensor:
    """Return |x|^y = 2^(y·log₂|x|) in doubles, as C's pow at 0, 1, infinity and NaN."""
    a = _double_magnitude(x)
    bits = a.to(tl.int64, bitcast=True)
    k = (bits - DOUBLE_ROOT_HALF_BITS) >> 52
    m = (bits - (k << 52)).to(tl.float64, bitcast=True)
    s = (m - 1.0) / (m + 1.0)
    log = k.to(tl.float64) + s * _polynomial(s * s, LOG2)
    log = tl.where(a == 0.0, -INFINITY, log)
    log = tl.where(a < INFINITY, log, a)
    v = y.to(tl.float64) * log
    v = tl.where(v > 400.0, 400.0, v)
    v = tl.where(v < -400.0, -400.0, v)
    return tl.where((a == 1.0) | (y == 0.0), 1.0, _power_of_two(v)).to(tl.float32)
