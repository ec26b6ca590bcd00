// Functions that are approximated; the bound of each in units in the last place stands in
// evolute.native.bounds.BOUNDS and is tested over all floats.
//
// Each reduces its argument to an interval where a polynomial of coefficients.h holds. Where floats
// would not carry enough digits (powers, erfc) it computes in doubles. Which formula gives the result
// of an element depends on that element alone. A branch skips only what no element of a vector, or of
// a tile, needs: `near` has the bits of `of` where near_from ≤ |x| < near_below. A comparison with NaN
// is false, and selections are written so that NaN passes.
#pragma once

#include "coefficients.h"
#include "elementary.h"
#include "vector.h"

namespace evolute {
namespace EVOLUTE_PATH {

constexpr float infinity = __builtin_inff();
constexpr float rounding = 12582912.0f;  // 1.5·2^23: adding it rounds to a whole number
// ln 2 in two parts, of which products of the first with whole numbers are exact.
constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
constexpr std::int32_t bits_of_root_half = 0x3f3504f3;

// q(x) by Horner's rule, of the coefficients from number i on.
template <std::size_t i = 0, std::size_t N>
EVOLUTE_INLINE Floats polynomial(const float (&c)[N], Floats x) {
    if constexpr (i + 1 == N) {
        return all(c[i]);
    } else {
        return fma(polynomial<i + 1>(c, x), x, all(c[i]));
    }
}

template <std::size_t i = 0, std::size_t N>
EVOLUTE_INLINE Doubles polynomial(const double (&c)[N], Doubles x) {
    if constexpr (i + 1 == N) {
        return all_doubles(c[i]);
    } else {
        return fma(polynomial<i + 1>(c, x), x, all_doubles(c[i]));
    }
}

EVOLUTE_INLINE Floats at_most(Floats x, float most) { return lesser(all(most), x); }
EVOLUTE_INLINE Floats at_least(Floats x, float least) { return greater(all(least), x); }

// x + x³·q(x²), the form of odd functions near 0.
template <std::size_t N>
EVOLUTE_INLINE Floats odd(const float (&q)[N], Floats x, Floats squared) {
    return fma(x * squared, polynomial(q, squared), x);
}

// Below this magnitude the exponential needs no reduction: n is 0 and r is x.
constexpr float unreduced = 0.34f;

struct FromZero {
    static constexpr float near_from = 0.0f;
    static constexpr bool in_turn = false;
};

// eʳ for |r| ≤ ln 2 / 2.
EVOLUTE_INLINE Floats exponential_near(Floats r) {
    return fma(r * r, polynomial(coefficients::exp_tail, r), r) + 1.0f;
}

// eˣ = 2ⁿ·eʳ with |r| ≤ ln 2 / 2.
EVOLUTE_INLINE Floats exponential(Floats x) {
    x = at_least(at_most(x, 89.0f), -105.0f);
    const Floats shifted = fma(x, all(1.44269504f), all(rounding));
    const Floats n = shifted - rounding;
    const Floats r = fma(n, all(-ln2_low), fma(n, all(-ln2_high), x));
    const Floats power = exponential_near(r);
#if defined(__AVX512F__)
    return (Floats)_mm512_scalef_ps((__m512)power, (__m512)n);
#else
    // In two factors, as 2ⁿ itself may be no float; the first product is exact.
    const Ints whole = bits(shifted) - bits(all(rounding)), half = whole >> 1;
    return power * bits((half + 127) << 23) * bits((whole - half + 127) << 23);
#endif
}

// A positive normal number as 2ᵏ·m with √½ ≤ m < √2.
struct Split {
    Floats k, m;
};
EVOLUTE_INLINE Split split(Floats x) {
    const Ints k = (bits(x) - bits_of_root_half) >> 23;
    return {__builtin_convertvector(k, Floats), bits(bits(x) - (k << 23))};
}

struct log_ : FromZero {  // |x| + ε is a normal number
    static constexpr float near_below = 0.0f;
    EVOLUTE_INLINE Floats of(Floats x) {
        const Floats y = magnitude(x) + epsilon;
        const Split s = split(y);
        const Floats f = s.m - 1.0f, squared = f * f;
        Floats tail = fma(s.k, all(ln2_low), f * squared * polynomial(coefficients::log_tail, f));
        tail = fma(squared, all(-0.5f), tail);
        const Floats log = fma(s.k, all(ln2_high), f + tail);
        return select(y < all(infinity), log, y);
    }
};

struct exp_ : FromZero {
    static constexpr float near_below = unreduced;
    EVOLUTE_INLINE Floats near(Floats x) { return exponential_near(x); }
    EVOLUTE_INLINE Floats of(Floats x) { return exponential(x); }
};

struct sigmoid_ : FromZero {  // 1/(1+e⁻ˣ) = eˣ/(1+eˣ): the exponential never overflows
    static constexpr float near_below = unreduced;
    EVOLUTE_INLINE Floats of(Floats x, Floats e) {
        return select(x < all(0.0f), e, all(1.0f)) / (e + 1.0f);
    }
    EVOLUTE_INLINE Floats near(Floats x) {  // ½ + x·q(x²)
        return fma(x, polynomial(coefficients::sigmoid_tail, x * x), all(0.5f));
    }
    EVOLUTE_INLINE Floats of(Floats x) {
        const Floats a = magnitude(x);
        return select(a < all(near_below), near(x), of(x, exponential(-a)));
    }
};

// e/(1+e)², which neither overflows nor cancels.
EVOLUTE_INLINE Floats bell(Floats e) {
    const Floats d = e + 1.0f;
    return e / (d * d);
}

struct dsigmoid_ : FromZero {
    static constexpr float near_below = unreduced;
    EVOLUTE_INLINE Floats near(Floats x) { return bell(exponential_near(-magnitude(x))); }
    EVOLUTE_INLINE Floats of(Floats x) { return bell(exponential(-magnitude(x))); }
};

struct dtanh_ : FromZero {  // 1 − tanh²(x) = 4e/(1+e)² with e = e^(−2|x|)
    static constexpr float near_below = unreduced / 2;
    EVOLUTE_INLINE Floats near(Floats x) {
        return bell(exponential_near(magnitude(x) * -2.0f)) * 4.0f;
    }
    EVOLUTE_INLINE Floats of(Floats x) {
        return bell(exponential(magnitude(x) * -2.0f)) * 4.0f;
    }
};

// 2·atanh(doubled/2) for |doubled| ≤ 2/3.
EVOLUTE_INLINE Floats twice_atanh(Floats doubled) {
    return odd(coefficients::atanh_tail, doubled, doubled * doubled * 0.25f);
}

struct softplus_ : FromZero {  // max(x, 0) + ln(1+e), e = e^(−|x|); ln(1+e) = 2·atanh(e/(2+e))
    static constexpr float near_below = unreduced;
    EVOLUTE_INLINE Floats of(Floats x, Floats e) {
        return max0_::of(x) + twice_atanh((e + e) / (e + 2.0f));
    }
    EVOLUTE_INLINE Floats near(Floats x) {  // ln 2 + x/2 + x²·q(x²)
        const Floats line = fma(x, all(0.5f), all(0.693147181f)), squared = x * x;
        return fma(squared, polynomial(coefficients::softplus_tail, squared), line);
    }
    EVOLUTE_INLINE Floats of(Floats x) {
        const Floats a = magnitude(x);
        return select(a < all(near_below), near(x), of(x, exponential(-a)));
    }
};

struct tanh_ : FromZero {
    static constexpr float near_below = 0.625f;
    EVOLUTE_INLINE Floats near(Floats x) {
        const Floats a = magnitude(x);
        return with_sign_of(odd(coefficients::tanh_tail, a, a * a), x);
    }
    EVOLUTE_INLINE Floats of(Floats x) {
        const Ints small = magnitude(x) < all(near_below);
        if (all_below(magnitude(x), near_below)) return near(x);
        const Floats e = exponential(magnitude(x) * 2.0f);
        const Floats far = all(1.0f) - all(2.0f) / (e + 1.0f);
        return select(small, near(x), with_sign_of(far, x));
    }
};

// ln t = k·ln 2 + 2·atanh((m−1)/(m+1)) with t = a + √(a²+1); where a is small
// 2·atanh(a/(1+√(a²+1))), which does not cancel; where it is large t = 2a, which may be no float.
struct arcsinh_ : FromZero {
    static constexpr float near_below = 0.75f;
    EVOLUTE_INLINE Floats root(Floats a) { return square_root(fma(a, a, all(1.0f))); }
    EVOLUTE_INLINE Floats near(Floats x) {
        const Floats a = magnitude(x);
        return with_sign_of(twice_atanh((a + a) / (root(a) + 1.0f)), x);
    }
    EVOLUTE_INLINE Floats of(Floats x) {
        const Floats a = magnitude(x), r = root(a);
        const Ints small = a < all(near_below), large = a > all(8192.0f);
        if (all_below(magnitude(x), near_below)) return near(x);
        const Split s = split(select(large, a, a + r));
        const Floats above = select(small, a, s.m - 1.0f);
        const Floats below = select(small, r, s.m) + 1.0f;
        const Floats rest = twice_atanh((above + above) / below);
        const Floats k = select(small, all(0.0f), select(large, s.k + 1.0f, s.k));
        const Floats sum = fma(k, all(ln2_high), fma(k, all(ln2_low), rest));
        return with_sign_of(select(a < all(infinity), sum, a), x);
    }
};

struct arctan_ : FromZero {  // π/2 − atan(1/a) where a > 1
    static constexpr float near_below = 1.0f;
    EVOLUTE_INLINE Floats near(Floats x) {
        const Floats a = magnitude(x);
        return with_sign_of(odd(coefficients::atan_tail, a, a * a), x);
    }
    EVOLUTE_INLINE Floats of(Floats x) {
        const Floats a = magnitude(x);
        const Ints large = a > all(1.0f);
        const Floats s = select(large, all(-1.0f), a) / select(large, a, all(1.0f));
        const Floats small = odd(coefficients::atan_tail, s, s * s);
        const Floats far = (small + -4.37113883e-8f) + 1.57079637f;
        return with_sign_of(select(large, far, small), x);
    }
};

struct erf_ : FromZero {
    static constexpr float near_below = 0.921875f;
    EVOLUTE_INLINE Floats near(Floats x) {
        return fma(x, polynomial(coefficients::erf_near, x * x), x);
    }
    EVOLUTE_INLINE Floats of(Floats x) {
        const Floats a = magnitude(x);
        const Ints small = a < all(near_below);
        if (all_below(magnitude(x), near_below)) return near(x);
        const Floats exponent = polynomial(coefficients::erf_far, at_most(a, 4.0f));
        const Floats far = all(1.0f) - exponential(-exponent);
        return select(small, near(x), with_sign_of(far, x));
    }
};

struct bessel_i1e_ : FromZero {  // e^(−|x|)·I₁(x)
    static constexpr float near_below = 1.0f;
    EVOLUTE_INLINE Floats near(Floats x) {
        const Floats a = magnitude(x);
        return with_sign_of(a * polynomial(coefficients::i1e_least, a), x);
    }
    EVOLUTE_INLINE Floats of(Floats x) {
        const Floats a = magnitude(x);
        const Ints small = a < all(near_below);
        if (all_below(magnitude(x), near_below)) return near(x);
        const Floats middle = a * polynomial(coefficients::i1_near, a * a) * exponential(-a);
        const Floats r = all(1.0f) / a;
        const Floats far = square_root(r) * polynomial(coefficients::i1e_far, r);
        return select(small, near(x), with_sign_of(select(a < all(6.5f), middle, far), x));
    }
};

// 2ᵛ for |v| ≤ 1000, and NaN.
EVOLUTE_INLINE Doubles power_of_two(Doubles v) {
    const Doubles shift = all_doubles(6755399441055744.0);  // 1.5·2^52
    const Doubles shifted = v + shift, fraction = v - (shifted - shift);
    const Longs exponent = (bits(shifted) - bits(shift) + 1023) << 52;
    return polynomial(coefficients::exp2, fraction) * bits(exponent);
}

EVOLUTE_INLINE Doubles magnitude(Doubles x) { return bits(bits(x) & 0x7fffffffffffffff); }

struct erfc_ {  // e^(−a²)·erfcx(a), and 2 minus that where x < 0
    EVOLUTE_INLINE Doubles of(Doubles x) {
        Doubles a = magnitude(x);
        a = select(a > all_doubles(11.0), all_doubles(11.0), a);
        const Doubles scaled = polynomial(coefficients::erfcx, (a - 3.0) / (a + 3.0));
        const Doubles far = power_of_two(a * a * -1.4426950408889634) * scaled;
        return select(x < all_doubles(0.0), 2.0 - far, far);
    }
    EVOLUTE_INLINE Floats of(Floats x) {
        const Pair wide = widen(x);
        return narrow({of(wide.low), of(wide.high)});
    }
};

struct abs_pow_ {  // |x|^y = 2^(y·log₂|x|), with the values of C's pow at 0, 1, infinity and NaN
    EVOLUTE_INLINE Doubles of(Doubles x, Doubles y) {
        const Doubles a = magnitude(x), one = all_doubles(1.0), zero = all_doubles(0.0);
        const Longs k = (bits(a) - 0x3fe6a09e667f3bcd) >> 52;
        const Doubles m = bits(bits(a) - (k << 52)), s = (m - 1.0) / (m + 1.0);
        Doubles log = __builtin_convertvector(k, Doubles) + s * polynomial(coefficients::log2, s * s);
        log = select(a == zero, all_doubles(-__builtin_inf()), log);
        log = select(a < all_doubles(__builtin_inf()), log, a);
        Doubles v = y * log;
        v = select(v > all_doubles(400.0), all_doubles(400.0), v);
        v = select(v < all_doubles(-400.0), all_doubles(-400.0), v);
        return select((a == one) | (y == zero), one, power_of_two(v));
    }
    EVOLUTE_INLINE Floats of(Floats x, Floats y) {
        const Pair wide_x = widen(x), wide_y = widen(y);
        return narrow({of(wide_x.low, wide_y.low), of(wide_x.high, wide_y.high)});
    }
};

}  // namespace EVOLUTE_PATH
}  // namespace evolute
