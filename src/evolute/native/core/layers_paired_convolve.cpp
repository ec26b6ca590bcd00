// Convolutions of paired images (layers_paired.h), compiled once with AVX512_BF16 and once without.
//
// Forward, and for the gradient of the input, 12 channels of the 32 examples of a block are summed in
// registers over all taps and pairs of channels. For the gradient of the weight the same words are
// sorted anew, row by row: pairs of examples of one channel, so that a sum runs over the examples.

#include "layers_paired_vector.h"

namespace {

using paired::Convolution;
using paired::Shape;
using paired::block;
using paired::pairs_of;
using paired::vector;

// A pixel that a pixel is summed from, and the weights of its tap; in words.
struct Tap {
    Int source, weight;
};

struct Taps {
    Int count;
    Tap* taps;
};

// Calls part(channels at once, first channel) until `channels`, an even number, are done.
template <class Part>
EVOLUTE_INLINE void over_outputs(Int channels, const Part& part) {
    Int c = 0;
    for (; c + 12 <= channels; c += 12) part(std::integral_constant<int, 12>{}, c);
    if (c + 6 <= channels) { part(std::integral_constant<int, 6>{}, c); c += 6; }
    if (c + 4 <= channels) { part(std::integral_constant<int, 4>{}, c); c += 4; }
    if (c < channels) part(std::integral_constant<int, 2>{}, c);
}

Word half_bits(float x) {
    Word bits;
    std::memcpy(&bits, &x, sizeof bits);
    if (x != x) return 0x7fc0u;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

// What sums of `to` channels over `from` channels need of the weight: [part][tap][pair][channel].
struct Panels {
    Int from, to, taps;
    Int from_step, to_step;  // in the weight
};

void pack(const Panels& p, const float* weight, Word* out) {
    over_outputs(2 * pairs_of(p.to), [&](auto j, Int first) {
        constexpr Int J = decltype(j)::value;
        for (Int tap = 0; tap < p.taps; ++tap) {
            for (Int pair = 0; pair < pairs_of(p.from); ++pair) {
                for (Int c = first; c < first + J; ++c) {
                    const float* at = weight + 2 * pair * p.from_step + c * p.to_step + tap;
                    const bool known = c < p.to;
                    const Word even = known ? half_bits(at[0]) : 0;
                    const Word odd =
                        known && 2 * pair + 1 < p.from ? half_bits(at[p.from_step]) : 0;
                    *out++ = even | odd << 16;
                }
            }
        }
    });
}

// One pixel of J channels: the sum over taps and pairs.
template <int J>
EVOLUTE_INLINE void sum_pixel(const Taps& taps, Int pairs, const Word* source, const Word* weight,
                              const float* bias, Int channels, const Live& live, Word* to) {
    Floats sums[J][2];
    for (int j = 0; j < J; ++j) {
        sums[j][0] = sums[j][1] =
            Floats{} + (bias != nullptr && j < channels ? bias[j] : 0.0f);
    }
    for (Int t = 0; t < taps.count; ++t) {
        const Word* from = source + taps.taps[t].source;
        const Word* by = weight + taps.taps[t].weight * J;
        for (Int pair = 0; pair < pairs; ++pair, from += block, by += J) {
            const Bits x[2] = {words_at(from), words_at(from + vector)};
            for (int j = 0; j < J; ++j) {
                const Bits factor = Bits{} + by[j];
                for (int v = 0; v < 2; ++v) sums[j][v] = dot(sums[j][v], x[v], factor);
            }
        }
    }
    for (int j = 0; j < J; j += 2) {
        for (int v = 0; v < 2; ++v) {
            // A channel that only fills up the pair stays 0 where 0·∞ would be NaN.
            const Floats odd = j + 1 < channels ? sums[j + 1][v] : Floats{};
            put(to + j / 2 * block + v * vector, joined_pair(sums[j][v], odd) & live.mask[v]);
        }
    }
}

// The rows and columns of the images that are summed, and the channels on either side.
struct Plane {
    Int rows, columns, channels;
    Int from_channels;
    Int from_words;  // of one block of examples
};

// Sums every pixel; find(row, column, taps) fills in what it is summed from.
template <class Find>
EVOLUTE_INLINE void sum_all(const Convolution& work, const Plane& plane, const Word* source,
                            const Word* panels, Word* scratch, const Find& find) {
    const Shape& s = work.shape;
    const Int taps = s.kernel_height * s.kernel_width, pairs = pairs_of(plane.from_channels);
    const Int step = pairs_of(plane.channels) * block;  // words of a pixel
    Taps* found = reinterpret_cast<Taps*>(scratch);
    Tap* space = reinterpret_cast<Tap*>(found + plane.columns);
    for (Int number = 0; number < s.blocks; ++number) {
        const Live mask = live(s.examples, number);
        const Word* from = source + number * plane.from_words;
        for (Int row = 0; row < plane.rows; ++row) {
            for (Int column = 0; column < plane.columns; ++column) {
                found[column] = {0, space + column * taps};
                find(row, column, found[column]);
            }
            Word* to = work.out + (number * plane.rows + row) * plane.columns * step;
            over_outputs(step / vector, [&](auto j, Int c) __attribute__((always_inline)) {
                const float* bias = work.bias == nullptr ? nullptr : work.bias + c;
                for (Int column = 0; column < plane.columns; ++column) {
                    sum_pixel<decltype(j)::value>(
                        found[column], pairs, from, panels + c * taps * pairs, bias,
                        plane.channels - c, mask, to + column * step + c / 2 * block);
                }
            });
        }
    }
}

void convolve(const Convolution& work) {
    const Shape& s = work.shape;
    const Int taps = s.kernel_height * s.kernel_width, pairs = pairs_of(s.inputs);
    Word* panels = work.scratch;
    pack({s.inputs, s.outputs, taps, taps, s.inputs * taps}, work.weight, panels);
    const Plane plane = {s.rows, s.columns, s.outputs, s.inputs,
                         s.height * s.width * pairs * block};
    sum_all(work, plane, work.x, panels, panels + 2 * pairs_of(s.outputs) * pairs * taps,
            [&](Int row, Int column, Taps& found) {
                for (Int t = 0; t < taps; ++t) {
                    const Int y = row * s.stride_height - s.padding_height + t / s.kernel_width;
                    const Int x = column * s.stride_width - s.padding_width + t % s.kernel_width;
                    if (y < 0 || y >= s.height || x < 0 || x >= s.width) continue;
                    found.taps[found.count++] = {(y * s.width + x) * pairs * block, t * pairs};
                }
            });
}

void input_gradient(const Convolution& work) {
    const Shape& s = work.shape;
    const Int taps = s.kernel_height * s.kernel_width, pairs = pairs_of(s.outputs);
    Word* panels = work.scratch;
    pack({s.outputs, s.inputs, taps, s.inputs * taps, taps}, work.weight, panels);
    const Plane plane = {s.height, s.width, s.inputs, s.outputs,
                         s.rows * s.columns * pairs * block};
    sum_all(work, plane, work.gradient, panels, panels + 2 * pairs_of(s.inputs) * pairs * taps,
            [&](Int row, Int column, Taps& found) {
                for (Int t = 0; t < taps; ++t) {
                    const Int down = row + s.padding_height - t / s.kernel_width;
                    const Int right = column + s.padding_width - t % s.kernel_width;
                    if (down < 0 || right < 0) continue;
                    if (down % s.stride_height || right % s.stride_width) continue;
                    const Int y = down / s.stride_height, x = right / s.stride_width;
                    if (y >= s.rows || x >= s.columns) continue;
                    found.taps[found.count++] = {(y * s.columns + x) * pairs * block, t * pairs};
                }
            });
}

// Two channels of a block: word i of the first result holds examples i and 16 + i of the even one.
EVOLUTE_INLINE void by_examples(const Word* from, Bits& even, Bits& odd) {
    const Bits a = words_at(from), b = words_at(from + vector);
    even = (a & 0xffffu) | (b << 16);
    odd = (a >> 16) | (b & 0xffff0000u);
}

// A row of images as [pixel][channel][pair of examples].
void sort_row(const Word* from, Int pixels, Int channels, Word* to) {
    for (Int pixel = 0; pixel < pixels; ++pixel) {
        for (Int c = 0; c < channels; c += 2, from += block) {
            Bits even, odd;
            by_examples(from, even, odd);
            put(to, even);
            to += vector;
            if (c + 1 == channels) continue;
            put(to, odd);
            to += vector;
        }
    }
}

// Calls part(vectors of channels at once, first of them).
template <class Part>
EVOLUTE_INLINE void over_vectors(Int vectors, const Part& part) {
    Int first = 0;
    for (; first + 3 <= vectors; first += 3) part(std::integral_constant<int, 3>{}, first);
    if (first + 2 <= vectors) { part(std::integral_constant<int, 2>{}, first); first += 2; }
    if (first < vectors) part(std::integral_constant<int, 1>{}, first);
}

// A row of gradients as [part][pixel][pair of examples][channel], the channels of a part together.
void turn_row(const Word* from, Int pixels, Int channels, Word* to) {
    const Int pairs = pairs_of(channels);
    over_vectors((channels + vector - 1) / vector, [&](auto v, Int first) {
        constexpr Int V = decltype(v)::value;
        for (Int pixel = 0; pixel < pixels; ++pixel, to += V * vector * vector) {
            for (Int part = 0; part < V; ++part) {
                Bits rows[16];
                for (Int i = 0; i < 8; ++i) {
                    const Int pair = (first + part) * 8 + i;
                    rows[2 * i] = rows[2 * i + 1] = Bits{};
                    if (pair >= pairs) continue;
                    by_examples(from + (pixel * pairs + pair) * block, rows[2 * i],
                                rows[2 * i + 1]);
                }
                turn(rows);
                for (Int k = 0; k < vector; ++k) put(to + (k * V + part) * vector, rows[k]);
            }
        }
    });
}

// to[i][v…] += Σ over pixels and pairs of examples of x[i]·gradient[v…].
template <int I, int V>
EVOLUTE_INLINE void correlate(Int pixels, const Word* x, Int x_step, const Word* gradient,
                              float* to, Int to_step) {
    Floats sums[I][V];
    for (int i = 0; i < I; ++i) {
        for (int v = 0; v < V; ++v) sums[i][v] = load<16>(to + i * to_step + v * vector);
    }
    for (Int pixel = 0; pixel < pixels; ++pixel, x += x_step) {
        for (Int k = 0; k < vector; ++k, gradient += V * vector) {
            Bits by[V];
            for (int v = 0; v < V; ++v) by[v] = words_at(gradient + v * vector);
            for (int i = 0; i < I; ++i) {
                const Bits factor = Bits{} + x[i * vector + k];
                for (int v = 0; v < V; ++v) sums[i][v] = dot(sums[i][v], by[v], factor);
            }
        }
    }
    for (int i = 0; i < I; ++i) {
        for (int v = 0; v < V; ++v) store<16>(to + i * to_step + v * vector, sums[i][v]);
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
template <class Part>
EVOLUTE_INLINE void over_inputs(Int channels, const Part& part) {
    Int c = 0;
    for (; c + 8 <= channels; c += 8) part(std::integral_constant<int, 8>{}, c);
    if (c + 4 <= channels) { part(std::integral_constant<int, 4>{}, c); c += 4; }
    switch (channels - c) {
        case 3: return part(std::integral_constant<int, 3>{}, c);
        case 2: return part(std::integral_constant<int, 2>{}, c);
        case 1: return part(std::integral_constant<int, 1>{}, c);
    }
}

// Adds what one row of gradients and the row of images under it give at one row of taps.
void add_row(const Shape& s, const Word* x, const Word* gradient, float* sums) {
    const Int vectors = (s.outputs + vector - 1) / vector, step = vectors * vector;
    over_vectors(vectors, [&](auto v, Int first) __attribute__((always_inline)) {
        constexpr int V = decltype(v)::value;
        const Word* by = gradient + first * s.columns * vector * vector;
        for (Int tap = 0; tap < s.kernel_width; ++tap) {
            const Range range = inside(tap, s.padding_width, s.stride_width, s.width, s.columns);
            const Int column = range.begin * s.stride_width + tap - s.padding_width;
            const Word* from = x + column * s.inputs * vector;
            const Word* there = by + range.begin * V * vector * vector;
            float* to = sums + tap * s.inputs * step + first * vector;
            const Int count = range.end - range.begin, x_step = s.stride_width * s.inputs * vector;
            if (count == 0) continue;
            over_inputs(s.inputs, [&](auto i, Int c) __attribute__((always_inline)) {
                correlate<decltype(i)::value, V>(count, from + c * vector, x_step, there,
                                                 to + c * step, step);
            });
        }
    });
}

void weight_gradient(const Convolution& work) {
    const Shape& s = work.shape;
    const Int pairs = pairs_of(s.inputs), out_pairs = pairs_of(s.outputs);
    const Int step = (s.outputs + vector - 1) / vector * vector;
    const Int taps = s.kernel_height * s.kernel_width;
    const Int row_words = s.width * s.inputs * vector;
    float* sums = reinterpret_cast<float*>(work.scratch);  // [tap][input][output]
    Word* turned = work.scratch + taps * s.inputs * step;
    Word* sorted = turned + s.columns * step * vector;  // as many rows as a kernel is high
    for (Int i = 0; i < taps * s.inputs * step; ++i) sums[i] = 0.0f;
    for (Int number = 0; number < s.blocks; ++number) {
        Int next = 0;  // the first row of this block not yet sorted
        for (Int row = 0; row < s.rows; ++row) {
            const Word* from =
                work.gradient + (number * s.rows + row) * s.columns * out_pairs * block;
            turn_row(from, s.columns, s.outputs, turned);
            for (Int tap = 0; tap < s.kernel_height; ++tap) {
                const Int y = row * s.stride_height + tap - s.padding_height;
                if (y < 0 || y >= s.height) continue;
                Word* own = sorted + y % s.kernel_height * row_words;
                if (y >= next) {
                    sort_row(work.x + (number * s.height + y) * s.width * pairs * block, s.width,
                             s.inputs, own);
                    next = y + 1;
                }
                add_row(s, own, turned, sums + tap * s.kernel_width * s.inputs * step);
            }
        }
    }
    float* out = work.weight_gradient;
    for (Int o = 0; o < s.outputs; ++o) {
        for (Int c = 0; c < s.inputs; ++c) {
            for (Int t = 0; t < taps; ++t) *out++ = sums[(t * s.inputs + c) * step + o];
        }
    }
}

}  // namespace

const paired::Convolutions paired::EVOLUTE_PAIRED_NAME(convolutions) = {convolve, input_gradient,
                                                                     weight_gradient};
