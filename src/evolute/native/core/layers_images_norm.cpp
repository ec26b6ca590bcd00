// Batch normalisation of images with the examples last in memory, and the activation after it:
// x[lane][row][column][channel][example]. One lane follows the other, each by the same instructions
// on its own numbers, so its bits depend on no company; products and sums contract.
//
// Source of the gradients: Ioffe and Szegedy, Batch Normalization (2015).

#include "layers_convolve.h"
#include "layers_dispatch.h"
#include "layers_sigmoid.h"

namespace {

constexpr Int together = 64;  // vectors summed in float before the sum goes on in double

// A pass over one lane, and where it keeps its sums: [channel][two sums][W], in float and in double.
struct Pass {
    const Norm& norm;
    Int lane;
    float* parts;
    double* sums;

    Int first() const { return lane * norm.pixels * norm.channels * norm.examples; }
    Int channel() const { return lane * norm.channels; }
};

// Calls part(width of a vector, place) on a row of examples, then part(1, place) on what is left.
template <int W, class Part>
EVOLUTE_INLINE void over_row(Int examples, const Part& part) {
    Int n = 0;
    for (; n + W <= examples; n += W) part(std::integral_constant<int, W>{}, n);
    for (; n < examples; ++n) part(std::integral_constant<int, 1>{}, n);
}

// Calls part(width of a vector, place, pixel's place, channel, two sums) on all numbers of a lane;
// the sums of a channel are totals(pass, channel) then.
template <int W, class Part>
EVOLUTE_INLINE void sum_up(const Pass& pass, const Part& part) {
    const Norm& norm = pass.norm;
    const Int size = 2 * W * norm.channels, vectors = norm.examples / W + 1;
    const Int stretch = vectors < together ? together / vectors : 1;
    for (Int i = 0; i < size; ++i) pass.parts[i] = 0.0f;
    for (Int i = 0; i < size; ++i) pass.sums[i] = 0.0;
    for (Int pixel = 0; pixel < norm.pixels; ++pixel) {
        Int place = pass.first() + pixel * norm.channels * norm.examples;
        for (Int c = 0; c < norm.channels; ++c, place += norm.examples) {
            float* parts = pass.parts + c * 2 * W;
            typename Vector<W>::Floats first = load<W>(parts), second = load<W>(parts + W);
            typename Vector<1>::Floats one = {}, two = {};
            over_row<W>(norm.examples, [&](auto w, Int n) __attribute__((always_inline)) {
                if constexpr (decltype(w)::value == W) {
                    part(w, place + n, pixel, c * norm.examples + n, c, first, second);
                } else {
                    part(w, place + n, pixel, c * norm.examples + n, c, one, two);
                }
            });
            store<W>(parts, first);
            store<W>(parts + W, second);
            parts[0] += one[0];
            parts[W] += two[0];
        }
        if ((pixel + 1) % stretch && pixel + 1 < norm.pixels) continue;
        for (Int i = 0; i < size; ++i) pass.sums[i] += pass.parts[i];
        for (Int i = 0; i < size; ++i) pass.parts[i] = 0.0f;
    }
}

struct Totals {
    double first, second;
};

template <int W>
EVOLUTE_INLINE Totals totals(const Pass& pass, Int channel) {
    Totals found = {0.0, 0.0};
    for (int i = 0; i < W; ++i) found.first += pass.sums[channel * 2 * W + i];
    for (int i = 0; i < W; ++i) found.second += pass.sums[channel * 2 * W + W + i];
    return found;
}

// Mean, variance and deviation of each channel: moments of x − x₀, small, so that nothing cancels.
template <int W>
EVOLUTE_INLINE void measure(const Pass& pass) {
    const Norm& norm = pass.norm;
    const float* base = norm.x + pass.first();
    sum_up<W>(pass, [&](auto w, Int place, Int, Int, Int c, auto& first, auto& second)
                        __attribute__((always_inline)) {
        const auto d = load<decltype(w)::value>(norm.x + place) - base[c * norm.examples];
        first += d;
        second += d * d;
    });
    const double count = static_cast<double>(norm.pixels) * static_cast<double>(norm.examples);
    for (Int c = 0; c < norm.channels; ++c) {
        const Totals sums = totals<W>(pass, c);
        const double shifted = sums.first / count, spread = sums.second / count - shifted * shifted;
        const double kept = spread < 0.0 ? 0.0 : spread;  // not max(): NaN must stay
        const Int at = pass.channel() + c;
        norm.mean[at] = static_cast<float>(base[c * norm.examples] + shifted);
        norm.variance[at] = static_cast<float>(kept);
        norm.deviation[at] = static_cast<float>(1.0 / std::sqrt(kept + norm.epsilon));
    }
}

template <int W, int A>
EVOLUTE_INLINE void normalise(const Pass& pass) {
    const Norm& norm = pass.norm;
    measure<W>(pass);
    Int place = pass.first();
    for (Int pixel = 0; pixel < norm.pixels; ++pixel) {
        for (Int at = pass.channel(); at < pass.channel() + norm.channels; ++at) {
            const float a = norm.scale[at] * norm.deviation[at];
            const float b = norm.offset[at] - norm.mean[at] * a;
            over_row<W>(norm.examples, [&](auto w, Int n) __attribute__((always_inline)) {
                constexpr int K = decltype(w)::value;
                const auto y = load<K>(norm.x + place + n) * a + b;
                store<K>(norm.out + place + n, image_activated<K, A>(y));
            });
            place += norm.examples;
        }
    }
}

template <int W, int A>
EVOLUTE_INLINE void normalise_backward(const Pass& pass) {
    const Norm& norm = pass.norm;
    const Int pixels = norm.gradient_pixel == 0 ? 1 : norm.pixels;
    const float* gradient =
        norm.gradient + pass.lane * pixels * norm.channels * norm.examples;
    sum_up<W>(pass, [&](auto w, Int place, Int pixel, Int in_pixel, Int c, auto& first, auto& second)
                        __attribute__((always_inline)) {
        constexpr int K = decltype(w)::value;
        const Int at = pass.channel() + c;
        const float a = norm.scale[at] * norm.deviation[at], mean = norm.mean[at];
        const auto x = load<K>(norm.x + place);
        const auto d = load<K>(gradient + pixel * norm.gradient_pixel + in_pixel) *
                       image_slope<K, A>(x * a + (norm.offset[at] - mean * a));
        store<K>(norm.out + place, d);
        first += d;
        second += d * (x - mean);
    });
    const double count = static_cast<double>(norm.pixels) * static_cast<double>(norm.examples);
    for (Int c = 0; c < norm.channels; ++c) {
        const Totals sums = totals<W>(pass, c);
        const double deviation = norm.deviation[pass.channel() + c];
        norm.offset_gradient[pass.channel() + c] = static_cast<float>(sums.first);
        norm.scale_gradient[pass.channel() + c] = static_cast<float>(sums.second * deviation);
        pass.parts[2 * c] = static_cast<float>(sums.first / count);
        pass.parts[2 * c + 1] = static_cast<float>(sums.second / count * deviation * deviation);
    }
    Int place = pass.first();
    for (Int pixel = 0; pixel < norm.pixels; ++pixel) {
        for (Int c = 0; c < norm.channels; ++c, place += norm.examples) {
            const float mean = norm.mean[pass.channel() + c];
            const float a = norm.scale[pass.channel() + c] * norm.deviation[pass.channel() + c];
            const float shift = pass.parts[2 * c], turn = pass.parts[2 * c + 1];
            over_row<W>(norm.examples, [&](auto w, Int n) __attribute__((always_inline)) {
                constexpr int K = decltype(w)::value;
                const auto d = load<K>(norm.out + place + n) - shift;
                store<K>(norm.out + place + n,
                         (d - (load<K>(norm.x + place + n) - mean) * turn) * a);
            });
        }
    }
}

template <int W, int A>
EVOLUTE_INLINE void both_ways(const Norm& norm) {
    const Room parts(2 * W * norm.channels), sums(4 * W * norm.channels);
    for (Int lane = 0; lane < norm.lanes; ++lane) {
        const Pass pass = {norm, lane, parts.get(), reinterpret_cast<double*>(sums.get())};
        if (norm.gradient == nullptr) {
            normalise<W, A>(pass);
        } else {
            normalise_backward<W, A>(pass);
        }
    }
}

template <int W>
EVOLUTE_INLINE void norm_images(const Norm& norm) {
    switch (norm.activation) {
        case relu: return both_ways<W, relu>(norm);
        case silu: return both_ways<W, silu>(norm);
        default: return both_ways<W, none>(norm);
    }
}

EVOLUTE_DISPATCH(norm_images, Norm)

}  // namespace

EVOLUTE_EXPORT void evolute_norm_images(const Norm* norm) { norm_images_any(*norm); }
