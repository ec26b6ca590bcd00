// A chain of layers: forward, cross-entropy and backward of a whole network in one call.
//
// One lane follows the other, and within a lane some examples follow the others, through all layers
// and back: so little at a time that it stays in the cache. What a lane computes depends on its own
// numbers and on the shapes alone. Gradients of weights are sums over the blocks of examples.

#include <cstring>

#include "layers_dispatch.h"
#include "layers_products.h"
#include "layers_vector.h"
#include "layers_works.h"

namespace {

typedef std::int64_t Int;

enum Kind { embed = 0, take = 1, add = 2, norm = 3, linear = 4, gelu = 5, attend = 6 };

// What backward does with the gradient of an input; `shared` where it lies where that of the result
// does.
enum Slope { no_slope = 0, written = 1, added = 2, shared = 3 };

// One layer of a chain; ctypes builds it and the next three (lanes/native_layers.py).
struct Operation {
    Int kind;
    Int inputs[3];   // values
    Int columns[3];  // the first column that is read of each
    Int slopes[3];
    Int out;           // a value
    Int weight, bias;  // held; −1 where there is none
    Int number;        // embed: held indices, −1 for the input; linear: rectified; attend: heads
    Int causal;
    Int extra;     // numbers of the scratch before what the layer keeps for backward
    double factor; // norm: ε; attend: the scale of scores
};

// A matrix of [examples·places, width], or of [places, width] where examples share it.
struct Value {
    Int width, shared;
    Int at;     // numbers of the scratch before it; −1 for the input
    Int slope;  // numbers of the scratch before its gradient
};

// A weight or buffer, [slots, size].
struct Held {
    void* numbers;
    float* gradient;  // null where it is not trained
    Int size;
};

struct Chain {
    Int lanes, examples, places, classes, ignored;
    Int block;  // examples at a time
    Int operations_count, held_count, output;
    const Operation* operations;
    const Value* values;
    const Held* held;
    const Int* slots;                    // of each lane
    const void* const* inputs;           // of each lane
    const std::int64_t* const* targets;  // of each lane
    float* losses;                       // [lanes]
    float* right;                        // [lanes], the share of rows answered right
    float* scratch;
};

// out = a + b, number by number.
struct Plus {
    Int size;
    const float* a;
    const float* b;
    float* out;
};

template <int W>
EVOLUTE_INLINE void plus(const Plus& work) {
    Int i = 0;
    for (; i + W <= work.size; i += W) {
        store<W>(work.out + i, load<W>(work.a + i) + load<W>(work.b + i));
    }
    for (; i < work.size; ++i) work.out[i] = work.a[i] + work.b[i];
}

EVOLUTE_DISPATCH(plus, Plus)

// Writes, or adds, the gradient of a sum to that of a term that is as large, or that examples share.
void give(const float* from, float* to, Int size, Int times, bool adds) {
    for (Int turn = 0; turn < times; ++turn, from += size) {
        if (adds || turn > 0) plus_any({size, to, from, to});
        else std::memcpy(to, from, size * sizeof(float));
    }
}

// Some examples of one lane on their way through the chain.
class Block {
  public:
    Block(const Chain& chain, Int lane, Int begin)
        : chain_(chain),
          lane_(lane),
          begin_(begin),
          examples_(chain.examples - begin < chain.block ? chain.examples - begin : chain.block) {}

    // Returns whether all indices were in range.
    bool forward(const Operation& each) const {
        const Value& value = chain_.values[each.out];
        const Int size = rows(each.out) * value.width;
        float* out = chain_.scratch + value.at;
        float* extra = chain_.scratch + each.extra;
        switch (each.kind) {
            case embed:
                return look_up(each);
            case take:
                std::memcpy(out, weight(each.weight), size * sizeof(float));
                break;
            case add: {
                const Int part = rows(each.inputs[1]) * value.width;
                for (Int i = 0; i < size; i += part) {
                    plus_any({part, numbers(each, 0) + i, numbers(each, 1), out + i});
                }
                break;
            }
            case norm: {
                const Rows work = normalised(each, nullptr, out);
                evolute_layer_norm(&work);
                break;
            }
            case linear: {
                Linear work = mapped(each);
                work.bias = weight(each.bias);
                work.panels = extra;
                evolute_linear(&work);
                break;
            }
            case gelu: {
                const Gelu work = {1, size, numbers(each, 0), nullptr, out, extra};
                evolute_gelu(&work);
                break;
            }
            case attend: {
                Attention work = attention(each);
                work.out = side(out, value.width, each);
                evolute_attention(&work);
                break;
            }
        }
        return true;
    }

    void backward(const Operation& each) const {
        const Int width = chain_.values[each.out].width, size = rows(each.out) * width;
        const float* slope = chain_.scratch + chain_.values[each.out].slope;
        switch (each.kind) {
            case embed:
                return look_back(each, slope, width);
            case take:
                if (gradient(each.weight)) give(slope, gradient(each.weight), size, 1, true);
                break;
            case add:
                for (int i = 0; i < 2; ++i) {
                    if (each.slopes[i] != written && each.slopes[i] != added) continue;
                    const Int part = rows(each.inputs[i]) * width;
                    give(slope, slope_of(each, i), part, size / part, each.slopes[i] == added);
                }
                break;
            case norm: {
                const Rows work = normalised(each, slope, slope_of(each, 0));
                evolute_layer_norm(&work);
                break;
            }
            case linear: {
                Linear work = mapped(each);
                work.gradient = slope;
                work.add = each.slopes[0] == added ? 2 : 1;
                work.x_gradient = each.slopes[0] == no_slope ? nullptr : slope_of(each, 0);
                work.weight_gradient = gradient(each.weight);
                work.bias_gradient = gradient(each.bias);
                evolute_linear(&work);
                break;
            }
            case gelu: {
                const Gelu work = {1, size, nullptr, slope, slope_of(each, 0),
                                   chain_.scratch + each.extra};
                evolute_gelu(&work);
                break;
            }
            case attend: {
                Attention work = attention(each);
                work.gradient = side(const_cast<float*>(slope), width, each);
                work.of_query = side(slope_of(each, 0), width_of(each, 0), each);
                work.of_key = side(slope_of(each, 1), width_of(each, 1), each);
                work.of_value = side(slope_of(each, 2), width_of(each, 2), each);
                evolute_attention(&work);
                break;
            }
        }
    }

    // Adds the loss of these examples and their right answers; writes the gradient of the scores.
    void measure(Int counted, double* loss, Int* right) const {
        const Value& scores = chain_.values[chain_.output];
        entropy_rows({rows(chain_.output), chain_.classes, chain_.ignored,
                      1.0f / static_cast<float>(counted), chain_.scratch + scores.at,
                      chain_.targets[lane_] + begin_ * chain_.places,
                      chain_.scratch + scores.slope, loss, right});
    }

  private:
    Int rows(Int value) const {
        return chain_.values[value].shared ? chain_.places : examples_ * chain_.places;
    }

    Int width_of(const Operation& each, int input) const {
        return chain_.values[each.inputs[input]].width;
    }

    float* numbers(const Operation& each, int input) const {
        const Value& value = chain_.values[each.inputs[input]];
        if (value.at < 0) {
            const float* given = static_cast<const float*>(chain_.inputs[lane_]);
            return const_cast<float*>(given) + begin_ * chain_.places * value.width;
        }
        return chain_.scratch + value.at + each.columns[input];
    }

    float* slope_of(const Operation& each, int input) const {
        return chain_.scratch + chain_.values[each.inputs[input]].slope + each.columns[input];
    }

    const float* weight(Int held) const {
        if (held < 0) return nullptr;
        const Held& own = chain_.held[held];
        return static_cast<const float*>(own.numbers) + chain_.slots[lane_] * own.size;
    }

    float* gradient(Int held) const {
        if (held < 0 || chain_.held[held].gradient == nullptr) return nullptr;
        return chain_.held[held].gradient + chain_.slots[lane_] * chain_.held[held].size;
    }

    const std::int64_t* indices(const Operation& each) const {
        if (each.number < 0) {
            return static_cast<const std::int64_t*>(chain_.inputs[lane_]) +
                   begin_ * chain_.places;
        }
        const Held& own = chain_.held[each.number];
        return static_cast<const std::int64_t*>(own.numbers) + chain_.slots[lane_] * own.size;
    }

    bool look_up(const Operation& each) const {
        const Int width = chain_.values[each.out].width;
        const std::int64_t* index = indices(each);
        const Int words = chain_.held[each.weight].size / width;
        float* out = chain_.scratch + chain_.values[each.out].at;
        for (Int row = 0; row < rows(each.out); ++row, out += width) {
            if (index[row] < 0 || index[row] >= words) return false;
            std::memcpy(out, weight(each.weight) + index[row] * width, width * sizeof(float));
        }
        return true;
    }

    void look_back(const Operation& each, const float* slope, Int width) const {
        float* to = gradient(each.weight);
        const std::int64_t* index = indices(each);
        if (to == nullptr) return;
        for (Int row = 0; row < rows(each.out); ++row) {
            give(slope + row * width, to + index[row] * width, width, 1, true);
        }
    }

    Rows normalised(const Operation& each, const float* slope, float* out) const {
        const Int count = rows(each.out);
        float* extra = chain_.scratch + each.extra;
        return {1, count, chain_.values[each.out].width, each.slopes[0] == added ? 2 : 1,
                each.factor, numbers(each, 0), slope, out, weight(each.weight), weight(each.bias),
                extra, extra + count, gradient(each.weight), gradient(each.bias)};
    }

    Linear mapped(const Operation& each) const {
        const Value& value = chain_.values[each.out];
        return {1, rows(each.out), width_of(each, 0), value.width, each.number, 0, 0,
                numbers(each, 0), weight(each.weight), nullptr, nullptr,
                chain_.scratch + value.at, nullptr, nullptr, nullptr, nullptr};
    }

    Side side(float* from, Int width, const Operation& each) const {
        return {from, 0, chain_.places * width, chain_.values[each.out].width / each.number, width};
    }

    Attention attention(const Operation& each) const {
        float* extra = chain_.scratch + each.extra;
        Attention work = {};
        work.lanes = 1;
        work.examples = examples_;
        work.heads = each.number;
        work.places = chain_.places;
        work.width = chain_.values[each.out].width / each.number;
        work.causal = each.causal;
        work.scale = each.factor;
        work.statistics = extra;
        work.shares = extra + 2 * examples_ * each.number * chain_.places;
        work.query = side(numbers(each, 0), width_of(each, 0), each);
        work.key = side(numbers(each, 1), width_of(each, 1), each);
        work.value = side(numbers(each, 2), width_of(each, 2), each);
        return work;
    }

    const Chain& chain_;
    const Int lane_, begin_, examples_;
};

// Gradients begin at 0; weights of linear layers are packed once for all blocks.
void prepare(const Chain& chain, Int slot) {
    for (Int h = 0; h < chain.held_count; ++h) {
        const Held& own = chain.held[h];
        if (own.gradient != nullptr) {
            std::memset(own.gradient + slot * own.size, 0, own.size * sizeof(float));
        }
    }
    for (Int o = 0; o < chain.operations_count; ++o) {
        const Operation& each = chain.operations[o];
        if (each.kind != linear) continue;
        const Held& own = chain.held[each.weight];
        const Int outputs = chain.values[each.out].width;
        pack_linear(static_cast<const float*>(own.numbers) + slot * own.size, own.size / outputs,
                    outputs, chain.scratch + each.extra);
    }
}

}  // namespace

// Returns 0; or where the lane whose turn it is has a target that is no class 1, an index out of
// range 2.
EVOLUTE_EXPORT std::int32_t evolute_chain(const Chain* work) {
    const Chain& chain = *work;
    const Int rows = chain.examples * chain.places;
    for (Int lane = 0; lane < chain.lanes; ++lane) {
        const Int counted =
            counted_targets(chain.targets[lane], rows, chain.classes, chain.ignored);
        if (counted < 0) return 1;
        double loss = 0.0;
        Int right = 0;
        prepare(chain, chain.slots[lane]);
        for (Int begin = 0; begin < chain.examples; begin += chain.block) {
            const Block block(chain, lane, begin);
            for (Int o = 0; o < chain.operations_count; ++o) {
                if (!block.forward(chain.operations[o])) return 2;
            }
            block.measure(counted, &loss, &right);
            for (Int o = chain.operations_count - 1; o >= 0; --o) {
                block.backward(chain.operations[o]);
            }
        }
        chain.losses[lane] = static_cast<float>(loss / static_cast<double>(counted));
        chain.right[lane] = static_cast<float>(right) / static_cast<float>(rows);
    }
    return 0;
}
