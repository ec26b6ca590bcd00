// Normalisation of paired images (layers_paired.h), and the ways to them and from them; compiled
// once with AVX512_BF16 and once without. Numbers are read and written in bfloat16; statistics,
// weights and all that is computed between are float32, sums over many numbers double.
//
// Source of the gradients of the normalisation: Ioffe and Szegedy, Batch Normalization (2015).

#include "layers_paired_vector.h"

namespace {

using paired::Images;
using paired::Norm;
using paired::NormOfLane;
using paired::block;
using paired::pairs_of;
using paired::vector;

constexpr Int together = 256;  // pixels summed in float before the sum goes on in double

template <int A>
EVOLUTE_INLINE Floats value(Floats y) {
    if (A == silu) return y * sigmoid(y);
    return activated<16, A>(y);
}

template <int A>
EVOLUTE_INLINE Floats steepness(Floats y) {
    if (A == silu) {
        const Floats s = sigmoid(y), z = y * s;
        return s + z - z * s;
    }
    return slope<16, A>(y);
}

// What a pass over pixels knows of a pair of channels: two numbers of each.
struct Pair {
    Floats first[2], second[2];
};

// Calls part(word, pair, mask) for the vectors of all blocks, `together` pixels at a time, each time
// followed by done().
template <class Part, class Done>
EVOLUTE_INLINE void over_pixels(const Norm& norm, const Part& part, const Done& done) {
    const Int pairs = pairs_of(norm.channels);
    for (Int number = 0; number < norm.blocks; ++number) {
        const Live mask = live(norm.examples, number);
        for (Int begin = 0; begin < norm.pixels; begin += together) {
            const Int end = begin + together < norm.pixels ? begin + together : norm.pixels;
            for (Int pixel = begin; pixel < end; ++pixel) {
                Int word = (number * norm.pixels + pixel) * pairs * block;
                for (Int pair = 0; pair < pairs; ++pair, word += block) part(word, pair, mask);
            }
            done();
        }
    }
}

// Where a lane's pass keeps what it sums: [pair] of float vectors, and [channel] of doubles.
struct Sums {
    Pair* parts;
    double* first;
    double* second;
};

EVOLUTE_INLINE Sums sums_in(float* scratch, Int pairs) {
    Sums sums;
    sums.parts = reinterpret_cast<Pair*>(scratch);
    sums.first = reinterpret_cast<double*>(sums.parts + pairs);
    sums.second = sums.first + 2 * pairs;
    std::memset(scratch, 0, pairs * (sizeof(Pair) + 4 * sizeof(double)));
    return sums;
}

void add_up(const Sums& sums, Int pairs) {
    for (Int pair = 0; pair < pairs; ++pair) {
        Pair& part = sums.parts[pair];
        for (int side = 0; side < 2; ++side) {
            for (int i = 0; i < 16; ++i) {
                sums.first[2 * pair + side] += part.first[side][i];
                sums.second[2 * pair + side] += part.second[side][i];
            }
            part.first[side] = part.second[side] = Floats{};
        }
    }
}

EVOLUTE_INLINE Floats masked(Floats x, Bits mask) {
    return reinterpret_cast<Floats>(reinterpret_cast<Bits>(x) & mask);
}

// Mean, variance and deviation of each channel of a lane.
void measure(const NormOfLane& work, float* mean, float* variance, float* deviation) {
    const Norm& norm = work.norm;
    const Int pairs = pairs_of(norm.channels);
    const Word* x = norm.x + work.lane * norm.blocks * norm.pixels * pairs * block;
    const Sums sums = sums_in(work.scratch, pairs);
    // Moments of x − x₀: small numbers, so nothing cancels.
    over_pixels(norm, [&](Int word, Int pair, const Live& mask) __attribute__((always_inline)) {
        const Word base = x[pair * block];
        const Floats bases[2] = {low(Bits{} + base), high(Bits{} + base)};
        Pair& part = sums.parts[pair];
        for (int side = 0; side < 2; ++side) {
            Floats first = part.first[side], second = part.second[side];
            for (int v = 0; v < 2; ++v) {
                const Bits both = words_at(x + word + v * vector);
                const Floats number = side ? high(both) : low(both);
                const Floats d = masked(number - bases[side], mask.mask[v]);
                first += d;
                second += d * d;
            }
            part.first[side] = first;
            part.second[side] = second;
        }
    }, [&] { add_up(sums, pairs); });
    const double count = static_cast<double>(norm.examples) * norm.pixels;
    for (Int c = 0; c < norm.channels; ++c) {
        const Bits base = Bits{} + x[c / 2 * block];
        const float from = (c % 2 ? high(base) : low(base))[0];
        const double shifted = sums.first[c] / count;
        const double spread = sums.second[c] / count - shifted * shifted;
        const double kept = spread < 0.0 ? 0.0 : spread;  // not max(): NaN must stay
        mean[c] = static_cast<float>(from + shifted);
        variance[c] = static_cast<float>(kept);
        deviation[c] = static_cast<float>(1.0 / __builtin_sqrt(kept + norm.epsilon));
    }
}

// The weights of a lane as vectors, in the scratch behind what is summed.
EVOLUTE_INLINE Pair* weights_in(const NormOfLane& work, Int pairs) {
    const Int used = pairs * (sizeof(Pair) + 4 * sizeof(double)) / sizeof(float);
    return reinterpret_cast<Pair*>(work.scratch + (used + 15) / 16 * 16);
}

// y = x·first + second, with the numbers of a channel.
void widen_weights(const NormOfLane& work, Pair* weights) {
    const Norm& norm = work.norm;
    const Int channels = norm.channels, at = work.lane * channels;
    for (Int c = 0; c < 2 * pairs_of(channels); ++c) {
        const bool known = c < channels;
        const float a = known ? norm.scale[at + c] * norm.deviation[at + c] : 0.0f;
        const float b = known ? norm.offset[at + c] - norm.mean[at + c] * a : 0.0f;
        weights[c / 2].first[c % 2] = Floats{} + a;
        weights[c / 2].second[c % 2] = Floats{} + b;
    }
}

template <int A>
void normalise(const NormOfLane& work) {
    const Norm& norm = work.norm;
    const Int pairs = pairs_of(norm.channels), at = work.lane * norm.channels;
    const Int words = norm.blocks * norm.pixels * pairs * block;
    const Word* x = norm.x + work.lane * words;
    Word* out = norm.out + work.lane * words;
    if (norm.fixed) {
        const float epsilon = static_cast<float>(norm.epsilon);
        for (Int c = at; c < at + norm.channels; ++c) {
            norm.deviation[c] = 1.0f / __builtin_sqrtf(norm.variance[c] + epsilon);
        }
    } else {
        measure(work, norm.mean + at, norm.variance + at, norm.deviation + at);
    }
    Pair* weights = weights_in(work, pairs);
    widen_weights(work, weights);
    over_pixels(norm, [&](Int word, Int pair, const Live& mask) __attribute__((always_inline)) {
        const Pair& weight = weights[pair];
        for (int v = 0; v < 2; ++v) {
            const Bits both = words_at(x + word + v * vector);
            const Floats even = value<A>(low(both) * weight.first[0] + weight.second[0]);
            const Floats odd = value<A>(high(both) * weight.first[1] + weight.second[1]);
            put(out + word + v * vector, joined_quickly(even, odd) & mask.mask[v]);
        }
    }, [] {});
}

// The gradient before the activation goes to `out`; its sums, plain and times x − mean, to the rest.
template <int A>
void before_activation(const NormOfLane& work, const Sums& sums, Pair* weights) {
    const Norm& norm = work.norm;
    const Int pairs = pairs_of(norm.channels), at = work.lane * norm.channels;
    const Int words = norm.blocks * norm.pixels * pairs * block;
    const Word* x = norm.x + work.lane * words;
    const Word* gradient = norm.gradient + work.lane * words;
    Word* out = norm.out + work.lane * words;
    Pair* means = weights + pairs;
    for (Int c = 0; c < 2 * pairs; ++c) {
        means[c / 2].first[c % 2] = Floats{} + (c < norm.channels ? norm.mean[at + c] : 0.0f);
    }
    over_pixels(norm, [&](Int word, Int pair, const Live&) __attribute__((always_inline)) {
        const Pair& weight = weights[pair];
        Floats first[2] = {sums.parts[pair].first[0], sums.parts[pair].first[1]};
        Floats second[2] = {sums.parts[pair].second[0], sums.parts[pair].second[1]};
        for (int v = 0; v < 2; ++v) {
            const Bits both = words_at(x + word + v * vector);
            const Bits after = words_at(gradient + word + v * vector);
            Floats d[2];
            for (int side = 0; side < 2; ++side) {
                const Floats number = side ? high(both) : low(both);
                const Floats y = number * weight.first[side] + weight.second[side];
                // 0 where there is no example, as the gradient is.
                d[side] = (side ? high(after) : low(after)) * steepness<A>(y);
                first[side] += d[side];
                second[side] += d[side] * (number - means[pair].first[side]);
            }
            put(out + word + v * vector, joined_quickly(d[0], d[1]));
        }
        for (int side = 0; side < 2; ++side) {
            sums.parts[pair].first[side] = first[side];
            sums.parts[pair].second[side] = second[side];
        }
    }, [&] { add_up(sums, pairs); });
}

template <int A>
void normalise_backward(const NormOfLane& work) {
    const Norm& norm = work.norm;
    const Int pairs = pairs_of(norm.channels), at = work.lane * norm.channels;
    const Int words = norm.blocks * norm.pixels * pairs * block;
    const Word* x = norm.x + work.lane * words;
    Word* out = norm.out + work.lane * words;
    const Sums sums = sums_in(work.scratch, pairs);
    Pair* weights = weights_in(work, pairs);
    widen_weights(work, weights);
    before_activation<A>(work, sums, weights);
    // a·(d − shift − (x − mean)·turn) = d·a + x·first + second
    const double count = static_cast<double>(norm.examples) * norm.pixels;
    Pair* lines = weights + pairs;
    for (Int c = 0; c < 2 * pairs; ++c) {
        const bool known = c < norm.channels;
        float first = 0.0f, second = 0.0f;
        if (known) {
            const double deviation = norm.deviation[at + c];
            norm.offset_gradient[at + c] = static_cast<float>(sums.first[c]);
            norm.scale_gradient[at + c] = static_cast<float>(sums.second[c] * deviation);
            const double a = norm.scale[at + c] * deviation;
            const double turn = sums.second[c] / count * deviation * deviation;
            first = static_cast<float>(-a * turn);
            second = static_cast<float>(a * (norm.mean[at + c] * turn - sums.first[c] / count));
        }
        lines[c / 2].first[c % 2] = Floats{} + first;
        lines[c / 2].second[c % 2] = Floats{} + second;
    }
    over_pixels(norm, [&](Int word, Int pair, const Live& mask) __attribute__((always_inline)) {
        const Pair &weight = weights[pair], &line = lines[pair];
        for (int v = 0; v < 2; ++v) {
            const Bits both = words_at(x + word + v * vector);
            const Bits d = words_at(out + word + v * vector);
            const Floats even = low(d) * weight.first[0] +
                                (low(both) * line.first[0] + line.second[0]);
            const Floats odd = high(d) * weight.first[1] +
                               (high(both) * line.first[1] + line.second[1]);
            put(out + word + v * vector, joined_quickly(even, odd) & mask.mask[v]);
        }
    }, [] {});
}

template <int A>
void both_ways(const NormOfLane& work) {
    if (work.norm.gradient == nullptr) return normalise<A>(work);
    normalise_backward<A>(work);
}

void norm(const NormOfLane& work) {
    switch (work.norm.activation) {
        case relu: return both_ways<relu>(work);
        case silu: return both_ways<silu>(work);
        default: return both_ways<none>(work);
    }
}

// Images of torch as words.
void pack(const Images& work, Int lane) {
    const Int pairs = pairs_of(work.channels);
    const float* numbers = work.numbers + lane * work.lane_stride;
    Word* to = work.words + lane * work.blocks * work.pixels * pairs * block;
    for (Int number = 0; number < work.blocks; ++number) {
        for (Int pixel = 0; pixel < work.pixels; ++pixel) {
            const float* from = numbers + pixel * work.pixel_stride;
            for (Int pair = 0; pair < pairs; ++pair) {
                for (Int part = 0; part < 2; ++part, to += vector) {
                    Floats sides[2] = {};
                    for (Int i = 0; i < vector; ++i) {
                        const Int n = number * block + part * vector + i;
                        if (n >= work.examples) break;
                        const float* here =
                            from + n * work.example_stride + 2 * pair * work.channel_stride;
                        sides[0][i] = here[0];
                        if (2 * pair + 1 < work.channels) sides[1][i] = here[work.channel_stride];
                    }
                    put(to, joined_quickly(sides[0], sides[1]));
                }
            }
        }
    }
}

// The mean over the pixels.
void average(const Images& work, Int lane) {
    const Int pairs = pairs_of(work.channels), words = pairs * block;
    for (Int number = lane * work.blocks; number < (lane + 1) * work.blocks; ++number) {
        for (Int word = 0; word < words; word += vector) {
            const Word* from = work.words + number * work.pixels * words + word;
            Floats even = {}, odd = {};
            for (Int pixel = 0; pixel < work.pixels; ++pixel, from += words) {
                const Bits both = words_at(from);
                even += low(both);
                odd += high(both);
            }
            const float share = 1.0f / static_cast<float>(work.pixels);
            float* to = work.means + (number * words + word) * 2;
            for (int i = 0; i < vector; ++i) {
                to[2 * i] = even[i] * share;
                to[2 * i + 1] = odd[i] * share;
            }
        }
    }
}

}  // namespace

const paired::Others paired::EVOLUTE_PAIRED_NAME(others) = {norm, pack, average};
