// What convolutions of images with the examples last in memory are given, and how they go over it.
#pragma once

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

// Calls part(width of a vector, its number, example) over the examples, `Most` whole vectors first.
template <int W, int Most, class Part>
EVOLUTE_INLINE void over_examples(Int examples, const Part& part) {
    Int n = 0;
    for (; n + Most * W <= examples; n += Most * W) {
        part(std::integral_constant<int, W>{}, std::integral_constant<int, Most>{}, n);
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

}  // namespace
