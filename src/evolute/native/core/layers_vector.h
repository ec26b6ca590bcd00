// Vectors of the layers, their exponential and the activations, for any number of elements.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__APPLE__)
#define EVOLUTE_WIDEST __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define EVOLUTE_WIDEST
#endif
#define EVOLUTE_EXPORT extern "C" __attribute__((visibility("default")))
#define EVOLUTE_INLINE static inline __attribute__((always_inline))

namespace {

struct BFloat16 {
    std::uint16_t bits;
};

template <int W>
struct Vector {
    typedef float Floats __attribute__((vector_size(4 * W)));
    typedef std::int32_t Ints __attribute__((vector_size(4 * W)));
    typedef std::uint32_t Bits __attribute__((vector_size(4 * W)));
    typedef std::uint16_t Halves __attribute__((vector_size(2 * W)));
};

template <int W>
EVOLUTE_INLINE typename Vector<W>::Floats load(const float* from) {
    typename Vector<W>::Floats x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

template <int W>
EVOLUTE_INLINE typename Vector<W>::Floats load(const BFloat16* from) {
    typename Vector<W>::Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    typename Vector<W>::Bits bits = __builtin_convertvector(halves, typename Vector<W>::Bits) << 16;
    return reinterpret_cast<typename Vector<W>::Floats>(bits);
}

template <int W>
EVOLUTE_INLINE void store(float* to, typename Vector<W>::Floats x) {
    std::memcpy(to, &x, sizeof x);
}

// Rounds to nearest, ties to even; NaN stays NaN.
template <int W>
EVOLUTE_INLINE void store(BFloat16* to, typename Vector<W>::Floats x) {
    typedef typename Vector<W>::Bits Bits;
    Bits bits = reinterpret_cast<Bits>(x);
    Bits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    Bits nan = reinterpret_cast<Bits>(x != x);
    rounded = (nan & 0x7fc0u) | (~nan & rounded);
    typename Vector<W>::Halves halves =
        __builtin_convertvector(rounded, typename Vector<W>::Halves);
    std::memcpy(to, &halves, sizeof halves);
}

// The numbers of a vector joined in halves: i with i + W/2, and so on.
template <int W, class Join>
EVOLUTE_INLINE float joined(typename Vector<W>::Floats x, const Join& join) {
    if constexpr (W == 1) {
        return x[0];
    } else {
        typename Vector<W / 2>::Floats low, high;
        std::memcpy(&low, &x, sizeof low);
        std::memcpy(&high, reinterpret_cast<const char*>(&x) + sizeof low, sizeof high);
        return joined<W / 2>(join(low, high), join);
    }
}

template <int W>
EVOLUTE_INLINE float total(typename Vector<W>::Floats x) {
    return joined<W>(x, [](auto a, auto b) __attribute__((always_inline)) { return a + b; });
}

template <int W>
EVOLUTE_INLINE float largest_of(typename Vector<W>::Floats x) {
    return joined<W>(x, [](auto a, auto b) __attribute__((always_inline)) { return a > b ? a : b; });
}

// exp for |x| <= 88 by 2^n·exp(r), |r| <= ln 2 / 2, with the Taylor polynomial of degree 7
// (relative error below 2e-8 before rounding).
template <int W>
EVOLUTE_INLINE typename Vector<W>::Floats exponential(typename Vector<W>::Floats x) {
    typedef typename Vector<W>::Floats Floats;
    typedef typename Vector<W>::Ints Ints;
    const Floats shift = Floats{} + 12582912.0f;  // 1.5·2^23: adding it rounds to an integer
    x = x > 88.0f ? Floats{} + 88.0f : x;
    x = x < -87.0f ? Floats{} - 87.0f : x;
    Floats rounded = x * 1.44269504f + shift;
    Floats n = rounded - shift;
    Floats r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Floats p = 1.0f / 5040.0f + Floats{};
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    // Multiplied, not added to the exponent: NaN of any bits stays NaN.
    Ints power = (reinterpret_cast<Ints>(rounded) - (reinterpret_cast<Ints>(shift) - 127)) << 23;
    return p * reinterpret_cast<Floats>(power);
}

enum Activation { none = 0, relu = 1, silu = 2 };

template <int W, int A>
EVOLUTE_INLINE typename Vector<W>::Floats activated(typename Vector<W>::Floats y) {
    if (A == relu) return y <= 0.0f ? typename Vector<W>::Floats{} : y;
    if (A == silu) return y / (exponential<W>(-y) + 1.0f);
    return y;
}

template <int W, int A>
EVOLUTE_INLINE typename Vector<W>::Floats slope(typename Vector<W>::Floats y) {
    typedef typename Vector<W>::Floats Floats;
    if (A == relu) return y <= 0.0f ? Floats{} : Floats{} + 1.0f;
    if (A == silu) {
        Floats s = 1.0f / (exponential<W>(-y) + 1.0f);
        return s * (1.0f + y * (1.0f - s));
    }
    return Floats{} + 1.0f;
}

}  // namespace
