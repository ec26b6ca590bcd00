// Where images in bfloat16 enter: which way the machine has, and memory to work in; lane by lane.

#include <vector>

#include "layers_paired.h"

#define EVOLUTE_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using namespace paired;

bool has_dot() {
#if defined(EVOLUTE_PAIRED_DOT)
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
}

const Convolutions& convolutions(Int plain) {
#if defined(EVOLUTE_PAIRED_DOT)
    if (!plain && has_dot()) return convolutions_dot;
#endif
    return convolutions_plain;
}

const Others& others(Int plain) {
#if defined(EVOLUTE_PAIRED_DOT)
    if (!plain && has_dot()) return others_dot;
#endif
    return others_plain;
}

constexpr Int line = 16;  // words of a line of the cache

Int whole_lines(Int words) { return (words + line - 1) / line * line; }

// Words that any of the three needs.
Int scratch_words(const Shape& s) {
    const Int taps = s.kernel_height * s.kernel_width;
    const Int inputs = 2 * pairs_of(s.inputs), outputs = 2 * pairs_of(s.outputs);
    const Int step = whole_lines(s.outputs), places = s.width > s.columns ? s.width : s.columns;
    const Int panels = inputs * outputs * taps / 2 + places * (taps + 1) * 4;
    const Int sorted = taps * s.inputs * step + s.columns * step * vector +
                       s.kernel_height * s.width * s.inputs * vector;
    return (panels > sorted ? panels : sorted) + 2 * line;
}

Word* aligned(std::vector<Word>& memory) {
    const auto at = reinterpret_cast<std::uintptr_t>(memory.data());
    return memory.data() + (64 - at % 64) % 64 / sizeof(Word);
}

Int image_words(const Shape& s, bool of_output) {
    return s.blocks * block * (of_output ? s.rows * s.columns * pairs_of(s.outputs)
                                         : s.height * s.width * pairs_of(s.inputs));
}

}  // namespace

// Whether the machine multiplies bfloat16 by instructions of its own.
EVOLUTE_EXPORT std::int32_t evolute_paired_is_fast() { return has_dot(); }

// `plain`: by what every machine has.
EVOLUTE_EXPORT void evolute_paired_convolve(const Shape* shape, std::int64_t plain, const Word* x,
                                            const float* weight, const float* bias, Word* out) {
    const Shape& s = *shape;
    std::vector<Word> memory(scratch_words(s));
    const Int weights = s.outputs * s.inputs * s.kernel_height * s.kernel_width;
    for (Int lane = 0; lane < s.lanes; ++lane) {
        convolutions(plain).convolve({s, x + lane * s.input_stride, weight + lane * weights,
                                      bias == nullptr ? nullptr : bias + lane * s.outputs, nullptr,
                                      out + lane * image_words(s, true), nullptr,
                                      aligned(memory)});
    }
}

EVOLUTE_EXPORT void evolute_paired_input_gradient(const Shape* shape, std::int64_t plain,
                                                  const Word* gradient, const float* weight,
                                                  Word* out) {
    const Shape& s = *shape;
    std::vector<Word> memory(scratch_words(s));
    const Int weights = s.outputs * s.inputs * s.kernel_height * s.kernel_width;
    for (Int lane = 0; lane < s.lanes; ++lane) {
        convolutions(plain).input_gradient({s, nullptr, weight + lane * weights, nullptr,
                                            gradient + lane * image_words(s, true),
                                            out + lane * image_words(s, false), nullptr,
                                            aligned(memory)});
    }
}

EVOLUTE_EXPORT void evolute_paired_weight_gradient(const Shape* shape, std::int64_t plain,
                                                   const Word* x, const Word* gradient,
                                                   float* out) {
    const Shape& s = *shape;
    std::vector<Word> memory(scratch_words(s));
    const Int weights = s.outputs * s.inputs * s.kernel_height * s.kernel_width;
    for (Int lane = 0; lane < s.lanes; ++lane) {
        convolutions(plain).weight_gradient({s, x + lane * s.input_stride, nullptr, nullptr,
                                             gradient + lane * image_words(s, true), nullptr,
                                             out + lane * weights, aligned(memory)});
    }
}

EVOLUTE_EXPORT void evolute_paired_norm(const Norm* norm, std::int64_t plain) {
    std::vector<Word> memory(pairs_of(norm->channels) * 16 * 16 + 4 * line);
    for (Int lane = 0; lane < norm->lanes; ++lane) {
        others(plain).norm({*norm, lane, reinterpret_cast<float*>(aligned(memory))});
    }
}

EVOLUTE_EXPORT void evolute_paired_pack(const Images* images, std::int64_t plain) {
    for (Int lane = 0; lane < images->lanes; ++lane) others(plain).pack(*images, lane);
}

EVOLUTE_EXPORT void evolute_paired_average(const Images* images, std::int64_t plain) {
    for (Int lane = 0; lane < images->lanes; ++lane) others(plain).average(*images, lane);
}
