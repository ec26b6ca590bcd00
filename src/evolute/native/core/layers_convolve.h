// What convolutions of images with the examples last in memory are given, and how they go over it.
//
// A lane's images lie as x[row][column][channel][example]. What one pixel is summed from then stands
// together, and vectors are full however few the channels. (With the channels before the rows, those
// of a pixel are a power of two apart and push each other out of the cache.)
#pragma once

#include <memory>
#include <utility>

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

// A batch normalisation of images and the activation after it; ctypes builds it (lanes/images.py).
struct Norm {
    Int activation, lanes, pixels, channels, examples;
    Int gradient_pixel;  // numbers from the gradient of one pixel to the next; 0 where they share it
    double epsilon;
    const float* x;
    const float* gradient;  // of the result; null in the forward pass
    float* out;
    const float* scale;  // [lanes, channels], as all that follow
    const float* offset;
    float* mean;
    float* variance;
    float* deviation;  // 1/√(variance + ε)
    float* scale_gradient;
    float* offset_gradient;
};

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

extern "C" void evolute_convolve(const Shape* shape, const float* x, const float* weight,
                                 float* out);
extern "C" void evolute_convolve_input_gradient(const Shape* shape, const float* gradient,
                                                const float* weight, float* out);
extern "C" void evolute_convolve_weight_gradient(const Shape* shape, const float* x,
                                                 const float* gradient, float* out);
extern "C" void evolute_norm_images(const Norm* norm);
