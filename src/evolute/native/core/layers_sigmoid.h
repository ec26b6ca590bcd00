// x·σ(x) and its slope in fewer operations than layers_vector.h takes, where products and sums
// contract: σ(x) = 1/(1 + 2^(−x·log₂e)), the power by a polynomial of degree 5 (relative error
// 9e-8 before rounding, found by weighted least squares).
#pragma once

#include "layers_vector.h"

namespace {

// 1/x of 1 <= x < 2^127, to a unit or two in the last place.
template <int W>
EVOLUTE_INLINE typename Vector<W>::Floats inverse(typename Vector<W>::Floats x) {
    typedef typename Vector<W>::Floats Floats;
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
    if constexpr (W == 16) {  // called where the machine has AVX-512 alone
        Floats near;
        __asm__("vrcp14ps %1, %0" : "=v"(near) : "v"(x));
        return near + near * (1.0f - x * near);
    }
#endif
    return (Floats{} + 1.0f) / x;
}

// x kept within −limit and limit; NaN becomes a number.
template <int W>
EVOLUTE_INLINE typename Vector<W>::Floats within(typename Vector<W>::Floats x, float limit) {
    typedef typename Vector<W>::Floats Floats;
    const Floats most = Floats{} + limit, least = Floats{} - limit;
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
    if constexpr (W == 16) {  // in place of a comparison and a choice, twice
        Floats y;
        __asm__("vmaxps %2, %1, %0" : "=v"(y) : "v"(x), "v"(least));
        __asm__("vminps %2, %1, %0" : "=v"(y) : "v"(y), "v"(most));
        return y;
    }
#endif
    const Floats y = x > least ? x : least;
    return y < most ? y : most;
}

template <int W>
EVOLUTE_INLINE typename Vector<W>::Floats sigmoid(typename Vector<W>::Floats x) {
    typedef typename Vector<W>::Floats Floats;
    typedef typename Vector<W>::Ints Ints;
    const Floats shift = Floats{} + 12582912.0f;  // 1.5·2^23: adding it rounds to an integer
    const Floats y = within<W>(x, 87.0f);
    const Floats rounded = shift - y * 1.44269504f;
    const Floats r = (shift - rounded) - y * 1.44269504f;
    const Floats square = r * r;
    const Floats low = 0.693146978f * r + 1.0f, middle = 0.0555073374f * r + 0.240222421f;
    const Floats high = 0.00132647273f * r + 0.00967151279f;
    const Floats p = (high * square + middle) * square + low;  // so that little waits for little
    const Ints power = reinterpret_cast<Ints>(rounded) << 23;  // of 1.5·2^23 nothing is left
    const Floats e = reinterpret_cast<Floats>(reinterpret_cast<Ints>(p) + power);
    return inverse<W>(e + 1.0f);
}

template <int W, int A>
EVOLUTE_INLINE typename Vector<W>::Floats image_activated(typename Vector<W>::Floats y) {
    if constexpr (A == silu) return y * sigmoid<W>(y);
    return activated<W, A>(y);
}

template <int W, int A>
EVOLUTE_INLINE typename Vector<W>::Floats image_slope(typename Vector<W>::Floats y) {
    if constexpr (A == silu) {
        const auto s = sigmoid<W>(y);
        return s + y * s * (1.0f - s);
    }
    return slope<W, A>(y);
}

}  // namespace
