// The gradient of a convolution's weight, of images with the examples last in memory.
//
// Some examples of a row of the gradient are turned to [example][channel]; then a sum over pixels and
// examples is one of rows of channels, each times one number of the input. One lane follows the other,
// each by the same instructions on its own numbers, so its bits depend on no company; products and
// sums contract.

#include "layers_convolve.h"
#include "layers_dispatch.h"

namespace {

// Examples at a time: as many as fit into the second cache when turned, so that of large images of few
// channels whole pixels are read one after the other.
EVOLUTE_INLINE Int together(const Shape& s, Int step) {
    const Int fitting = (1 << 15) / (s.columns * step) / 32 * 32;
    return fitting < 32 ? 32 : fitting < s.examples ? fitting : s.examples;
}

#if defined(__clang__)
#define EVOLUTE_PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define EVOLUTE_PICK(a, b, ...) __builtin_shuffle(a, b, Ints{__VA_ARGS__})
#endif

// Exchanges rows and columns of a square of vectors, halves of halves at a time.
template <int W, int Step, std::size_t... Place>
EVOLUTE_INLINE void turn_halves(typename Vector<W>::Floats* rows, std::index_sequence<Place...>) {
    typedef typename Vector<W>::Ints Ints;
    (void)sizeof(Ints);
    for (int i = 0; i < W; ++i) {
        if (i & Step) continue;
        const auto a = rows[i], b = rows[i + Step];
        rows[i] = EVOLUTE_PICK(a, b, (Place & Step ? W + int(Place) - Step : int(Place))...);
        rows[i + Step] = EVOLUTE_PICK(a, b, (Place & Step ? W + int(Place) : int(Place) + Step)...);
    }
}

template <int W>
EVOLUTE_INLINE void turn(typename Vector<W>::Floats* rows) {
    typedef std::make_index_sequence<W> Places;
    turn_halves<W, 1>(rows, Places{});
    if constexpr (W > 2) turn_halves<W, 2>(rows, Places{});
    if constexpr (W > 4) turn_halves<W, 4>(rows, Places{});
    if constexpr (W > 8) turn_halves<W, 8>(rows, Places{});
}

// Calls part(width of vectors, how many at once, first channel); what is left over takes narrow ones.
template <int W, class Part>
EVOLUTE_INLINE void over_vectors(Int channels, const Part& part) {
    constexpr int most = W > 8 ? 3 : 2;
    constexpr std::integral_constant<int, W> wide{};
    Int c = 0;
    for (; c + most * W <= channels; c += most * W) {
        part(wide, std::integral_constant<int, most>{}, c);
    }
    if (most > 2 && c + 2 * W <= channels) {
        part(wide, std::integral_constant<int, 2>{}, c);
        c += 2 * W;
    }
    if (c + W <= channels) {
        part(wide, std::integral_constant<int, 1>{}, c);
        c += W;
    }
    if (c == channels) return;
    if constexpr (W > 4) {
        if (c + W / 2 >= channels) {
            return part(std::integral_constant<int, W / 2>{}, std::integral_constant<int, 1>{}, c);
        }
    }
    part(wide, std::integral_constant<int, 1>{}, c);
}

// One row of images: [pixel][channel][example], from the first example on that is wanted.
struct Row {
    const float* numbers;
    Int pixels, channels, step;  // numbers from a channel to the next
};

// Some examples of a row, as [part][pixel][example][channel], the channels of a part together.
template <int W>
EVOLUTE_INLINE void turn_row(const Row& row, Int examples, float* to) {
    over_vectors<W>(row.channels, [&](auto w, auto v, Int first) __attribute__((always_inline)) {
        constexpr int K = decltype(w)::value, V = decltype(v)::value;
        for (Int pixel = 0; pixel < row.pixels; ++pixel, to += V * K * examples) {
            const float* from = row.numbers + (pixel * row.channels + first) * row.step;
            for (Int part = 0; part < V; ++part, from += K * row.step) {
                const Int known = row.channels - first - part * K;
                Int n = 0;
                for (; n + K <= examples; n += K) {
                    typename Vector<K>::Floats rows[K];
                    for (int i = 0; i < K; ++i) {
                        rows[i] = i < known ? load<K>(from + i * row.step + n)
                                            : typename Vector<K>::Floats{};
                    }
                    turn<K>(rows);
                    for (int k = 0; k < K; ++k) store<K>(to + ((n + k) * V + part) * K, rows[k]);
                }
                for (; n < examples; ++n) {
                    for (int i = 0; i < K; ++i) {
                        to[(n * V + part) * K + i] = i < known ? from[i * row.step + n] : 0.0f;
                    }
                }
            }
        }
    });
}

// Pixels of the input from which pixels of the gradient are summed.
struct Pixels {
    Int count, examples;
    Int x_pixel, x_channel;  // numbers from one to the next
};

// to[i][v…] += Σ over pixels and examples of x[i]·gradient[v…].
template <int W, int V, int I>
EVOLUTE_INLINE void correlate(const Pixels& pixels, const float* x, const float* gradient, float* to,
                              Int step) {
    typedef typename Vector<W>::Floats Floats;
    Floats sums[I][V] = {};
    for (Int pixel = 0; pixel < pixels.count; ++pixel, x += pixels.x_pixel) {
        const float* from[(I + 2) / 3];  // one of three channels, which one register reaches then
        for (int i = 0; i < I; i += 3) from[i / 3] = x + i * pixels.x_channel;
        for (Int n = 0; n < pixels.examples; ++n, gradient += V * W) {
            Int next = pixels.x_channel;
            __asm__("" : "+r"(next));  // or each of its multiples takes a register, and most are full
            Floats by[V];
            for (int v = 0; v < V; ++v) by[v] = load<W>(gradient + v * W);
            for (int i = 0; i < I; ++i) {
                const float number = from[i / 3][i % 3 * next];
                for (int v = 0; v < V; ++v) sums[i][v] += by[v] * number;
            }
            for (int i = 0; i < I; i += 3) ++from[i / 3];
        }
    }
    for (int i = 0; i < I; ++i) {
        for (int v = 0; v < V; ++v) {
            float* sum = to + i * step + v * W;
            store<W>(sum, load<W>(sum) + sums[i][v]);
        }
    }
}

// First and past-the-last output place whose input place, at this tap, lies in the image.
struct Range {
    Int begin, end;
};

Range inside(Int tap, Int padding, Int stride, Int size, Int places) {
    Range range = {0, places};
    while (range.begin < places && range.begin * stride + tap < padding) ++range.begin;
    while (range.end > range.begin && (range.end - 1) * stride + tap - padding >= size) --range.end;
    return range;
}

// Calls part(channels at once, first channel).
template <int W, int V, class Part>
EVOLUTE_INLINE void over_inputs(Int channels, const Part& part) {
    constexpr int most = W > 8 ? (V > 2 ? 8 : 12) : V > 1 ? 4 : 9;
    Int c = 0;
    if (most > 4 && channels == 9) return part(std::integral_constant<int, 9>{}, c);
    for (; c + most <= channels; c += most) part(std::integral_constant<int, most>{}, c);
    if (most > 8 && c + 8 <= channels) { part(std::integral_constant<int, 8>{}, c); c += 8; }
    if (c + 4 <= channels) { part(std::integral_constant<int, 4>{}, c); c += 4; }
    switch (channels - c) {
        case 3: return part(std::integral_constant<int, 3>{}, c);
        case 2: return part(std::integral_constant<int, 2>{}, c);
        case 1: return part(std::integral_constant<int, 1>{}, c);
    }
}

// Columns of the gradient, and the taps of a row that go over all of them.
struct Stretch {
    Int begin, end;
    Int first_tap, taps;
};

// The columns that all taps share are taken with all taps at once, whose channels stand side by side.
std::vector<Stretch> stretches(const Shape& s) {
    std::vector<Range> ranges;
    Range common = {0, s.columns};
    for (Int tap = 0; tap < s.kernel_width; ++tap) {
        const Range own = inside(tap, s.padding_width, s.stride_width, s.width, s.columns);
        if (own.begin > common.begin) common.begin = own.begin;
        if (own.end < common.end) common.end = own.end;
        ranges.push_back(own);
    }
    std::vector<Stretch> found;
    if (common.begin < common.end) found.push_back({common.begin, common.end, 0, s.kernel_width});
    const bool none = common.begin >= common.end;
    for (Int tap = 0; tap < s.kernel_width; ++tap) {
        const Range own = ranges[tap];
        const Int middle = none ? own.end : common.begin;
        if (own.begin < middle) found.push_back({own.begin, middle, tap, 1});
        if (!none && common.end < own.end) found.push_back({common.end, own.end, tap, 1});
    }
    return found;
}

// Adds what one row of gradients and the row of images under it give at one row of taps.
template <int W>
EVOLUTE_INLINE void add_row(const Shape& s, const std::vector<Stretch>& stretches, Int examples,
                            const float* x, const float* gradient, float* sums, Int step) {
    const Int size = s.inputs * s.examples;
    over_vectors<W>(s.outputs, [&](auto w, auto v, Int first) __attribute__((always_inline)) {
        constexpr int K = decltype(w)::value, V = decltype(v)::value;
        const float* by = gradient + first * s.columns * examples;
        for (const Stretch& each : stretches) {
            const Int column = each.begin * s.stride_width + each.first_tap - s.padding_width;
            const Pixels pixels = {each.end - each.begin, examples, s.stride_width * size,
                                   s.examples};
            const float* from = x + column * size;
            float* to = sums + each.first_tap * s.inputs * step + first;
            const float* there = by + each.begin * V * K * examples;
            over_inputs<K, V>(each.taps * s.inputs, [&](auto i, Int c)
                                                        __attribute__((always_inline)) {
                correlate<K, V, decltype(i)::value>(pixels, from + c * s.examples, there,
                                                    to + c * step, step);
            });
        }
    });
}

template <int W>
EVOLUTE_INLINE void weight_gradient(const Work& work) {
    const Shape& s = work.shape;
    const Int taps = s.kernel_height * s.kernel_width, step = (s.outputs + W - 1) / W * W;
    const Int size = s.outputs * s.inputs * taps, out_row = s.columns * s.outputs * s.examples;
    const std::vector<Stretch> found = stretches(s);
    const Int few = together(s, step);
    const Room sums(taps * s.inputs * step), turned(s.columns * step * few);
    for (Int lane = 0; lane < s.lanes; ++lane) {
        std::memset(sums.get(), 0, taps * s.inputs * step * sizeof(float));
        for (Int n = 0; n < s.examples; n += few) {
            const Int examples = n + few <= s.examples ? few : s.examples - n;
            for (Int row = 0; row < s.rows; ++row) {
                const float* gradient = work.gradient + (lane * s.rows + row) * out_row + n;
                turn_row<W>({gradient, s.columns, s.outputs, s.examples}, examples, turned.get());
                for (Int tap = 0; tap < s.kernel_height; ++tap) {
                    const Int y = row * s.stride_height + tap - s.padding_height;
                    if (y < 0 || y >= s.height) continue;
                    const float* x = work.x + lane * s.input_stride +
                                     y * s.width * s.inputs * s.examples + n;
                    add_row<W>(s, found, examples, x, turned.get(),
                               sums.get() + tap * s.kernel_width * s.inputs * step, step);
                }
            }
        }
        float* out = work.out + lane * size;
        for (Int o = 0; o < s.outputs; ++o) {
            for (Int c = 0; c < s.inputs; ++c) {
                for (Int t = 0; t < taps; ++t) {
                    *out++ = sums.get()[(t * s.inputs + c) * step + o];
                }
            }
        }
    }
}

EVOLUTE_DISPATCH(weight_gradient, Work)

}  // namespace

EVOLUTE_EXPORT void evolute_convolve_weight_gradient(const Shape* shape, const float* x,
                                                     const float* gradient, float* out) {
    weight_gradient_any({*shape, x, nullptr, gradient, out});
}
