// The gradient of a convolution's weight, of images with the examples last in memory.
//
// Some rows of the gradient stay in the first cache while all taps go over them. Rows of large
// images are copied side by side first: in the tensor they stand a power of two apart and push each
// other out of the cache. One lane follows the other, each by the same instructions on its own
// numbers, so its bits depend on no company; products and sums contract.

#include <memory>

#include "layers_convolve.h"
#include "layers_dispatch.h"

namespace {

// Memory without values yet, aligned to a line of the cache: a vector across two lines costs twice.
class Room {
  public:
    explicit Room(Int size) : memory_(new float[size + 16]) {}
    float* get() const {
        const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(memory_.get());
        return reinterpret_cast<float*>((address + 63) & ~static_cast<std::uintptr_t>(63));
    }

  private:
    std::unique_ptr<float[]> memory_;
};

// Images of one lane, [channels][height][width][examples].
struct Images {
    const float* numbers;
    Int channels, height, width, examples;
};

constexpr Int few = 1 << 17;  // numbers of an image that stay in the second cache: nothing to copy

// The rows of some examples that are in use: as they are where the image is small, or copies. Then
// row y stands at place y modulo the number kept, [channels][width][W·V].
template <int W, int V>
class Rows {
  public:
    Rows(const Images& images, Int first, Int kept, float* room)
        : from_(images.numbers + first),
          plane_(images.height * images.width * images.examples),
          channels_(images.channels),
          width_(images.width),
          examples_(images.examples),
          copied_(images.channels * plane_ > few),
          size_(copied_ ? width_ * channels_ * W * V : width_ * examples_),
          pixel_(copied_ ? W * V : examples_),
          channel_(copied_ ? width_ * W * V : plane_),
          room_(room),
          held_(kept, -1) {}

    // Returns where the row begins; it must be among the last that were asked for, as many as are
    // kept.
    __attribute__((always_inline)) Int at(Int y) {
        if (!copied_) return y * size_;
        const Int place = y % static_cast<Int>(held_.size());
        if (held_[place] != y) copy(y, room_ + place * size_);
        held_[place] = y;
        return place * size_;
    }

    Int pixel() const { return pixel_; }
    Int channel() const { return channel_; }
    const float* numbers() const { return copied_ ? room_ : from_; }

  private:
    __attribute__((always_inline)) void copy(Int y, float* to) const {
        for (Int c = 0; c < channels_; ++c) {
            for (Int x = 0; x < width_; ++x) {
                const float* here = from_ + c * plane_ + (y * width_ + x) * examples_;
                float* there = to + c * channel_ + x * pixel_;
                for (int v = 0; v < V; ++v) store<W>(there + v * W, load<W>(here + v * W));
            }
        }
    }

    const float* const from_;
    const Int plane_, channels_, width_, examples_;
    const bool copied_;
    const Int size_, pixel_, channel_;
    float* const room_;
    std::vector<Int> held_;
};

// First and past-the-last output place whose input place, at this tap, lies in the image.
struct Range {
    Int begin, end;
};

EVOLUTE_INLINE Range inside(Int tap, Int padding, Int stride, Int size, Range places) {
    Range range = places;
    while (range.begin < range.end && range.begin * stride + tap < padding) ++range.begin;
    while (range.end > range.begin && (range.end - 1) * stride + tap - padding >= size) --range.end;
    return range;
}

// Where a row of pixels begins among the copies, of the input and of the gradient.
struct Pair {
    Int x, gradient;
};

// Some rows of images that are summed over, by pixels that lie so far apart.
struct Side {
    const float* numbers;
    Int pixel, channel;
};

// to[i·step + j] += Σ over pixels and examples of x[i]·gradient[j] at one tap.
template <int W, int V, int I, int J>
EVOLUTE_INLINE void correlate(const Pair* row, const Pair* end, Int columns, const Side& x,
                              const Side& gradient, float* to, Int step) {
    typedef typename Vector<W>::Floats Floats;
    Floats sums[I][J] = {};
    for (; row != end; ++row) {
        const float* here = x.numbers + row->x;
        const float* there = gradient.numbers + row->gradient;
        for (Int column = 0; column < columns; ++column) {
            for (int v = 0; v < V; ++v) {
                Floats left[I];
                for (int i = 0; i < I; ++i) left[i] = load<W>(here + i * x.channel + v * W);
                for (int j = 0; j < J; ++j) {
                    Floats factor = load<W>(there + j * gradient.channel + v * W);
                    for (int i = 0; i < I; ++i) sums[i][j] += left[i] * factor;
                }
            }
            here += x.pixel;
            there += gradient.pixel;
        }
    }
    for (int i = 0; i < I; ++i) {
        for (int j = 0; j < J; ++j) {
            float* sum = to + (i * step + j) * 16;
            store<W>(sum, load<W>(sum) + sums[i][j]);
        }
    }
}

// Adds all taps over some rows of the gradient.
template <int W, int V>
EVOLUTE_INLINE void correlate_rows(const Shape& s, Rows<W, V>& x, Rows<W, V>& gradient,
                                   Range chunk, float* sums) {
    const Int taps = s.kernel_height * s.kernel_width;
    std::vector<Pair> pairs;
    std::vector<Int> ends(1, 0);
    for (Int ky = 0; ky < s.kernel_height; ++ky) {
        const Range down = inside(ky, s.padding_height, s.stride_height, s.height, chunk);
        for (Int y = down.begin; y < down.end; ++y) {
            const Int source = y * s.stride_height + ky - s.padding_height;
            pairs.push_back({x.at(source), gradient.at(y)});
        }
        ends.push_back(static_cast<Int>(pairs.size()));
    }
    over_channels<(W > 8 ? 8 : 4)>(s.outputs, [&](auto j, Int o) __attribute__((always_inline)) {
        over_channels<2>(s.inputs, [&](auto i, Int c) __attribute__((always_inline)) {
            for (Int t = 0; t < taps; ++t) {
                const Int ky = t / s.kernel_width, kx = t % s.kernel_width;
                const Range columns =
                    inside(kx, s.padding_width, s.stride_width, s.width, {0, s.columns});
                const Int corner = columns.begin * s.stride_width + kx - s.padding_width;
                const Side left = {x.numbers() + c * x.channel() + corner * x.pixel(),
                                   s.stride_width * x.pixel(), x.channel()};
                const Side right = {gradient.numbers() + o * gradient.channel() +
                                        columns.begin * gradient.pixel(),
                                    gradient.pixel(), gradient.channel()};
                correlate<W, V, decltype(i)::value, decltype(j)::value>(
                    pairs.data() + ends[ky], pairs.data() + ends[ky + 1],
                    columns.end - columns.begin, left, right,
                    sums + ((t * s.inputs + c) * s.outputs + o) * 16, s.outputs);
            }
        });
    });
}

constexpr Int first_cache = 4096;  // numbers of the gradient at a time: half of 32 KiB

// Writes the sums of the parts as [outputs, inputs, taps].
EVOLUTE_INLINE void add_parts(const Shape& s, const float* sums, float* out) {
    const Int taps = s.kernel_height * s.kernel_width;
    for (Int o = 0; o < s.outputs; ++o) {
        for (Int c = 0; c < s.inputs; ++c) {
            for (Int t = 0; t < taps; ++t) {
                const float* parts = sums + ((t * s.inputs + c) * s.outputs + o) * 16;
                float sum = 0.0f;
                for (int k = 0; k < 16; ++k) sum += parts[k];
                out[(o * s.inputs + c) * taps + t] = sum;
            }
        }
    }
}

// out = gradient of the weight, [outputs, inputs, taps]; some vectors of examples at a time.
template <int W, int Most>
EVOLUTE_INLINE void correlate_lanes(const Work& work) {
    const Shape& s = work.shape;
    const Int out_plane = s.rows * s.columns * s.examples;
    const Int size = s.outputs * s.inputs * s.kernel_height * s.kernel_width;
    const bool copied = s.outputs * out_plane > few;
    const Int fitting = copied ? first_cache / (s.columns * 8 * Most * W) : s.rows;
    const Int together = fitting < 1 ? 1 : fitting < s.rows ? fitting : s.rows;
    const Int rows = (together - 1) * s.stride_height + s.kernel_height;
    const Room x_room(rows * s.width * s.inputs * Most * W), sums(size * 16);
    const Room gradient_room(together * s.columns * s.outputs * Most * W);
    for (Int lane = 0; lane < s.lanes; ++lane) {
        const Images before = {work.x + lane * s.input_stride, s.inputs, s.height, s.width,
                               s.examples};
        const Images after = {work.gradient + lane * s.outputs * out_plane, s.outputs, s.rows,
                              s.columns, s.examples};
        std::memset(sums.get(), 0, size * 16 * sizeof(float));
        over_examples<W, Most>(s.examples, [&](auto w, auto v, Int n)
                                               __attribute__((always_inline)) {
            typedef Rows<decltype(w)::value, decltype(v)::value> Some;
            Some x(before, n, rows, x_room.get());
            Some gradient(after, n, together, gradient_room.get());
            for (Int y = 0; y < s.rows; y += together) {
                const Range chunk = {y, y + together < s.rows ? y + together : s.rows};
                correlate_rows(s, x, gradient, chunk, sums.get());
            }
        });
        add_parts(s, sums.get(), work.out + lane * size);
    }
}

// Of large images one vector of examples at a time, so that more rows stay in the first cache.
template <int W>
EVOLUTE_INLINE void weight_gradient(const Work& work) {
    const Shape& s = work.shape;
    const Int most = s.outputs * s.rows * s.columns * s.examples;
    if (most > few) return correlate_lanes<W, 1>(work);
    return correlate_lanes<W, 2>(work);
}

EVOLUTE_DISPATCH(weight_gradient, Work)

}  // namespace

EVOLUTE_EXPORT void evolute_convolve_weight_gradient(const Shape* shape, const float* x,
                                                     const float* gradient, float* out) {
    weight_gradient_any({*shape, x, nullptr, gradient, out});
}
