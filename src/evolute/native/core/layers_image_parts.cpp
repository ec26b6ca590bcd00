// The simple parts of a chain of layers on images: sums, products, activations, means, and images
// turned to lie with their examples last. Products and sums contract.

#include "layers_dispatch.h"
#include "layers_image_chain.h"

namespace {

using image_chain::Activate;
using image_chain::Average;
using image_chain::Bias;
using image_chain::Numbers;
using image_chain::Turn;

// Calls part(width of a vector, place) until `size`.
template <int W, class Part>
EVOLUTE_INLINE void over(Int size, const Part& part) {
    Int i = 0;
    for (; i + W <= size; i += W) part(std::integral_constant<int, W>{}, i);
    for (; i < size; ++i) part(std::integral_constant<int, 1>{}, i);
}

template <int W>
EVOLUTE_INLINE void add_up(const Numbers& work) {
    over<W>(work.size, [&](auto w, Int i) __attribute__((always_inline)) {
        constexpr int K = decltype(w)::value;
        store<K>(work.out + i, load<K>(work.a + i) + load<K>(work.b + i));
    });
}

template <int W>
EVOLUTE_INLINE void multiply_up(const Numbers& work) {
    over<W>(work.size, [&](auto w, Int i) __attribute__((always_inline)) {
        constexpr int K = decltype(w)::value;
        store<K>(work.out + i, load<K>(work.a + i) * load<K>(work.b + i));
    });
}

template <int W, int A>
EVOLUTE_INLINE void activate_as(const Activate& work) {
    over<W>(work.size, [&](auto w, Int i) __attribute__((always_inline)) {
        constexpr int K = decltype(w)::value;
        const auto x = load<K>(work.x + i);
        store<K>(work.out + i, work.gradient == nullptr
                                   ? activated<K, A>(x)
                                   : load<K>(work.gradient + i) * slope<K, A>(x));
    });
}

template <int W>
EVOLUTE_INLINE void activate_any_way(const Activate& work) {
    if (work.activation == relu) activate_as<W, relu>(work);
    else activate_as<W, silu>(work);
}

template <int W>
EVOLUTE_INLINE void mean(const Average& work) {
    const float share = 1.0f / static_cast<float>(work.pixels);
    over<W>(work.size, [&](auto w, Int i) __attribute__((always_inline)) {
        constexpr int K = decltype(w)::value;
        auto sum = load<K>(work.from + i);
        for (Int p = 1; p < work.pixels; ++p) sum += load<K>(work.from + p * work.size + i);
        store<K>(work.to + i, sum * share);
    });
}

template <int W>
EVOLUTE_INLINE void bias_images(const Bias& work) {
    float* images = work.images;
    for (Int pixel = 0; pixel < work.pixels; ++pixel) {
        for (Int c = 0; c < work.channels; ++c, images += work.examples) {
            over<W>(work.examples, [&](auto w, Int i) __attribute__((always_inline)) {
                constexpr int K = decltype(w)::value;
                store<K>(images + i, load<K>(images + i) + work.numbers[c]);
            });
        }
    }
}

template <int W>
EVOLUTE_INLINE void sum_images(const Bias& work) {
    for (Int c = 0; c < work.channels; ++c) {
        double sum = 0.0;
        for (Int pixel = 0; pixel < work.pixels; ++pixel) {
            const float* images = work.images + (pixel * work.channels + c) * work.examples;
            typename Vector<W>::Floats sums = {};
            typename Vector<1>::Floats rest = {};
            over<W>(work.examples, [&](auto w, Int i) __attribute__((always_inline)) {
                constexpr int K = decltype(w)::value;
                if constexpr (K == W) sums += load<K>(images + i);
                else rest += load<K>(images + i);
            });
            sum += static_cast<double>(total<W>(sums) + rest[0]);
        }
        work.numbers[c] = static_cast<float>(sum);
    }
}

// Rows of a matrix, `down` numbers apart, and the columns of another, to which they are turned.
struct Sides {
    const float* from;
    Int down;
    float* to;
    Int right;
};

// to[column][row] = from[row][column], some rows and columns at a time, as lines of the cache go.
EVOLUTE_INLINE void turn(const Sides& sides, Int rows, Int columns) {
    constexpr Int together = 16;
    for (Int row = 0; row < rows; row += together) {
        const Int last_row = row + together < rows ? row + together : rows;
        for (Int column = 0; column < columns; column += together) {
            const Int last = column + together < columns ? column + together : columns;
            for (Int c = column; c < last; ++c) {
                for (Int r = row; r < last_row; ++r) {
                    sides.to[c * sides.right + r] = sides.from[r * sides.down + c];
                }
            }
        }
    }
}

// [examples][channels][pixels] to [pixels][channels][examples].
template <int W>
EVOLUTE_INLINE void pack(const Turn& work) {
    const Int features = work.channels * work.pixels, next = work.channels * work.examples;
    for (Int c = 0; c < work.channels; ++c) {
        turn({work.from + c * work.pixels, features, work.to + c * work.examples, next},
             work.examples, work.pixels);
    }
}

template <int W>
EVOLUTE_INLINE void unpack(const Turn& work) {
    const Int features = work.channels * work.pixels, next = work.channels * work.examples;
    for (Int c = 0; c < work.channels; ++c) {
        turn({work.from + c * work.examples, next, work.to + c * work.pixels, features},
             work.pixels, work.examples);
    }
}

EVOLUTE_DISPATCH(add_up, Numbers)
EVOLUTE_DISPATCH(multiply_up, Numbers)
EVOLUTE_DISPATCH(activate_any_way, Activate)
EVOLUTE_DISPATCH(mean, Average)
EVOLUTE_DISPATCH(bias_images, Bias)
EVOLUTE_DISPATCH(sum_images, Bias)
EVOLUTE_DISPATCH(pack, Turn)
EVOLUTE_DISPATCH(unpack, Turn)

}  // namespace

namespace image_chain {

void plus(const Numbers& work) { add_up_any(work); }
void times(const Numbers& work) { multiply_up_any(work); }
void run_activate(const Activate& work) { activate_any_way_any(work); }
void add_bias(const Bias& work) { bias_images_any(work); }
void sum_bias(const Bias& work) { sum_images_any(work); }
void take_mean(const Average& work) { mean_any(work); }
void pack_images(const Turn& work) { pack_any(work); }
void unpack_images(const Turn& work) { unpack_any(work); }

void spread_mean(const Average& work) {
    const float share = 1.0f / static_cast<float>(work.pixels);
    for (Int i = 0; i < work.size; ++i) work.to[i] = work.from[i] * share;
}

}  // namespace image_chain
