// Vectors of the widest registers that this file is compiled for, as GCC and Clang know them.
//
// Included by kernel.cpp alone, once per path: everything stands in that path's own namespace, so
// that no linker mixes machine instructions of two paths.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace evolute {
namespace EVOLUTE_PATH {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif
constexpr int width = vector_bytes / 4;

typedef float Floats __attribute__((vector_size(vector_bytes)));
typedef std::int32_t Ints __attribute__((vector_size(vector_bytes)));
typedef float LooseFloats __attribute__((vector_size(vector_bytes), aligned(4), may_alias));
typedef double Doubles __attribute__((vector_size(vector_bytes)));
typedef std::int64_t Longs __attribute__((vector_size(vector_bytes)));
typedef double LooseDoubles __attribute__((vector_size(vector_bytes), aligned(8), may_alias));
typedef float HalfFloats __attribute__((vector_size(vector_bytes / 2)));
typedef std::int32_t HalfInts __attribute__((vector_size(vector_bytes / 2)));

#define EVOLUTE_INLINE static inline __attribute__((always_inline))

EVOLUTE_INLINE Floats all(float value) { return value - Floats{}; }
EVOLUTE_INLINE Doubles all_doubles(double value) { return value - Doubles{}; }

EVOLUTE_INLINE Floats load(const float* from) {
    return *reinterpret_cast<const LooseFloats*>(from);
}
EVOLUTE_INLINE void store(float* to, Floats value) {
    *reinterpret_cast<LooseFloats*>(to) = value;
}

// a·b + c, rounded once where the machine can; a path does it always or never.
#if defined(__AVX512F__) || defined(__FMA__) || defined(__aarch64__)
constexpr bool rounds_once = true;
#else
constexpr bool rounds_once = false;
#endif
EVOLUTE_INLINE Floats fma(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
    return reinterpret_cast<Floats>(_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c));
#elif defined(__FMA__)
    return reinterpret_cast<Floats>(_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c));
#elif defined(__aarch64__)
    return (Floats)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

EVOLUTE_INLINE Doubles fma(Doubles a, Doubles b, Doubles c) {
#if defined(__AVX512F__)
    return reinterpret_cast<Doubles>(_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c));
#elif defined(__FMA__)
    return reinterpret_cast<Doubles>(_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c));
#elif defined(__aarch64__)
    return (Doubles)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return a * b + c;
#endif
}

EVOLUTE_INLINE Floats square_root(Floats x) {
#if defined(__AVX512F__)
    return (Floats)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
    return (Floats)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
    return (Floats)_mm_sqrt_ps((__m128)x);
#elif defined(__aarch64__)
    return (Floats)vsqrtq_f32((float32x4_t)x);
#else
    for (int i = 0; i < width; ++i) x[i] = __builtin_sqrtf(x[i]);
    return x;
#endif
}

// The same to the bit where 2^-100 ≤ x and x is finite (tested for every such float): the machine
// finds an approximate reciprocal root and multiplies faster than it finds a root.
#if defined(__AVX512F__)
constexpr bool has_quick_root = true;
EVOLUTE_INLINE Floats quick_square_root(Floats x) {
    const __m512 half = _mm512_set1_ps(0.5f), y = _mm512_rsqrt14_ps((__m512)x);
    // Goldschmidt's step on g ≈ √x and h ≈ 1/(2√x), then Newton's, whose residual is exact.
    __m512 g = _mm512_mul_ps((__m512)x, y);
    __m512 h = (__m512)_mm512_sub_epi32((__m512i)y, _mm512_set1_epi32(1 << 23));  // y/2
    const __m512 r = _mm512_fnmadd_ps(g, h, half);
    g = _mm512_fmadd_ps(g, r, g);
    h = _mm512_fmadd_ps(h, r, h);
    return (Floats)_mm512_fmadd_ps(_mm512_fnmadd_ps(g, g, (__m512)x), h, g);
}
#else
constexpr bool has_quick_root = false;
EVOLUTE_INLINE Floats quick_square_root(Floats x) { return square_root(x); }
#endif

EVOLUTE_INLINE Floats bits(Ints x) { return reinterpret_cast<Floats>(x); }
EVOLUTE_INLINE Ints bits(Floats x) { return reinterpret_cast<Ints>(x); }
EVOLUTE_INLINE Doubles bits(Longs x) { return reinterpret_cast<Doubles>(x); }
EVOLUTE_INLINE Longs bits(Doubles x) { return reinterpret_cast<Longs>(x); }

EVOLUTE_INLINE Floats magnitude(Floats x) { return bits(bits(x) & 0x7fffffff); }
// The magnitude of x with the sign of y; x must be at least +0, or NaN.
EVOLUTE_INLINE Floats with_sign_of(Floats x, Floats y) {
    return bits(bits(x) | (bits(y) & static_cast<std::int32_t>(0x80000000)));
}
// x < y ? x : y and x > y ? x : y: y where one of them is NaN.
EVOLUTE_INLINE Floats lesser(Floats x, Floats y) {
#if defined(__AVX512F__)
    return (Floats)_mm512_min_ps((__m512)x, (__m512)y);
#elif defined(__AVX2__)
    return (Floats)_mm256_min_ps((__m256)x, (__m256)y);
#elif defined(__SSE2__)
    return (Floats)_mm_min_ps((__m128)x, (__m128)y);
#else
    return x < y ? x : y;
#endif
}
EVOLUTE_INLINE Floats greater(Floats x, Floats y) {
#if defined(__AVX512F__)
    return (Floats)_mm512_max_ps((__m512)x, (__m512)y);
#elif defined(__AVX2__)
    return (Floats)_mm256_max_ps((__m256)x, (__m256)y);
#elif defined(__SSE2__)
    return (Floats)_mm_max_ps((__m128)x, (__m128)y);
#else
    return x > y ? x : y;
#endif
}
// 1 with the sign of x; 0 of 0 and of NaN.
EVOLUTE_INLINE Floats sign_of(Floats x) {
#if defined(__AVX512F__)
    // What becomes of each class of numbers, from the right: NaN of both kinds, 0, 1, -inf, inf,
    // below 0, above 0; 8 stands for 0, 9 for -1, a for 1.
    const __m512i table = _mm512_set1_epi32(static_cast<int>(0xa9a9a888));
    return (Floats)_mm512_fixupimm_ps((__m512)x, (__m512)x, table, 0);
#else
    const Floats one = all(1.0f), zero = all(0.0f);
    return x > zero ? one : (x < zero ? -one : zero);
#endif
}
// x held within ±|y|; NaN where one of them is.
EVOLUTE_INLINE Floats held_within(Floats x, Floats y) {
#if defined(__AVX512DQ__)
    const __m512 a = (__m512)x, b = (__m512)y;
    const __mmask16 unordered = _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q);
    return (Floats)_mm512_mask_add_ps(_mm512_range_ps(a, b, 2), unordered, a, b);
#else
    const Floats bound = magnitude(y);
    return x != x ? x : greater(lesser(x, bound), -bound);
#endif
}
EVOLUTE_INLINE Ints larger(Ints x, Ints y) {
#if defined(__AVX512F__)
    return (Ints)_mm512_max_epi32((__m512i)x, (__m512i)y);
#elif defined(__AVX2__)
    return (Ints)_mm256_max_epi32((__m256i)x, (__m256i)y);
#else
    return x > y ? x : y;
#endif
}

EVOLUTE_INLINE Floats select(Ints where, Floats yes, Floats no) { return where ? yes : no; }
EVOLUTE_INLINE Doubles select(Longs where, Doubles yes, Doubles no) { return where ? yes : no; }

// Whether a comparison holds in every element; false where the machine cannot say so quickly.
EVOLUTE_INLINE bool everywhere(Ints where) {
#if defined(__AVX512F__)
    return _mm512_movepi32_mask((__m512i)where) == 0xffff;
#elif defined(__AVX2__)
    return _mm256_movemask_ps((__m256)where) == 0xff;
#elif defined(__SSE2__)
    return _mm_movemask_ps((__m128)where) == 0xf;
#elif defined(__aarch64__)
    return vminvq_u32((uint32x4_t)where) != 0;
#else
    (void)where;
    return false;
#endif
}

// The larger magnitude of two numbers; where one is NaN, either of the two.
EVOLUTE_INLINE Floats larger_magnitude(Floats x, Floats y) {
#if defined(__AVX512DQ__)
    return (Floats)_mm512_range_ps((__m512)x, (__m512)y, 11);
#else
    return bits(larger(bits(magnitude(x)), bits(magnitude(y))));
#endif
}

// Whether every element is a number below this one; false where the machine cannot say so quickly.
EVOLUTE_INLINE bool all_below(Floats x, float bound) {
#if defined(__AVX512F__)  // GCC would make a vector of the comparison first
    return _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(bound), _CMP_LT_OQ) == 0xffff;
#else
    return everywhere(x < all(bound));
#endif
}

// Whether every whole number is below that beside it; false where the machine cannot say so quickly.
EVOLUTE_INLINE bool all_below(Ints x, Ints bound) {
#if defined(__AVX512F__)
    return _mm512_cmplt_epi32_mask((__m512i)x, (__m512i)bound) == 0xffff;
#else
    return everywhere(x < bound);
#endif
}

// Whether every element is a number below this one.
EVOLUTE_INLINE bool all_below(Doubles x, double bound) {
#if defined(__AVX512F__)
    return _mm512_cmp_pd_mask((__m512d)x, _mm512_set1_pd(bound), _CMP_LT_OQ) == 0xff;
#else
    const Longs below = x < all_doubles(bound);
    std::int64_t all_of = -1;
    for (std::size_t i = 0; i < sizeof x / sizeof x[0]; ++i) all_of &= below[i];
    return all_of != 0;
#endif
}

// The lower and the upper half of a vector, as doubles, and back.
struct Pair {
    Doubles low, high;
};
EVOLUTE_INLINE Pair widen(Floats x) {
    HalfFloats halves[2];
    __builtin_memcpy(halves, &x, sizeof x);
#if defined(__AVX512F__)  // GCC would do it in quarters
    return {(Doubles)_mm512_cvtps_pd((__m256)halves[0]), (Doubles)_mm512_cvtps_pd((__m256)halves[1])};
#elif defined(__AVX2__)
    return {(Doubles)_mm256_cvtps_pd((__m128)halves[0]), (Doubles)_mm256_cvtps_pd((__m128)halves[1])};
#else
    return {__builtin_convertvector(halves[0], Doubles), __builtin_convertvector(halves[1], Doubles)};
#endif
}
EVOLUTE_INLINE Floats narrow(Pair x) {
#if defined(__AVX512F__)
    HalfFloats halves[2] = {(HalfFloats)_mm512_cvtpd_ps((__m512d)x.low),
                            (HalfFloats)_mm512_cvtpd_ps((__m512d)x.high)};
#elif defined(__AVX2__)
    HalfFloats halves[2] = {(HalfFloats)_mm256_cvtpd_ps((__m256d)x.low),
                            (HalfFloats)_mm256_cvtpd_ps((__m256d)x.high)};
#else
    HalfFloats halves[2] = {__builtin_convertvector(x.low, HalfFloats),
                            __builtin_convertvector(x.high, HalfFloats)};
#endif
    Floats joined;
    __builtin_memcpy(&joined, halves, sizeof joined);
    return joined;
}

// x[i] + x[i + width/2], rounded to a float and widened.
EVOLUTE_INLINE Doubles widened_sum_of_halves(Floats x) {
    HalfFloats halves[2];
    __builtin_memcpy(halves, &x, sizeof x);
    const HalfFloats sum = halves[0] + halves[1];
#if defined(__AVX512F__)
    return (Doubles)_mm512_cvtps_pd((__m256)sum);
#else
    return __builtin_convertvector(sum, Doubles);
#endif
}

}  // namespace EVOLUTE_PATH
}  // namespace evolute
