// What the layers on sequences are given: ctypes builds these (lanes/native_layers.py), and so does a
// chain of layers.
#pragma once

#include <cstdint>

// Where the numbers of a tensor [lanes, examples, heads, places, width] stand: those of a place side
// by side, the rest by strides.
struct Side {
    float* numbers;
    std::int64_t lane, example, head, place;
};

// Attention.
struct Attention {
    std::int64_t lanes, examples, heads, places, width;
    std::int64_t causal;
    double scale;
    float* statistics;  // the largest score of each place, then 1/Σ exp(score − largest)
    Side query, key, value;
    Side out;       // null where backward
    Side gradient;  // of the result, as all that follow; null where forward
    Side of_query, of_key, of_value;
    float* shares;  // of each head [places, places padded], kept for backward; or null
};

// Linear layers.
struct Linear {
    std::int64_t lanes, rows, inputs, outputs;
    std::int64_t rectified;  // whether the result is max(0, x·Wᵀ + b)
    std::int64_t x_stride;   // numbers from one lane's x to the next; 0 where they share it
    std::int64_t add;  // whether backward adds to the gradients of the weights; 2: to that of x too
    const float* x;         // [rows, inputs] of each lane
    const float* weight;    // [lanes, outputs, inputs]
    const float* bias;      // [lanes, outputs]; null where there is none
    const float* gradient;  // of the result; null in the forward pass
    float* out;             // the result, [lanes, rows, outputs], read backward where rectified
    float* x_gradient;      // null where it is not wanted
    float* weight_gradient;
    float* bias_gradient;
    const float* panels;  // what pack_linear made of the weight of one lane; or null
};

// A layer normalisation.
struct Rows {
    std::int64_t lanes, rows, size;  // rows of one lane, features of one row
    std::int64_t add;  // whether backward adds to the gradients of the weights; 2: to that of x too
    double epsilon;
    const float* x;
    const float* gradient;  // of the result; null in the forward pass
    float* out;
    const float* scale;   // [lanes, size], as the offset and the gradients of both
    const float* offset;
    float* mean;       // [lanes, rows]
    float* deviation;  // 1/√(variance + ε), [lanes, rows]
    float* scale_gradient;
    float* offset_gradient;
};

// x·Φ(x), or its derivative times a gradient, of `size` numbers in each lane.
struct Gelu {
    std::int64_t lanes, size;
    const float* x;
    const float* gradient;  // null in the forward pass
    float* out;
    float* slope;  // where forward leaves the derivative and backward finds it; or null
};

// Rows of scores [rows, classes] of one lane and the class wanted of each.
struct EntropyRows {
    std::int64_t rows, classes;
    std::int64_t ignored;  // the class that leaves a row out
    float factor;          // 1 over the rows counted in the whole lane
    const float* x;
    const std::int64_t* targets;
    float* gradient;      // of the lane's loss, as x
    double* loss;         // the sum over these rows is added here
    std::int64_t* right;  // and here the rows answered right
};

extern "C" void evolute_linear(const Linear* work);
extern "C" void evolute_attention(const Attention* work);
extern "C" void evolute_layer_norm(const Rows* work);
extern "C" void evolute_gelu(const Gelu* work);
void entropy_rows(const EntropyRows& work);

// The rows that count; −1 where a target is no class.
std::int64_t counted_targets(const std::int64_t* targets, std::int64_t rows, std::int64_t classes,
                             std::int64_t ignored);
