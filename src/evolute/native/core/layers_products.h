// Products of matrices for the layers: one lane's at a time, by the same instructions in the same
// order whatever the company, which no BLAS promises.
#pragma once

#include <cstdint>

// out = a·b, plus `start` in every row, or plus what `out` holds.
//
// Element (row, column) of a stands at a[row·a_down + column·a_right]; b is packed in panels by
// pack_panels, or as it stands, where can_stand(columns).
struct Product {
    std::int64_t rows, columns, depth;
    const float* a;
    std::int64_t a_down, a_right;
    const float* panels;
    std::int64_t panel_depth;  // rows of b that were packed; at least `depth`
    float* out;
    std::int64_t out_down;
    const float* start;  // as long as a padded row; or null
    bool add;
    std::int64_t b_down;  // numbers from one row of b to the next where it stands; 0 where packed
};

// b[depth, columns] with its strides, and where it is packed to.
struct Packing {
    std::int64_t depth, columns;
    const float* b;
    std::int64_t down, right;
    float* panels;
};

// Columns are packed, and `start` is read, in multiples of this number.
constexpr std::int64_t panel_multiple = 16;

inline std::int64_t padded(std::int64_t columns) {
    return (columns + panel_multiple - 1) / panel_multiple * panel_multiple;
}

// Whether the second factor may stay where it is: whole vectors lie side by side in its rows.
inline bool can_stand(std::int64_t columns) { return columns % panel_multiple == 0; }

void pack_panels(const Packing& work);
// Packs the weight [outputs, inputs] of a linear layer, for its forward pass.
void pack_linear(const float* weight, std::int64_t inputs, std::int64_t outputs, float* panels);

void multiply(const Product& work);
