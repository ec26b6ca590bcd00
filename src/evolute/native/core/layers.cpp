// Batch normalisation and the activation after it, in one pass each way where torch takes four.
//
// A matrix has `rows` examples (and pixels) and `columns` channels, channels last. What happens to a
// column does not depend on the other columns, nor on how many there are: rows are added in blocks
// of a fixed size, in order, and a vector of columns is as wide as what is left of them.
//
// y = a·x + c with a = w/√(var + ε), c = b − a·mean; z = f(y), f the identity, max(y, 0) or
// y/(1 + exp(−y)). Source of the gradient: Ioffe and Szegedy, Batch Normalization (2015), section 3.

#include "layers_vector.h"

namespace {

constexpr std::int64_t block_rows = 32;  // rows summed in float before the sum goes on in double

// Calls tile(width, column) for the columns from left to right, the widest tile that fits first.
template <class Tile>
EVOLUTE_INLINE void over_columns(std::int64_t columns, const Tile& tile) {
    std::int64_t c = 0;
    for (; c + 16 <= columns; c += 16) tile(std::integral_constant<int, 16>{}, c);
    if (c + 8 <= columns) { tile(std::integral_constant<int, 8>{}, c); c += 8; }
    if (c + 4 <= columns) { tile(std::integral_constant<int, 4>{}, c); c += 4; }
    for (; c < columns; ++c) tile(std::integral_constant<int, 1>{}, c);
}

template <int A, class T>
EVOLUTE_INLINE void forward(
    const T* x, T* z, std::int64_t rows, std::int64_t columns, const float* scale,
    const float* offset, double epsilon, float* mean, float* variance, float* deviation) {
    std::vector<double> sums(2 * columns, 0.0);
    double* first = sums.data();
    double* second = first + columns;
    // Moments of x − x₀, where x₀ is the first row: small numbers, so nothing cancels.
    for (std::int64_t begin = 0; begin < rows; begin += block_rows) {
        const std::int64_t end = begin + block_rows < rows ? begin + block_rows : rows;
        over_columns(columns, [&](auto width, std::int64_t c) __attribute__((always_inline)) {
            constexpr int W = decltype(width)::value;
            typename Vector<W>::Floats base = load<W>(x + c), sum = {}, square = {};
            for (std::int64_t r = begin; r < end; ++r) {
                typename Vector<W>::Floats d = load<W>(x + r * columns + c) - base;
                sum += d;
                square += d * d;
            }
            for (int i = 0; i < W; ++i) {
                first[c + i] += sum[i];
                second[c + i] += square[i];
            }
        });
    }
    over_columns(columns, [&](auto width, std::int64_t c) __attribute__((always_inline)) {
        constexpr int W = decltype(width)::value;
        typename Vector<W>::Floats base = load<W>(x + c);
        for (int i = 0; i < W; ++i) {
            const double shifted = first[c + i] / rows;
            const double spread = second[c + i] / rows - shifted * shifted;
            // Not max(): NaN must stay.
            const double kept = spread < 0.0 ? 0.0 : spread;
            mean[c + i] = static_cast<float>(base[i] + shifted);
            variance[c + i] = static_cast<float>(kept);
            deviation[c + i] = static_cast<float>(1.0 / std::sqrt(kept + epsilon));
        }
    });
    for (std::int64_t begin = 0; begin < rows; begin += block_rows) {
        const std::int64_t end = begin + block_rows < rows ? begin + block_rows : rows;
        over_columns(columns, [&](auto width, std::int64_t c) __attribute__((always_inline)) {
            constexpr int W = decltype(width)::value;
            typename Vector<W>::Floats a = load<W>(scale + c) * load<W>(deviation + c);
            typename Vector<W>::Floats b = load<W>(offset + c) - load<W>(mean + c) * a;
            for (std::int64_t r = begin; r < end; ++r) {
                store<W>(z + r * columns + c,
                         activated<W, A>(load<W>(x + r * columns + c) * a + b));
            }
        });
    }
}

template <int A, class T>
EVOLUTE_INLINE void backward(
    const T* x, const T* g, T* out, std::int64_t rows, std::int64_t columns, const float* scale,
    const float* offset, const float* mean, const float* deviation, float* scale_gradient,
    float* offset_gradient) {
    std::vector<double> sums(2 * columns, 0.0);
    double* first = sums.data();
    double* second = first + columns;
    for (std::int64_t begin = 0; begin < rows; begin += block_rows) {
        const std::int64_t end = begin + block_rows < rows ? begin + block_rows : rows;
        over_columns(columns, [&](auto width, std::int64_t c) __attribute__((always_inline)) {
            constexpr int W = decltype(width)::value;
            typename Vector<W>::Floats middle = load<W>(mean + c), sum = {}, product = {};
            typename Vector<W>::Floats a = load<W>(scale + c) * load<W>(deviation + c);
            typename Vector<W>::Floats b = load<W>(offset + c) - middle * a;
            for (std::int64_t r = begin; r < end; ++r) {
                const std::int64_t at = r * columns + c;
                typename Vector<W>::Floats value = load<W>(x + at);
                typename Vector<W>::Floats d = load<W>(g + at) * slope<W, A>(value * a + b);
                store<W>(out + at, d);
                sum += d;
                product += d * (value - middle);
            }
            for (int i = 0; i < W; ++i) {
                first[c + i] += sum[i];
                second[c + i] += product[i];
            }
        });
    }
    for (std::int64_t c = 0; c < columns; ++c) {
        offset_gradient[c] = static_cast<float>(first[c]);
        scale_gradient[c] = static_cast<float>(second[c] * deviation[c]);
    }
    for (std::int64_t begin = 0; begin < rows; begin += block_rows) {
        const std::int64_t end = begin + block_rows < rows ? begin + block_rows : rows;
        over_columns(columns, [&](auto width, std::int64_t c) __attribute__((always_inline)) {
            constexpr int W = decltype(width)::value;
            typedef typename Vector<W>::Floats Floats;
            const float share = 1.0f / static_cast<float>(rows);
            Floats middle = load<W>(mean + c), inverse = load<W>(deviation + c);
            Floats a = load<W>(scale + c) * inverse;
            Floats shift = load<W>(offset_gradient + c) * share;
            Floats turn = load<W>(scale_gradient + c) * share * inverse;
            for (std::int64_t r = begin; r < end; ++r) {
                const std::int64_t at = r * columns + c;
                Floats d = load<W>(out + at) - shift - (load<W>(x + at) - middle) * turn;
                store<W>(out + at, d * a);
            }
        });
    }
}

template <class T>
EVOLUTE_INLINE void any_forward(
    std::int32_t activation, const T* x, T* z, std::int64_t rows, std::int64_t columns,
    const float* scale, const float* offset, double epsilon, float* mean, float* variance,
    float* deviation) {
    switch (activation) {
        case relu:
            return forward<relu>(x, z, rows, columns, scale, offset, epsilon, mean, variance,
                                 deviation);
        case silu:
            return forward<silu>(x, z, rows, columns, scale, offset, epsilon, mean, variance,
                                 deviation);
        default:
            return forward<none>(x, z, rows, columns, scale, offset, epsilon, mean, variance,
                                 deviation);
    }
}

template <class T>
EVOLUTE_INLINE void any_backward(
    std::int32_t activation, const T* x, const T* g, T* out, std::int64_t rows,
    std::int64_t columns, const float* scale, const float* offset, const float* mean,
    const float* deviation, float* scale_gradient, float* offset_gradient) {
    switch (activation) {
        case relu:
            return backward<relu>(x, g, out, rows, columns, scale, offset, mean, deviation,
                                  scale_gradient, offset_gradient);
        case silu:
            return backward<silu>(x, g, out, rows, columns, scale, offset, mean, deviation,
                                  scale_gradient, offset_gradient);
        default:
            return backward<none>(x, g, out, rows, columns, scale, offset, mean, deviation,
                                  scale_gradient, offset_gradient);
    }
}

}  // namespace

// Version of this interface: a library of another version is not used.
EVOLUTE_EXPORT std::int32_t evolute_layers_abi() { return 9; }

// What this machine has of what this build can use, as bits: AVX2, AVX-512; and AVX512_BF16 where the
// compiler knew it, whatever the machine (evolute_paired_is_fast says whether it runs).
EVOLUTE_EXPORT std::int32_t evolute_layers_paths() {
    std::int32_t found = 0;
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found |= 1;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
        found |= 2;
    }
#endif
#if defined(EVOLUTE_PAIRED_DOT)
    found |= 4;
#endif
    return found;
}

// x, z: [rows, columns]; writes z, and mean, variance (over the rows, not their number less one)
// and 1/√(variance + ε) of each column.
EVOLUTE_EXPORT EVOLUTE_WIDEST void evolute_norm_forward(
    std::int32_t activation, const float* x, float* z, std::int64_t rows, std::int64_t columns,
    const float* scale, const float* offset, double epsilon, float* mean, float* variance,
    float* deviation) {
    any_forward(activation, x, z, rows, columns, scale, offset, epsilon, mean, variance, deviation);
}

EVOLUTE_EXPORT EVOLUTE_WIDEST void evolute_norm_forward_bf16(
    std::int32_t activation, const std::uint16_t* x, std::uint16_t* z, std::int64_t rows,
    std::int64_t columns, const float* scale, const float* offset, double epsilon, float* mean,
    float* variance, float* deviation) {
    any_forward(activation, reinterpret_cast<const BFloat16*>(x), reinterpret_cast<BFloat16*>(z),
                rows, columns, scale, offset, epsilon, mean, variance, deviation);
}

// g: gradient of z; writes the gradients of x, of the scale and of the offset.
EVOLUTE_EXPORT EVOLUTE_WIDEST void evolute_norm_backward(
    std::int32_t activation, const float* x, const float* g, float* out, std::int64_t rows,
    std::int64_t columns, const float* scale, const float* offset, const float* mean,
    const float* deviation, float* scale_gradient, float* offset_gradient) {
    any_backward(activation, x, g, out, rows, columns, scale, offset, mean, deviation,
                 scale_gradient, offset_gradient);
}

EVOLUTE_EXPORT EVOLUTE_WIDEST void evolute_norm_backward_bf16(
    std::int32_t activation, const std::uint16_t* x, const std::uint16_t* g, std::uint16_t* out,
    std::int64_t rows, std::int64_t columns, const float* scale, const float* offset,
    const float* mean, const float* deviation, float* scale_gradient, float* offset_gradient) {
    any_backward(activation, reinterpret_cast<const BFloat16*>(x),
                 reinterpret_cast<const BFloat16*>(g), reinterpret_cast<BFloat16*>(out), rows,
                 columns, scale, offset, mean, deviation, scale_gradient, offset_gradient);
}
