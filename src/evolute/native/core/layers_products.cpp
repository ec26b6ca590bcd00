// Linear layers of many lanes, forward and backward, and the product of matrices that they and
// attention are made of.
//
// A block of rows and columns of the result stays in registers while the common dimension is gone
// through; the second factor is packed in panels as wide as such a block. One lane follows the
// other, each by the same instructions on its own numbers; products and sums contract.
//
// Source of the blocking: Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication
// (2008).

#include "layers_products.h"

#include "layers_dispatch.h"
#include "layers_vector.h"
#include "layers_works.h"

namespace {

typedef std::int64_t Int;

constexpr Int most_depth = 256;  // of panels, which then stay in the first cache
constexpr Int most_rows = 96;    // of the first factor, likewise

// Calls part(vectors of the panel, its first column): panels of two vectors, then one of one.
template <int W, class Part>
EVOLUTE_INLINE void over_panels(Int columns, const Part& part) {
    Int c = 0;
    for (; c + W < columns; c += 2 * W) part(std::integral_constant<int, 2>{}, c);
    if (c < columns) part(std::integral_constant<int, 1>{}, c);
}

template <int W>
EVOLUTE_INLINE void pack(const Packing& work) {
    float* to = work.panels;
    over_panels<W>(work.columns, [&](auto v, Int first) __attribute__((always_inline)) {
        constexpr Int wide = decltype(v)::value * W;
        const Int here = work.columns - first < wide ? work.columns - first : wide;
        const float* from = work.b + first * work.right;
        if (here < wide) {
            for (Int i = 0; i < work.depth * wide; ++i) to[i] = 0.0f;
        }
        if (work.right == 1 && here == wide) {
            for (Int k = 0; k < work.depth; ++k) {
                for (int i = 0; i < decltype(v)::value; ++i) {
                    store<W>(to + k * wide + i * W, load<W>(from + k * work.down + i * W));
                }
            }
        } else {
            for (Int k = 0; k < work.depth; ++k) {
                for (Int c = 0; c < here; ++c) {
                    to[k * wide + c] = from[k * work.down + c * work.right];
                }
            }
        }
        to += work.depth * wide;
    });
}

EVOLUTE_DISPATCH(pack, Packing)

// Copies the first `here` numbers, fewer than 2·P, in parts of P, P/2, …, 1.
template <int P>
EVOLUTE_INLINE void some(const float* from, Int here, float* to) {
    if (here & P) {
        store<P>(to, load<P>(from));
        from += P;
        to += P;
    }
    if constexpr (P > 1) some<P / 2>(from, here, to);
}

// M rows and V vectors of columns of the result, of which the first `here` columns are wanted.
template <int W, int M, int V>
EVOLUTE_INLINE void tile(const Product& work, Int row, Int column, Int here, const float* panel) {
    typedef typename Vector<W>::Floats Floats;
    constexpr Int wide = V * W;
    float* out = work.out + row * work.out_down + column;
    float edge[M * wide];
    const bool whole = here == wide;
    float* to = whole ? out : edge;
    const Int down = whole ? work.out_down : wide;
    Floats sums[M][V];
    if (work.add && !whole) {
        for (int m = 0; m < M; ++m) {
            for (int v = 0; v < V; ++v) store<W>(edge + m * wide + v * W, Floats{});
            some<wide / 2>(out + m * work.out_down, here, edge + m * wide);
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) {
            if (work.add) sums[m][v] = load<W>(to + m * down + v * W);
            else if (work.start) sums[m][v] = load<W>(work.start + column + v * W);
            else sums[m][v] = Floats{};
        }
    }
    const float* a = work.a + row * work.a_down;
    const Int a_down = work.a_down, a_right = work.a_right;
    const Int b_down = work.b_down ? work.b_down : wide;
    for (Int k = 0; k < work.depth; ++k, a += a_right, panel += b_down) {
        Floats b[V];
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) b[v] = load<W>(panel + v * W);
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m) {
            const float factor = a[m * a_down];
#pragma GCC unroll 2
            for (int v = 0; v < V; ++v) sums[m][v] += b[v] * factor;
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) store<W>(to + m * down + v * W, sums[m][v]);
    }
    if (!whole) {
        for (int m = 0; m < M; ++m) some<wide / 2>(edge + m * wide, here, out + m * work.out_down);
    }
}

template <int W>
EVOLUTE_INLINE void product(const Product& work) {
    constexpr int most = W == 16 ? 12 : 6;
    for (Int begin = 0; begin < work.rows; begin += most_rows) {
        const Int end = begin + most_rows < work.rows ? begin + most_rows : work.rows;
        const float* panel = work.panels;
        over_panels<W>(work.columns, [&](auto v, Int c) __attribute__((always_inline)) {
            constexpr int V = decltype(v)::value;
            const Int here = work.columns - c < V * W ? work.columns - c : V * W;
            Int row = begin;
            for (; row + most <= end; row += most) tile<W, most, V>(work, row, c, here, panel);
            if constexpr (most > 8) {
                for (; row + 8 <= end; row += 8) tile<W, 8, V>(work, row, c, here, panel);
            }
            for (; row + 4 <= end; row += 4) tile<W, 4, V>(work, row, c, here, panel);
            for (; row + 2 <= end; row += 2) tile<W, 2, V>(work, row, c, here, panel);
            for (; row < end; ++row) tile<W, 1, V>(work, row, c, here, panel);
            panel += work.b_down ? V * W : work.panel_depth * V * W;
        });
    }
}

EVOLUTE_DISPATCH(product, Product)

// to = 0 where by ≤ 0, else from; NaN is no such place.
struct Rectifier {
    Int size;
    const float* by;
    const float* from;
    float* to;
};

template <int W>
EVOLUTE_INLINE void rectify(const Rectifier& work) {
    typedef typename Vector<W>::Floats Floats;
    Int i = 0;
    for (; i + W <= work.size; i += W) {
        const Floats from = load<W>(work.from + i);
        store<W>(work.to + i, load<W>(work.by + i) <= 0.0f ? Floats{} : from);
    }
    for (; i < work.size; ++i) work.to[i] = work.by[i] <= 0.0f ? 0.0f : work.from[i];
}

EVOLUTE_DISPATCH(rectify, Rectifier)

void linear_forward(const Linear& work, Int lane, std::vector<float>& panels) {
    const float* weight = work.weight + lane * work.outputs * work.inputs;
    const Int wide = padded(work.outputs);
    std::vector<float> start(wide, 0.0f);
    if (work.bias != nullptr) {
        std::memcpy(start.data(), work.bias + lane * work.outputs, work.outputs * sizeof(float));
    }
    const float* packed = work.panels;
    if (packed == nullptr) {
        panels.resize(work.inputs * wide);
        pack_linear(weight, work.inputs, work.outputs, panels.data());
        packed = panels.data();
    }
    for (Int k = 0; k < work.inputs; k += most_depth) {
        const Int depth = work.inputs - k < most_depth ? work.inputs - k : most_depth;
        multiply({work.rows, work.outputs, depth, work.x + lane * work.x_stride + k, work.inputs,
                  1, packed + k * wide, depth, work.out + lane * work.rows * work.outputs,
                  work.outputs, start.data(), k > 0, 0});
    }
    if (work.rectified) {
        float* out = work.out + lane * work.rows * work.outputs;
        rectify_any({work.rows * work.outputs, out, out, out});
    }
}

// Returns the gradient of a lane before the rectifier: its own, or a copy in `kept`.
const float* before_rectifier(const Linear& work, Int lane, std::vector<float>& kept) {
    const Int size = work.rows * work.outputs;
    const float* gradient = work.gradient + lane * size;
    if (!work.rectified) return gradient;
    kept.resize(size);
    rectify_any({size, work.out + lane * size, gradient, kept.data()});
    return kept.data();
}

// Multiplies by b[depth, columns], row by row in memory, where it stands or packed.
void multiply_rows(Product work, const float* b, std::vector<float>& panels) {
    if (can_stand(work.columns)) {
        work.panels = b;
        work.b_down = work.columns;
    } else {
        panels.resize(work.depth * padded(work.columns));
        pack_panels({work.depth, work.columns, b, work.columns, 1, panels.data()});
        work.panels = panels.data();
    }
    multiply(work);
}

void linear_input_gradient(const Linear& work, Int lane, const float* gradient,
                           std::vector<float>& panels) {
    const float* weight = work.weight + lane * work.outputs * work.inputs;
    for (Int k = 0; k < work.outputs; k += most_depth) {
        const Int depth = work.outputs - k < most_depth ? work.outputs - k : most_depth;
        multiply_rows({work.rows, work.inputs, depth, gradient + k, work.outputs, 1, nullptr, depth,
                       work.x_gradient + lane * work.rows * work.inputs, work.inputs, nullptr,
                       k > 0 || work.add == 2, 0},
                      weight + k * work.inputs, panels);
    }
}

void linear_weight_gradient(const Linear& work, Int lane, const float* gradient,
                            std::vector<float>& panels) {
    const float* x = work.x + lane * work.x_stride;
    for (Int k = 0; k < work.rows; k += most_depth) {
        const Int depth = work.rows - k < most_depth ? work.rows - k : most_depth;
        multiply_rows({work.outputs, work.inputs, depth, gradient + k * work.outputs, 1,
                       work.outputs, nullptr, depth,
                       work.weight_gradient + lane * work.outputs * work.inputs, work.inputs,
                       nullptr, k > 0 || work.add, 0},
                      x + k * work.inputs, panels);
    }
}

// The sum of the rows: over most_depth in float, then on in double.
struct Sum {
    Int rows, columns;
    const float* from;
    float* to;
    bool add;
};

// Adds the rows of V vectors of columns, or of the first `here` columns of one.
template <int W, int V>
EVOLUTE_INLINE void sum_columns(const Sum& work, Int c, Int here) {
    typedef typename Vector<W>::Floats Floats;
    constexpr Int wide = V * W;
    // A vector may reach into the next row, which is there for all rows but the last ones.
    const Int last = work.rows * work.columns - c - wide;
    const Int within = last < 0 ? 0 : last / work.columns + 1;
    double sums[wide] = {};
    for (Int begin = 0; begin < work.rows; begin += most_depth) {
        const Int end = begin + most_depth < work.rows ? begin + most_depth : work.rows;
        const Int whole = end < within ? end : within;
        Floats some[V] = {};
        float found[wide];
        Int row = begin;
        for (; row < whole; ++row) {
            const float* from = work.from + row * work.columns + c;
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) some[v] += load<W>(from + v * W);
        }
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) store<W>(found + v * W, some[v]);
        for (; row < end; ++row) {
            const float* from = work.from + row * work.columns + c;
            for (Int i = 0; i < here; ++i) found[i] += from[i];
        }
        for (Int i = 0; i < wide; ++i) sums[i] += found[i];
    }
    for (Int i = 0; i < here; ++i) {
        work.to[c + i] = static_cast<float>(sums[i]) + (work.add ? work.to[c + i] : 0.0f);
    }
}

template <int W>
EVOLUTE_INLINE void sum_rows(const Sum& work) {
    Int c = 0;
    for (; c + 4 * W <= work.columns; c += 4 * W) sum_columns<W, 4>(work, c, 4 * W);
    for (; c + 2 * W <= work.columns; c += 2 * W) sum_columns<W, 2>(work, c, 2 * W);
    for (; c < work.columns; c += W) {
        sum_columns<W, 1>(work, c, work.columns - c < W ? work.columns - c : W);
    }
}

EVOLUTE_DISPATCH(sum_rows, Sum)

}  // namespace

void pack_panels(const Packing& work) { pack_any(work); }

void pack_linear(const float* weight, Int inputs, Int outputs, float* panels) {
    for (Int k = 0; k < inputs; k += most_depth) {
        const Int depth = inputs - k < most_depth ? inputs - k : most_depth;
        pack_panels({depth, outputs, weight + k, 1, inputs, panels + k * padded(outputs)});
    }
}

void multiply(const Product& work) { product_any(work); }

EVOLUTE_EXPORT void evolute_linear(const Linear* work) {
    std::vector<float> panels, kept;
    for (Int lane = 0; lane < work->lanes; ++lane) {
        if (work->gradient == nullptr) {
            linear_forward(*work, lane, panels);
            continue;
        }
        const float* gradient = before_rectifier(*work, lane, kept);
        if (work->x_gradient != nullptr) linear_input_gradient(*work, lane, gradient, panels);
        if (work->weight_gradient != nullptr) linear_weight_gradient(*work, lane, gradient, panels);
        if (work->bias_gradient != nullptr) {
            sum_rows_any({work->rows, work->outputs, gradient,
                          work->bias_gradient + lane * work->outputs, work->add != 0});
        }
    }
}
