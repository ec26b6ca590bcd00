// What a chain of layers on images is given, and its simple parts, which only add, turn or scale.
//
// A value is an image [row][column][channel][example], or rows of features [example][feature].
#pragma once

#include "layers_convolve.h"

namespace image_chain {

enum Kind {
    convolve = 0, normalise = 1, activate = 2, add = 3, average = 4, rows = 5, drop = 6, linear = 7,
    count = 8
};

// One layer; ctypes builds it and the next three (lanes/native_layers.py).
struct Operation {
    Int kind;
    Int inputs[2];  // values; −1 where there is none
    Int out;        // a value
    Int weight, bias, mean, variance;  // held; −1 where there is none
    Int number;     // the activation; drop: which mask; linear: whether it is rectified
    Int kernel_height, kernel_width, stride_height, stride_width, padding_height, padding_width;
    Int extra;      // numbers of the scratch before what the layer keeps for backward
    Int slope;      // numbers of the scratch before the gradient of the result
    Int slopes[2];  // before that of each input, as it is computed; −1 where none is wanted
    Int sums[2];    // before that to which it is added then; −1 where it is to none
    Int spread;     // whether the gradient of average's input, or of normalise's result, is one
                    // number for all pixels
    double epsilon, momentum;
};

// An image, or rows of as many features as it has channels.
struct Value {
    Int channels, height, width;
    Int at;  // numbers of the scratch before it
};

// A weight or buffer, [slots, size].
struct Held {
    void* numbers;
    float* gradient;  // null where it is not trained
    Int size;
};

struct Chain {
    Int lanes, examples, classes, ignored;
    Int operations_count;
    Int output;        // the value of scores
    Int output_slope;  // numbers of the scratch before their gradient
    Int masks_count;   // of a lane
    const Operation* operations;
    const Value* values;  // the first is the input, packed
    const Held* held;
    const Int* slots;                    // of each lane
    const float* const* inputs;          // of each lane, [examples, channels, height, width]
    const std::int64_t* const* targets;  // of each lane
    const float* const* masks;           // of each lane one after the other
    float* losses;                       // [lanes]
    float* right;                        // [lanes], the share of rows answered right
    float* scratch;
};

// out = f(a, b) for `size` numbers.
struct Numbers {
    Int size;
    const float* a;
    const float* b;
    float* out;
};

// out = activated(x); or out = gradient·slope at `x`, of relu at its result, which has the sign of x.
struct Activate {
    Int activation, size;
    const float* x;
    const float* gradient;  // null in the forward pass
    float* out;
};

// Pixels of [size] numbers each, channels and examples, and one such pixel.
struct Average {
    Int pixels, size;
    const float* from;
    float* to;
};

// images [examples][channels·pixels] and [pixels][channels][examples].
struct Turn {
    Int examples, channels, pixels;
    const float* from;
    float* to;
};

// images[pixel][channel][example] and one number for each channel.
struct Bias {
    Int pixels, channels, examples;
    float* images;
    float* numbers;
};

void add_bias(const Bias& work);     // to the images
void sum_bias(const Bias& work);     // of the images, over pixels and examples
void plus(const Numbers& work);      // out = a + b
void times(const Numbers& work);     // out = a·b
void run_activate(const Activate& work);
void take_mean(const Average& work);       // `to` is the mean pixel of `from`
void spread_mean(const Average& work);     // each of so many pixels of `to` is `from` divided by
                                           // their number; of one pixel where they share it
void pack_images(const Turn& work);        // from images as torch has them
void unpack_images(const Turn& work);      // and to them

}  // namespace image_chain
