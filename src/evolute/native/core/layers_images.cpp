// Layers on small images with the examples last in memory: x[lane][channel][row][column][example].
//
// Then every vector is full however few the channels, and no pixel needs a copy: a convolution is a
// sum over its taps of whole rows of examples. One lane follows the other, each by the same
// instructions on its own numbers, so its bits depend on no company; products and sums contract.
//
// Source of the gradients of the normalisation: Ioffe and Szegedy, Batch Normalization (2015).

#include "layers_dispatch.h"
#include "layers_vector.h"

namespace {

typedef std::int64_t Int;

// Shape of a convolution; ctypes builds it (lanes/images.py).
struct Shape {
    Int lanes, examples;
    Int inputs, height, width;
    Int outputs, rows, columns;
    Int kernel_height, kernel_width;
    Int stride_height, stride_width;
    Int padding_height, padding_width;
    Int input_stride;  // numbers from one lane's input to the next; 0 where they share it
};

struct Work {
    const Shape& shape;
    const float* x;
    const float* weight;
    const float* gradient;  // of the output
    float* out;
};

// One row of examples that a pixel is summed from.
struct Tap {
    Int source, weight;
};

// Calls part(width of a vector, its number, example) over the examples, whole vectors first.
template <int W, class Part>
EVOLUTE_INLINE void over_examples(Int examples, const Part& part) {
    Int n = 0;
    for (; n + 2 * W <= examples; n += 2 * W) {
        part(std::integral_constant<int, W>{}, std::integral_constant<int, 2>{}, n);
    }
    for (; n + W <= examples; n += W) {
        part(std::integral_constant<int, W>{}, std::integral_constant<int, 1>{}, n);
    }
    for (; n + 4 <= examples; n += 4) {
        part(std::integral_constant<int, 4>{}, std::integral_constant<int, 1>{}, n);
    }
    for (; n < examples; ++n) {
        part(std::integral_constant<int, 1>{}, std::integral_constant<int, 1>{}, n);
    }
}

// Calls part(size of a block, first channel), blocks of Most first.
template <int Most, class Part>
EVOLUTE_INLINE void over_channels(Int channels, const Part& part) {
    Int c = 0;
    for (; c + Most <= channels; c += Most) part(std::integral_constant<int, Most>{}, c);
    if (Most > 4 && c + 4 <= channels) { part(std::integral_constant<int, 4>{}, c); c += 4; }
    if (Most > 2 && c + 2 <= channels) { part(std::integral_constant<int, 2>{}, c); c += 2; }
    if (c < channels) {
        part(std::integral_constant<int, 1>{}, c++);
        if (c < channels) part(std::integral_constant<int, 1>{}, c);
    }
}

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
    over_examples<W>(examples, [&](auto w, auto v, Int n) __attribute__((always_inline)) {
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

// First and past-the-last output place whose input place, at this tap, lies in the image.
struct Range {
    Int begin, end;
};

EVOLUTE_INLINE Range inside(Int tap, Int padding, Int stride, Int size, Int places) {
    Range range = {0, places};
    while (range.begin < places && range.begin * stride + tap < padding) ++range.begin;
    while (range.end > range.begin && (range.end - 1) * stride + tap - padding >= size) --range.end;
    return range;
}

// to[i·step + j] += Σ over pixels and examples of x[i]·gradient[j] at one tap.
template <int W, int V, int I, int J>
EVOLUTE_INLINE void correlate(const Shape& s, Range down, Range right, const float* x, Int plane,
                              const float* gradient, Int out_plane, float* to, Int step) {
    typedef typename Vector<W>::Floats Floats;
    Floats sums[I][J] = {};
    for (Int y = down.begin; y < down.end; ++y) {
        const float* from = x + y * s.stride_height * s.width * s.examples;
        const float* by = gradient + y * s.columns * s.examples;
        for (Int column = right.begin; column < right.end; ++column) {
            const float* here = from + column * s.stride_width * s.examples;
            const float* there = by + column * s.examples;
            for (int v = 0; v < V; ++v) {
                Floats left[I];
                for (int i = 0; i < I; ++i) left[i] = load<W>(here + i * plane + v * W);
                for (int j = 0; j < J; ++j) {
                    Floats factor = load<W>(there + j * out_plane + v * W);
                    for (int i = 0; i < I; ++i) sums[i][j] += left[i] * factor;
                }
            }
        }
    }
    for (int i = 0; i < I; ++i) {
        for (int j = 0; j < J; ++j) {
            float* sum = to + (i * step + j) * 16;
            store<W>(sum, load<W>(sum) + sums[i][j]);
        }
    }
}

// out = gradient of the weight, [outputs, inputs, taps].
template <int W>
EVOLUTE_INLINE void weight_gradient(const Work& work) {
    const Shape& s = work.shape;
    const Int plane = s.height * s.width * s.examples, out_plane = s.rows * s.columns * s.examples;
    const Int taps = s.kernel_height * s.kernel_width, size = s.outputs * s.inputs * taps;
    std::vector<float> sums;
    for (Int lane = 0; lane < s.lanes; ++lane) {
        const float* x = work.x + lane * s.input_stride;
        const float* gradient = work.gradient + lane * s.outputs * out_plane;
        sums.assign(size * 16, 0.0f);
        // A few examples of all pixels at a time: they stay in the cache over all taps.
        over_examples<W>(s.examples, [&](auto w, auto v, Int n) __attribute__((always_inline)) {
            for (Int t = 0; t < taps; ++t) {
                const Int ky = t / s.kernel_width, kx = t % s.kernel_width;
                const Range down = inside(ky, s.padding_height, s.stride_height, s.height, s.rows);
                const Range right =
                    inside(kx, s.padding_width, s.stride_width, s.width, s.columns);
                const Int corner =
                    ((ky - s.padding_height) * s.width + kx - s.padding_width) * s.examples + n;
                over_channels<2>(s.inputs, [&](auto i, Int c) __attribute__((always_inline)) {
                    over_channels<(W > 8 ? 8 : 4)>(
                        s.outputs, [&](auto j, Int o) __attribute__((always_inline)) {
                            correlate<decltype(w)::value, decltype(v)::value, decltype(i)::value,
                                      decltype(j)::value>(
                                s, down, right, x + c * plane + corner, plane,
                                gradient + o * out_plane + n, out_plane,
                                &sums[((t * s.inputs + c) * s.outputs + o) * 16], s.outputs);
                        });
                });
            }
        });
        float* out = work.out + lane * size;
        for (Int o = 0; o < s.outputs; ++o) {
            for (Int c = 0; c < s.inputs; ++c) {
                for (Int t = 0; t < taps; ++t) {
                    const float* parts = &sums[((t * s.inputs + c) * s.outputs + o) * 16];
                    float sum = 0.0f;
                    for (int k = 0; k < 16; ++k) sum += parts[k];
                    out[(o * s.inputs + c) * taps + t] = sum;
                }
            }
        }
    }
}

EVOLUTE_DISPATCH(convolve, Work)
EVOLUTE_DISPATCH(input_gradient, Work)
EVOLUTE_DISPATCH(weight_gradient, Work)

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

EVOLUTE_EXPORT void evolute_convolve_weight_gradient(const Shape* shape, const float* x,
                                                     const float* gradient, float* out) {
    weight_gradient_any({*shape, x, nullptr, gradient, out});
}

EVOLUTE_EXPORT void evolute_norm_planes(const Norm* norm) { norm_planes_any(*norm); }
