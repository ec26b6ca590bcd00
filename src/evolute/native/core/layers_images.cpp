// Layers on small images with the examples last in memory: x[lane][row][column][channel][example].
//
// No pixel needs a copy: a convolution is a sum over its taps of whole rows of examples. One lane
// follows the other, each by the same instructions on its own numbers, so its bits depend on no
// company; products and sums contract.

#include "layers_convolve.h"
#include "layers_dispatch.h"

namespace {

// A pixel that a pixel is summed from, and the first weight of its tap in a panel of width 1.
struct Tap {
    Int source, weight;
};

// What every pixel is summed from: the taps from begins[pixel] to begins[pixel + 1].
struct Taps {
    std::vector<Tap> taps;
    std::vector<Int> begins;
};

// Images of one lane that are summed, and those that they are summed to.
struct Planes {
    Int examples, pixels;
    Int from_channels, to_channels;
    const float* from;
    float* to;
};

// to[j][n…] = Σ over taps and channels c of from[tap][c][n…]·weight[tap][c][j].
template <int W, int V, int J>
EVOLUTE_INLINE void sum_taps(const Tap* tap, const Tap* end, const Planes& planes,
                             const float* source, const float* weight, float* to) {
    typedef typename Vector<W>::Floats Floats;
    const Int step = planes.examples, channels = planes.from_channels;
    Floats sums[J][V] = {};
    for (; tap != end; ++tap) {
        const float* from = source + tap->source;
        const float* by = weight + tap->weight * J;
        for (Int c = 0; c < channels; ++c, from += step, by += J) {
            Floats x[V];
            for (int v = 0; v < V; ++v) x[v] = load<W>(from + v * W);
            for (int j = 0; j < J; ++j) {
                for (int v = 0; v < V; ++v) sums[j][v] += x[v] * by[j];
            }
        }
    }
    for (int j = 0; j < J; ++j) {
        for (int v = 0; v < V; ++v) store<W>(to + j * step + v * W, sums[j][v]);
    }
}

template <int W>
constexpr int most_outputs = W > 8 ? 8 : 4;

// All pixels of some examples.
template <int W, int V, int Most>
EVOLUTE_INLINE void sum_examples(const Taps& taps, const Planes& planes, Int taps_of_all,
                                 const float* panels, Int n) {
    const Int depth = taps_of_all * planes.from_channels;
    for (Int pixel = 0; pixel < planes.pixels; ++pixel) {
        const Tap* begin = taps.taps.data() + taps.begins[pixel];
        const Tap* end = taps.taps.data() + taps.begins[pixel + 1];
        float* to = planes.to + pixel * planes.to_channels * planes.examples + n;
        over_channels<Most>(planes.to_channels, [&](auto j, Int o) __attribute__((always_inline)) {
            sum_taps<W, V, decltype(j)::value>(begin, end, planes, planes.from + n,
                                               panels + o * depth, to + o * planes.examples);
        });
    }
}

template <int W>
EVOLUTE_INLINE void sum_all(const Taps& taps, const Planes& planes, Int taps_of_all,
                            const float* panels) {
    constexpr int most = most_outputs<W>;
    Int n = 0;
    for (; n + 2 * W <= planes.examples; n += 2 * W) {
        sum_examples<W, 2, most>(taps, planes, taps_of_all, panels, n);
    }
    for (; n + W <= planes.examples; n += W) {
        sum_examples<W, 1, most>(taps, planes, taps_of_all, panels, n);
    }
    for (; n + 4 <= planes.examples; n += 4) {
        sum_examples<4, 1, most>(taps, planes, taps_of_all, panels, n);
    }
    for (; n < planes.examples; ++n) {
        sum_examples<1, 1, most>(taps, planes, taps_of_all, panels, n);
    }
}

// Element (from, to, tap) of a weight stands at from·from_step + to·to_step + tap.
struct Panels {
    Int from, to, taps;
    Int from_step, to_step;
};

// Copies a weight to panels of some channels of the result: [panel][tap][from][to].
template <int W>
EVOLUTE_INLINE void pack(const Panels& p, const float* weight, float* out) {
    over_channels<most_outputs<W>>(p.to, [&](auto j, Int o) __attribute__((always_inline)) {
        for (Int tap = 0; tap < p.taps; ++tap) {
            for (Int c = 0; c < p.from; ++c) {
                const float* here = weight + c * p.from_step + o * p.to_step + tap;
                for (int k = 0; k < decltype(j)::value; ++k) *out++ = here[k * p.to_step];
            }
        }
    });
}

// What each pixel of the result is summed from.
Taps taps_of_output(const Shape& s) {
    Taps found;
    const Int size = s.inputs * s.examples;
    for (Int pixel = 0; pixel < s.rows * s.columns; ++pixel) {
        found.begins.push_back(static_cast<Int>(found.taps.size()));
        const Int top = pixel / s.columns * s.stride_height - s.padding_height;
        const Int left = pixel % s.columns * s.stride_width - s.padding_width;
        for (Int t = 0; t < s.kernel_height * s.kernel_width; ++t) {
            const Int y = top + t / s.kernel_width, x = left + t % s.kernel_width;
            if (y < 0 || y >= s.height || x < 0 || x >= s.width) continue;
            found.taps.push_back({(y * s.width + x) * size, t * s.inputs});
        }
    }
    found.begins.push_back(static_cast<Int>(found.taps.size()));
    return found;
}

// What the gradient of each pixel of the input is summed from.
Taps taps_of_input(const Shape& s) {
    Taps found;
    const Int size = s.outputs * s.examples;
    for (Int pixel = 0; pixel < s.height * s.width; ++pixel) {
        found.begins.push_back(static_cast<Int>(found.taps.size()));
        for (Int t = 0; t < s.kernel_height * s.kernel_width; ++t) {
            const Int down = pixel / s.width + s.padding_height - t / s.kernel_width;
            const Int right = pixel % s.width + s.padding_width - t % s.kernel_width;
            if (down < 0 || right < 0) continue;
            if (down % s.stride_height || right % s.stride_width) continue;
            const Int y = down / s.stride_height, x = right / s.stride_width;
            if (y >= s.rows || x >= s.columns) continue;
            found.taps.push_back({(y * s.columns + x) * size, t * s.outputs});
        }
    }
    found.begins.push_back(static_cast<Int>(found.taps.size()));
    return found;
}

// What was found for a shape, kept for the next call: a network has few shapes.
struct Known {
    Shape shape;
    Taps taps;
};

constexpr std::size_t most_known = 64;

template <class Find>
const Taps& known_taps(std::vector<Known>& known, const Shape& shape, const Find& find) {
    Shape wanted = shape;
    wanted.lanes = wanted.input_stride = 0;
    for (const Known& each : known) {
        if (std::memcmp(&each.shape, &wanted, sizeof wanted) == 0) return each.taps;
    }
    if (known.size() == most_known) known.clear();
    known.push_back({wanted, find(wanted)});
    return known.back().taps;
}

template <int W>
EVOLUTE_INLINE void convolve(const Work& work) {
    const Shape& s = work.shape;
    const Int taps_of_all = s.kernel_height * s.kernel_width, pixels = s.rows * s.columns;
    const Int weights = s.outputs * s.inputs * taps_of_all;
    thread_local std::vector<Known> known;
    const Taps& taps = known_taps(known, s, taps_of_output);
    const Room panels(weights);
    for (Int lane = 0; lane < s.lanes; ++lane) {
        pack<W>({s.inputs, s.outputs, taps_of_all, taps_of_all, s.inputs * taps_of_all},
                work.weight + lane * weights, panels.get());
        sum_all<W>(taps,
                   {s.examples, pixels, s.inputs, s.outputs, work.x + lane * s.input_stride,
                    work.out + lane * pixels * s.outputs * s.examples},
                   taps_of_all, panels.get());
    }
}

// out = gradient of x.
template <int W>
EVOLUTE_INLINE void input_gradient(const Work& work) {
    const Shape& s = work.shape;
    const Int taps_of_all = s.kernel_height * s.kernel_width, pixels = s.height * s.width;
    const Int weights = s.outputs * s.inputs * taps_of_all;
    thread_local std::vector<Known> known;
    const Taps& taps = known_taps(known, s, taps_of_input);
    const Room panels(weights);
    for (Int lane = 0; lane < s.lanes; ++lane) {
        pack<W>({s.outputs, s.inputs, taps_of_all, s.inputs * taps_of_all, taps_of_all},
                work.weight + lane * weights, panels.get());
        sum_all<W>(taps,
                   {s.examples, pixels, s.outputs, s.inputs,
                    work.gradient + lane * s.rows * s.columns * s.outputs * s.examples,
                    work.out + lane * pixels * s.inputs * s.examples},
                   taps_of_all, panels.get());
    }
}

EVOLUTE_DISPATCH(convolve, Work)
EVOLUTE_DISPATCH(input_gradient, Work)

}  // namespace

EVOLUTE_EXPORT void evolute_convolve(const Shape* shape, const float* x, const float* weight,
                                     float* out) {
    convolve_any({*shape, x, weight, nullptr, out});
}

EVOLUTE_EXPORT void evolute_convolve_input_gradient(const Shape* shape, const float* gradient,
                                                    const float* weight, float* out) {
    input_gradient_any({*shape, nullptr, weight, gradient, out});
}
