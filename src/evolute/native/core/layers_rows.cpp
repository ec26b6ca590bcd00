// Layers on rows of features, as in transformers: layer normalisation with each lane's own weights,
// and the Gaussian error linear unit.
//
// One lane follows the other, each by the same instructions on its own numbers, so its bits depend
// on no company; products and sums contract.
//
// Sources: Ba, Kiros and Hinton, Layer Normalization (2016); Hendrycks and Gimpel, Gaussian Error
// Linear Units (2016); Φ by Abramowitz and Stegun, Handbook of Mathematical Functions (1964),
// formula 7.1.26, error below 1.5e-7.

#include "layers_dispatch.h"
#include "layers_vector.h"
#include "layers_works.h"

namespace {

typedef std::int64_t Int;

// Calls part(width, feature): whole vectors first, then one by one.
template <int W, class Part>
EVOLUTE_INLINE void over_features(Int size, const Part& part) {
    Int f = 0;
    for (; f + W <= size; f += W) part(std::integral_constant<int, W>{}, f);
    for (; f < size; ++f) part(std::integral_constant<int, 1>{}, f);
}

template <int W>
EVOLUTE_INLINE void row_forward(const Rows& work, Int lane, Int row) {
    const Int at = lane * work.rows + row;
    const float* x = work.x + at * work.size;
    float* out = work.out + at * work.size;
    const float* scale = work.scale + lane * work.size;
    const float* offset = work.offset + lane * work.size;
    typename Vector<W>::Floats sums = {}, squares = {};
    float sum = 0.0f, square = 0.0f;
    over_features<W>(work.size, [&](auto w, Int f) __attribute__((always_inline)) {
        if constexpr (decltype(w)::value == W) sums += load<W>(x + f);
        else sum += x[f];
    });
    const float mean = (total<W>(sums) + sum) / work.size;
    over_features<W>(work.size, [&](auto w, Int f) __attribute__((always_inline)) {
        if constexpr (decltype(w)::value == W) {
            typename Vector<W>::Floats d = load<W>(x + f) - mean;
            squares += d * d;
        } else {
            square += (x[f] - mean) * (x[f] - mean);
        }
    });
    const double variance = (total<W>(squares) + square) / work.size;
    const float deviation = static_cast<float>(1.0 / std::sqrt(variance + work.epsilon));
    work.mean[at] = mean;
    work.deviation[at] = deviation;
    over_features<W>(work.size, [&](auto w, Int f) __attribute__((always_inline)) {
        constexpr int K = decltype(w)::value;
        typename Vector<K>::Floats d = (load<K>(x + f) - mean) * deviation;
        store<K>(out + f, d * load<K>(scale + f) + load<K>(offset + f));
    });
}

template <int W>
EVOLUTE_INLINE void row_backward(const Rows& work, Int lane, Int row, float* of_scale,
                                 float* of_offset) {
    const Int at = lane * work.rows + row;
    const float* x = work.x + at * work.size;
    const float* gradient = work.gradient + at * work.size;
    float* out = work.out + at * work.size;
    const float* scale = work.scale + lane * work.size;
    const float mean = work.mean[at], deviation = work.deviation[at];
    typename Vector<W>::Floats sums = {}, products = {};
    float sum = 0.0f, product = 0.0f;
    over_features<W>(work.size, [&](auto w, Int f) __attribute__((always_inline)) {
        constexpr int K = decltype(w)::value;
        typename Vector<K>::Floats g = load<K>(gradient + f);
        typename Vector<K>::Floats d = (load<K>(x + f) - mean) * deviation;
        store<K>(of_scale + f, load<K>(of_scale + f) + g * d);
        store<K>(of_offset + f, load<K>(of_offset + f) + g);
        typename Vector<K>::Floats own = g * load<K>(scale + f);
        if constexpr (K == W) {
            sums += own;
            products += own * d;
        } else {
            sum += own[0];
            product += own[0] * d[0];
        }
    });
    const float shift = (total<W>(sums) + sum) / work.size;
    const float turn = (total<W>(products) + product) / work.size;
    over_features<W>(work.size, [&](auto w, Int f) __attribute__((always_inline)) {
        constexpr int K = decltype(w)::value;
        typename Vector<K>::Floats d = (load<K>(x + f) - mean) * deviation;
        typename Vector<K>::Floats own = load<K>(gradient + f) * load<K>(scale + f);
        typename Vector<K>::Floats found = (own - shift - d * turn) * deviation;
        store<K>(out + f, work.add == 2 ? load<K>(out + f) + found : found);
    });
}

// The gradients of the weights are sums over many rows: over 64 in float, then on in double.
constexpr Int block = 64;

template <int W>
EVOLUTE_INLINE void layer_norm(const Rows& work) {
    std::vector<double> sums(2 * work.size);
    std::vector<float> some(2 * work.size);
    for (Int lane = 0; lane < work.lanes; ++lane) {
        if (work.gradient == nullptr) {
            for (Int row = 0; row < work.rows; ++row) row_forward<W>(work, lane, row);
            continue;
        }
        sums.assign(2 * work.size, 0.0);
        for (Int begin = 0; begin < work.rows; begin += block) {
            const Int end = begin + block < work.rows ? begin + block : work.rows;
            some.assign(2 * work.size, 0.0f);
            for (Int row = begin; row < end; ++row) {
                row_backward<W>(work, lane, row, some.data(), some.data() + work.size);
            }
            for (Int f = 0; f < 2 * work.size; ++f) sums[f] += some[f];
        }
        float* of_scale = work.scale_gradient + lane * work.size;
        float* of_offset = work.offset_gradient + lane * work.size;
        for (Int f = 0; f < work.size; ++f) {
            const float first = static_cast<float>(sums[f]);
            const float second = static_cast<float>(sums[work.size + f]);
            of_scale[f] = work.add ? of_scale[f] + first : first;
            of_offset[f] = work.add ? of_offset[f] + second : second;
        }
    }
}

EVOLUTE_DISPATCH(layer_norm, Rows)

enum GeluPass { gelu_forward, gelu_forward_with_slope, gelu_backward, gelu_by_slope };

template <int W, int Pass>
EVOLUTE_INLINE void gelu_part(const Gelu& work, Int at) {
    typedef typename Vector<W>::Floats Floats;
    if constexpr (Pass == gelu_by_slope) {
        store<W>(work.out + at, load<W>(work.gradient + at) * load<W>(work.slope + at));
        return;
    }
    const Floats value = load<W>(work.x + at);
    const Floats size = value < 0.0f ? -value : value;
    const Floats density = exponential<W>(value * value * -0.5f);
    const Floats t = 1.0f / (size * (0.3275911f * 0.70710678f) + 1.0f);
    Floats p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const Floats tail = p * t * density * 0.5f;
    const Floats share = value < 0.0f ? tail : 1.0f - tail;
    if constexpr (Pass == gelu_backward) {
        store<W>(work.out + at,
                 load<W>(work.gradient + at) * (share + value * density * 0.39894228f));
    } else {
        store<W>(work.out + at, value * share);
        if constexpr (Pass == gelu_forward_with_slope) {
            store<W>(work.slope + at, share + value * density * 0.39894228f);
        }
    }
}

template <int W, int Pass>
EVOLUTE_INLINE void gelu_lanes(const Gelu& work) {
    for (Int lane = 0; lane < work.lanes; ++lane) {
        over_features<W>(work.size, [&](auto w, Int f) __attribute__((always_inline)) {
            gelu_part<decltype(w)::value, Pass>(work, lane * work.size + f);
        });
    }
}

template <int W>
EVOLUTE_INLINE void gelu(const Gelu& work) {
    if (work.gradient != nullptr) {
        if (work.slope != nullptr) return gelu_lanes<W, gelu_by_slope>(work);
        return gelu_lanes<W, gelu_backward>(work);
    }
    if (work.slope != nullptr) return gelu_lanes<W, gelu_forward_with_slope>(work);
    gelu_lanes<W, gelu_forward>(work);
}

EVOLUTE_DISPATCH(gelu, Gelu)

}  // namespace

EVOLUTE_EXPORT void evolute_layer_norm(const Rows* work) { layer_norm_any(*work); }

EVOLUTE_EXPORT void evolute_gelu(const Gelu* work) { gelu_any(*work); }
