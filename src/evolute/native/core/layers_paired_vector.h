// Vectors of 16 words, each a pair of bfloat16: by AVX512_BF16, or by what every machine has.
#pragma once

#include <cstring>

#include "layers_paired.h"
#include "layers_vector.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace {

using paired::Int;
using paired::Word;

typedef Vector<16>::Floats Floats;
typedef Vector<16>::Bits Bits;

EVOLUTE_INLINE Bits words_at(const Word* from) {
    Bits x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

EVOLUTE_INLINE void put(Word* to, Bits x) { std::memcpy(to, &x, sizeof x); }

EVOLUTE_INLINE Floats low(Bits x) { return reinterpret_cast<Floats>(x << 16); }
EVOLUTE_INLINE Floats high(Bits x) { return reinterpret_cast<Floats>(x & 0xffff0000u); }

#if defined(__AVX512BF16__)

// sum + low(x)·low(y) + high(x)·high(y), number by number.
EVOLUTE_INLINE Floats dot(Floats sum, Bits x, Bits y) {
    return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)y);
}

// Rounds to nearest, ties to even; NaN stays NaN.
EVOLUTE_INLINE Bits joined_pair(Floats even, Floats odd) {
    const __m512i first = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)even));
    const __m512i second = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)odd));
    return (Bits)_mm512_or_si512(first, _mm512_slli_epi32(second, 16));
}

// The same in fewer instructions and with one register more, which convolutions have not: theirs
// took 1.6 times as long.
EVOLUTE_INLINE Bits joined_quickly(Floats even, Floats odd) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                           8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i sides = (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even);
    return (Bits)_mm512_permutexvar_epi16(order, sides);
}

// 1/(1 + exp(−y)) to 3e-6: 2^t = 2^n·2^f with the Taylor polynomial of degree 5, |f| <= 1/2, and
// one step of Newton's method for the quotient.
EVOLUTE_INLINE Floats sigmoid(Floats y) {
    // The second operand is kept where one is NaN.
    const __m512 t = _mm512_min_ps(_mm512_set1_ps(126.0f),
                                   _mm512_mul_ps((__m512)y, _mm512_set1_ps(-1.44269504f)));
    const __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const Floats f = (Floats)_mm512_sub_ps(t, n);
    Floats p = Floats{} + 1.33335581e-3f;
    p = p * f + 9.61812911e-3f;
    p = p * f + 5.55041087e-2f;
    p = p * f + 0.240226507f;
    p = p * f + 0.693147181f;
    p = p * f + 1.0f;
    const __m512 whole =
        _mm512_add_ps(_mm512_scalef_ps((__m512)p, n), _mm512_set1_ps(1.0f));
    const __m512 guess = _mm512_rcp14_ps(whole);
    const __m512 miss = _mm512_fnmadd_ps(whole, guess, _mm512_set1_ps(1.0f));
    return (Floats)_mm512_fmadd_ps(guess, miss, guess);
}

// Exchanges rows and columns, halves of halves at a time.
EVOLUTE_INLINE void turn(Bits* rows) {
    const __m512i places = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (int step = 1; step < 16; step *= 2) {
        const __mmask16 upper = _mm512_test_epi32_mask(places, _mm512_set1_epi32(step));
        const __m512i down = _mm512_sub_epi32(places, _mm512_set1_epi32(step));
        const __m512i up = _mm512_add_epi32(places, _mm512_set1_epi32(step));
        const __m512i other = _mm512_set1_epi32(16);
        // Of place j: row i's j, or the other row's j − step; and row i's j + step, or the other's j.
        const __m512i first =
            _mm512_mask_blend_epi32(upper, places, _mm512_add_epi32(down, other));
        const __m512i second =
            _mm512_mask_blend_epi32(upper, up, _mm512_add_epi32(places, other));
        for (int i = 0; i < 16; ++i) {
            if (i & step) continue;
            const __m512i a = (__m512i)rows[i], b = (__m512i)rows[i + step];
            rows[i] = (Bits)_mm512_permutex2var_epi32(a, first, b);
            rows[i + step] = (Bits)_mm512_permutex2var_epi32(a, second, b);
        }
    }
}

#else

EVOLUTE_INLINE Floats dot(Floats sum, Bits x, Bits y) {
    sum += low(x) * low(y);
    return sum + high(x) * high(y);
}

EVOLUTE_INLINE Bits rounded(Floats x) {
    const Bits bits = reinterpret_cast<Bits>(x), nan = reinterpret_cast<Bits>(x != x);
    const Bits near = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (nan & 0x7fc0u) | (~nan & near);
}

EVOLUTE_INLINE Bits joined_pair(Floats even, Floats odd) {
    return rounded(even) | (rounded(odd) << 16);
}

EVOLUTE_INLINE Bits joined_quickly(Floats even, Floats odd) { return joined_pair(even, odd); }

EVOLUTE_INLINE Floats sigmoid(Floats y) { return 1.0f / (exponential<16>(-y) + 1.0f); }

EVOLUTE_INLINE void turn(Bits* rows) {
    for (int i = 0; i < 16; ++i) {
        for (int j = 0; j < i; ++j) {
            const Word kept = rows[i][j];
            rows[i][j] = rows[j][i];
            rows[j][i] = kept;
        }
    }
}

#endif

// All ones where an example of a block is one of the batch.
struct Live {
    Bits mask[2];
};

EVOLUTE_INLINE Live live(Int examples, Int number) {
    Live found;
    for (int v = 0; v < 2; ++v) {
        for (int i = 0; i < 16; ++i) {
            const Int example = number * paired::block + v * paired::vector + i;
            found.mask[v][i] = example < examples ? 0xffffffffu : 0u;
        }
    }
    return found;
}

}  // namespace
