// Layers on small images with the examples last in memory: x[lane][channel][row][column][example].
//
// Then every vector is full however few the channels, and no pixel needs a copy: a convolution is a
// sum over its taps of whole rows of examples. One lane follows the other, each by the same
// instructions on its own numbers, so its bits depend on no company; products and sums contract.
//
// Source of the gradients of the normalisation: Ioffe and Szegedy, Batch Normalization (2015).

#include "layers_convolve.h"
#include "layers_dispatch.h"

namespace {

// One row of examples that a pixel is summed from.
struct Tap {
    Int source, weight;
};

// to[j][n…] = Σ over taps and channels c of source[c][tap][n…]·weight[tap][c][j].
template <int W, int V, int J>
EVOLUTE_INLINE void sum_taps(const std::vector<Tap>& taps, Int channels, const float* source,
                             Int source_plane, const float* weight, Int weight_row, float* to,
                             Int to_plane) {
    typedef typename Vector<W>::Floats Floats;
    Floats sums[J][V] = {};
    for (const Tap& tap : taps) {
        const float* from = source + tap.source;
        const float* by = weight + tap.weight;
        for (Int c = 0; c < channels; ++c, from += source_plane, by += weight_row) {
            Floats x[V];
            for (int v = 0; v < V; ++v) x[v] = load<W>(from + v * W);
            for (int j = 0; j < J; ++j) {
                for (int v = 0; v < V; ++v) sums[j][v] += x[v] * by[j];
            }
        }
    }
    for (int j = 0; j < J; ++j) {
        for (int v = 0; v < V; ++v) store<W>(to + j * to_plane + v * W, sums[j][v]);
    }
}

template <int W>
EVOLUTE_INLINE void sum_pixel(const std::vector<Tap>& taps, Int examples, Int channels,
                              const float* source, Int source_plane, const float* weight,
                              Int outputs, float* to, Int to_plane) {
    over_examples<W, 2>(examples, [&](auto w, auto v, Int n) __attribute__((always_inline)) {
        over_channels<(W > 8 ? 8 : 4)>(outputs, [&](auto j, Int o) __attribute__((always_inline)) {
            sum_taps<decltype(w)::value, decltype(v)::value, decltype(j)::value>(
                taps, channels, source + n, source_plane, weight + o, outputs,
                to + o * to_plane + n, to_plane);
        });
    });
}

// Copies [outputs, inputs, taps] to [taps, inputs, outputs], or turned to [taps, outputs, inputs].
void pack(const Shape& s, const float* weight, bool turned, std::vector<float>& packed) {
    const Int taps = s.kernel_height * s.kernel_width;
    packed.resize(s.outputs * s.inputs * taps);
    for (Int o = 0; o < s.outputs; ++o) {
        for (Int c = 0; c < s.inputs; ++c) {
            for (Int t = 0; t < taps; ++t) {
                const Int to = turned ? (t * s.outputs + o) * s.inputs + c
                                      : (t * s.inputs + c) * s.outputs + o;
                packed[to] = weight[(o * s.inputs + c) * taps + t];
            }
        }
    }
}

template <int W>
EVOLUTE_INLINE void convolve(const Work& work) {
    const Shape& s = work.shape;
    const Int plane = s.height * s.width * s.examples, out_plane = s.rows * s.columns * s.examples;
    const Int taps_of_all = s.kernel_height * s.kernel_width;
    std::vector<float> packed;
    std::vector<Tap> taps;
    for (Int lane = 0; lane < s.lanes; ++lane) {
        const float* x = work.x + lane * s.input_stride;
        float* out = work.out + lane * s.outputs * out_plane;
        pack(s, work.weight + lane * s.outputs * s.inputs * taps_of_all, false, packed);
        for (Int pixel = 0; pixel < s.rows * s.columns; ++pixel) {
            const Int top = pixel / s.columns * s.stride_height - s.padding_height;
            const Int left = pixel % s.columns * s.stride_width - s.padding_width;
            taps.clear();
            for (Int t = 0; t < taps_of_all; ++t) {
                const Int y = top + t / s.kernel_width, column = left + t % s.kernel_width;
                if (y < 0 || y >= s.height || column < 0 || column >= s.width) continue;
                taps.push_back({(y * s.width + column) * s.examples, t * s.inputs * s.outputs});
            }
            sum_pixel<W>(taps, s.examples, s.inputs, x, plane, packed.data(), s.outputs,
                         out + pixel * s.examples, out_plane);
        }
    }
}

// out = gradient of x.
template <int W>
EVOLUTE_INLINE void input_gradient(const Work& work) {
    const Shape& s = work.shape;
    const Int plane = s.height * s.width * s.examples, out_plane = s.rows * s.columns * s.examples;
    const Int taps_of_all = s.kernel_height * s.kernel_width;
    std::vector<float> packed;
    std::vector<Tap> taps;
    for (Int lane = 0; lane < s.lanes; ++lane) {
        const float* gradient = work.gradient + lane * s.outputs * out_plane;
        float* out = work.out + lane * s.inputs * plane;
        pack(s, work.weight + lane * s.outputs * s.inputs * taps_of_all, true, packed);
        for (Int pixel = 0; pixel < s.height * s.width; ++pixel) {
            taps.clear();
            for (Int t = 0; t < taps_of_all; ++t) {
                const Int down = pixel / s.width + s.padding_height - t / s.kernel_width;
                const Int right = pixel % s.width + s.padding_width - t % s.kernel_width;
                if (down < 0 || right < 0) continue;
                if (down % s.stride_height || right % s.stride_width) continue;
                const Int y = down / s.stride_height, column = right / s.stride_width;
                if (y >= s.rows || column >= s.columns) continue;
                taps.push_back({(y * s.columns + column) * s.examples, t * s.inputs * s.outputs});
            }
            sum_pixel<W>(taps, s.examples, s.outputs, gradient, out_plane, packed.data(), s.inputs,
                         out + pixel * s.examples, plane);
        }
    }
}

EVOLUTE_DISPATCH(convolve, Work)
EVOLUTE_DISPATCH(input_gradient, Work)

// Batch normalisation and activation of `planes` rows of `size` numbers each; ctypes builds it.
struct Norm {
    Int activation, planes, size;
    double epsilon;
    const float* x;
    const float* gradient;  // of the result; null in the forward pass
    float* out;
    const float* scale;
    const float* offset;
    float* mean;
    float* variance;
    float* deviation;  // 1/√(variance + ε)
    float* scale_gradient;
    float* offset_gradient;
};

constexpr Int block = 64;  // vectors summed in float before the sum goes on in double

// Calls part(width, begin, end) on parts of a plane, `block` vectors each at most.
template <int W, class Part>
EVOLUTE_INLINE void over_blocks(Int size, const Part& part) {
    Int begin = 0;
    for (; begin + W <= size;) {
        const Int whole = begin + (size - begin) / W * W;
        const Int end = begin + block * W < whole ? begin + block * W : whole;
        part(std::integral_constant<int, W>{}, begin, end);
        begin = end;
    }
    if (begin < size) part(std::integral_constant<int, 1>{}, begin, size);
}

template <int W>
EVOLUTE_INLINE double total_in_double(typename Vector<W>::Floats x) {
    double sum = 0.0;
    for (int i = 0; i < W; ++i) sum += x[i];
    return sum;
}

template <int W, int A>
EVOLUTE_INLINE void normalise(const Norm& norm, Int p) {
    const float* x = norm.x + p * norm.size;
    float* out = norm.out + p * norm.size;
    const float base = x[0];  // moments of x − x₀: small numbers, so nothing cancels
    double first = 0.0, second = 0.0;
    over_blocks<W>(norm.size, [&](auto w, Int begin, Int end) __attribute__((always_inline)) {
        constexpr int K = decltype(w)::value;
        typename Vector<K>::Floats sum = {}, square = {};
        for (Int n = begin; n < end; n += K) {
            typename Vector<K>::Floats d = load<K>(x + n) - base;
            sum += d;
            square += d * d;
        }
        first += total_in_double<K>(sum);
        second += total_in_double<K>(square);
    });
    const double shifted = first / norm.size, spread = second / norm.size - shifted * shifted;
    const double kept = spread < 0.0 ? 0.0 : spread;  // not max(): NaN must stay
    norm.mean[p] = static_cast<float>(base + shifted);
    norm.variance[p] = static_cast<float>(kept);
    norm.deviation[p] = static_cast<float>(1.0 / std::sqrt(kept + norm.epsilon));
    const float a = norm.scale[p] * norm.deviation[p], b = norm.offset[p] - norm.mean[p] * a;
    over_blocks<W>(norm.size, [&](auto w, Int begin, Int end) __attribute__((always_inline)) {
        constexpr int K = decltype(w)::value;
        for (Int n = begin; n < end; n += K) {
            store<K>(out + n, activated<K, A>(load<K>(x + n) * a + b));
        }
    });
}

template <int W, int A>
EVOLUTE_INLINE void normalise_backward(const Norm& norm, Int p) {
    const float* x = norm.x + p * norm.size;
    const float* gradient = norm.gradient + p * norm.size;
    float* out = norm.out + p * norm.size;
    const float mean = norm.mean[p], a = norm.scale[p] * norm.deviation[p];
    const float b = norm.offset[p] - mean * a;
    double first = 0.0, second = 0.0;
    over_blocks<W>(norm.size, [&](auto w, Int begin, Int end) __attribute__((always_inline)) {
        constexpr int K = decltype(w)::value;
        typename Vector<K>::Floats sum = {}, product = {};
        for (Int n = begin; n < end; n += K) {
            typename Vector<K>::Floats value = load<K>(x + n);
            typename Vector<K>::Floats d = load<K>(gradient + n) * slope<K, A>(value * a + b);
            store<K>(out + n, d);
            sum += d;
            product += d * (value - mean);
        }
        first += total_in_double<K>(sum);
        second += total_in_double<K>(product);
    });
    norm.offset_gradient[p] = static_cast<float>(first);
    norm.scale_gradient[p] = static_cast<float>(second * norm.deviation[p]);
    const float shift = static_cast<float>(first / norm.size);
    const float turn =
        static_cast<float>(second / norm.size * norm.deviation[p] * norm.deviation[p]);
    over_blocks<W>(norm.size, [&](auto w, Int begin, Int end) __attribute__((always_inline)) {
        constexpr int K = decltype(w)::value;
        for (Int n = begin; n < end; n += K) {
            typename Vector<K>::Floats d = load<K>(out + n) - shift;
            store<K>(out + n, (d - (load<K>(x + n) - mean) * turn) * a);
        }
    });
}

template <int W, int A>
EVOLUTE_INLINE void both_ways(const Norm& norm) {
    for (Int p = 0; p < norm.planes; ++p) {
        if (norm.gradient == nullptr) {
            normalise<W, A>(norm, p);
        } else {
            normalise_backward<W, A>(norm, p);
        }
    }
}

template <int W>
EVOLUTE_INLINE void norm_planes(const Norm& norm) {
    switch (norm.activation) {
        case relu: return both_ways<W, relu>(norm);
        case silu: return both_ways<W, silu>(norm);
        default: return both_ways<W, none>(norm);
    }
}

EVOLUTE_DISPATCH(norm_planes, Norm)

}  // namespace

EVOLUTE_EXPORT void evolute_convolve(const Shape* shape, const float* x, const float* weight,
                                     float* out) {
    convolve_any({*shape, x, weight, nullptr, out});
}

EVOLUTE_EXPORT void evolute_convolve_input_gradient(const Shape* shape, const float* gradient,
                                                    const float* weight, float* out) {
    input_gradient_any({*shape, nullptr, weight, gradient, out});
}

EVOLUTE_EXPORT void evolute_norm_planes(const Norm* norm) { norm_planes_any(*norm); }
