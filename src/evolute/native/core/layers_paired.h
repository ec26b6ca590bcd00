// Layers on images in bfloat16, two channels side by side: what they are given, and their tables.
//
// A lane's images lie as x[block][row][column][pair][example][2]: blocks of 32 examples, pairs of
// channels. A 32-bit word holds two channels of one example, so one instruction sums two products for
// 16 examples at once. Examples and channels that fill up the last block and pair are zero in every
// image, whatever weights may be, so nothing of them reaches a sum.
#pragma once

#include <cstdint>

namespace paired {

typedef std::int64_t Int;
typedef std::uint32_t Word;

constexpr Int vector = 16;         // words in a vector
constexpr Int block = 2 * vector;  // examples in a block

// Sizes of a convolution; ctypes builds it (lanes/paired.py).
struct Shape {
    Int lanes, examples, blocks;
    Int inputs, height, width;
    Int outputs, rows, columns;
    Int kernel_height, kernel_width;
    Int stride_height, stride_width;
    Int padding_height, padding_width;
    Int input_stride;  // words from one lane's input to the next; 0 where they share it
};

// A convolution of one lane, or one of its gradients.
struct Convolution {
    const Shape& shape;
    const Word* x;
    const float* weight;    // [outputs, inputs, taps]
    const float* bias;      // [outputs]; or null
    const Word* gradient;   // of the output
    Word* out;              // images; or the gradient of the weight
    float* weight_gradient;
    Word* scratch;          // as many words as scratch_words says
};

// A batch normalisation and the activation after it; ctypes builds it (lanes/paired.py).
struct Norm {
    Int activation, lanes, examples, blocks, channels, pixels;
    Int fixed;  // whether mean and variance are given
    double epsilon;
    const Word* x;
    const Word* gradient;  // of the result; null in the forward pass
    Word* out;
    const float* scale;  // [lanes, channels], as all that follow
    const float* offset;
    float* mean;
    float* variance;
    float* deviation;  // 1/√(variance + ε)
    float* scale_gradient;
    float* offset_gradient;
};

// The same of one lane.
struct NormOfLane {
    const Norm& norm;
    Int lane;
    float* scratch;
};

// Images of torch, float32 [examples, channels, pixels] by strides, as words; or the mean of pixels.
struct Images {
    Int lanes, examples, blocks, channels, pixels;
    Int lane_stride, example_stride, channel_stride, pixel_stride;
    const float* numbers;
    Word* words;
    float* means;  // [lanes, blocks, pairs, 32, 2]
};

// One way to compute it all; a lane at a time.
struct Convolutions {
    void (*convolve)(const Convolution&);
    void (*input_gradient)(const Convolution&);
    void (*weight_gradient)(const Convolution&);
};

struct Others {
    void (*norm)(const NormOfLane&);
    void (*pack)(const Images&, Int lane);
    void (*average)(const Images&, Int lane);
};

extern const Convolutions convolutions_dot, convolutions_plain;  // with AVX512_BF16, and without
extern const Others others_dot, others_plain;

inline Int pairs_of(Int channels) { return (channels + 1) / 2; }

}  // namespace paired

#define EVOLUTE_PASTE(name, way) name##_##way
#define EVOLUTE_NAMED(name, way) EVOLUTE_PASTE(name, way)
#define EVOLUTE_PAIRED_NAME(name) EVOLUTE_NAMED(name, EVOLUTE_PAIRED)
