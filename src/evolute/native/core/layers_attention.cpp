// Attention of each lane, example and head by itself, forward and backward: a block of the scores
// stays in the cache, and none is kept between the two.
//
// One head follows the other, each by the same instructions on its own numbers, so a lane's bits
// depend on no company; products and sums contract.
//
// Sources: Vaswani and others, Attention Is All You Need (2017); Dao and others, FlashAttention
// (2022), for scores computed again in the backward pass.

#include "layers_dispatch.h"
#include "layers_products.h"
#include "layers_vector.h"
#include "layers_works.h"

namespace {

typedef std::int64_t Int;

constexpr Int block = 32;  // rows of scores at a time, a whole number of panels

struct Scratch {
    std::vector<float> keys, values, rows, scores, slopes;
};

// out = a·b of a block, b [depth, columns] row by row at a distance, where it stands or packed.
EVOLUTE_INLINE void multiply_rows(Product work, const float* b, Int b_down, float* panels) {
    if (can_stand(work.columns)) {
        work.panels = b;
        work.b_down = b_down;
    } else {
        pack_panels({work.depth, work.columns, b, b_down, 1, panels});
        work.panels = panels;
    }
    multiply(work);
}

EVOLUTE_INLINE float* at(const Side& side, Int lane, Int example, Int head) {
    return side.numbers + lane * side.lane + example * side.example + head * side.head;
}

template <int W>
EVOLUTE_INLINE typename Vector<W>::Ints counted() {
    typename Vector<W>::Ints order;
    for (int i = 0; i < W; ++i) order[i] = i;
    return order;
}

// Turns a row of scores into shares of the first `seen`, the rest up to `columns` into 0.
template <int W>
EVOLUTE_INLINE void share_row(float* row, Int columns, Int seen, float scale, float* statistics,
                              Int places) {
    typedef typename Vector<W>::Floats Floats;
    const typename Vector<W>::Ints order = counted<W>();
    const Floats none = Floats{} - __builtin_inff();
    Floats largest = none;
    for (Int c = 0; c < seen; c += W) {
        Floats value = load<W>(row + c) * scale;
        value = order < static_cast<std::int32_t>(seen - c) ? value : none;
        largest = value > largest ? value : largest;
    }
    const float most = largest_of<W>(largest);
    Floats sums = {};
    for (Int c = 0; c < columns; c += W) {
        Floats power = exponential<W>(load<W>(row + c) * scale - most);
        power = order < static_cast<std::int32_t>(seen - c) ? power : Floats{};
        store<W>(row + c, power);
        sums += power;
    }
    const float share = 1.0f / total<W>(sums);
    for (Int c = 0; c < columns; c += W) store<W>(row + c, load<W>(row + c) * share);
    statistics[0] = most;
    statistics[places] = share;
}

// Turns a row of scores into the shares that share_row found.
template <int W>
EVOLUTE_INLINE void share_again(float* row, Int columns, Int seen, float scale, float most,
                                float share) {
    typedef typename Vector<W>::Floats Floats;
    const typename Vector<W>::Ints order = counted<W>();
    for (Int c = 0; c < columns; c += W) {
        const Floats part = exponential<W>(load<W>(row + c) * scale - most) * share;
        store<W>(row + c, order < static_cast<std::int32_t>(seen - c) ? part : Floats{});
    }
}

// Turns the gradients of a row of shares into those of its scores.
template <int W>
EVOLUTE_INLINE void slope_row(const float* shares, float* slopes, Int columns, Int seen,
                              float scale) {
    typedef typename Vector<W>::Floats Floats;
    const typename Vector<W>::Ints order = counted<W>();
    Floats sums = {};
    for (Int c = 0; c < columns; c += W) {
        const auto known = order < static_cast<std::int32_t>(seen - c);
        sums += known ? load<W>(shares + c) * load<W>(slopes + c) : Floats{};
    }
    const float mean = total<W>(sums);
    for (Int c = 0; c < columns; c += W) {
        const auto known = order < static_cast<std::int32_t>(seen - c);
        const Floats slope = load<W>(shares + c) * (load<W>(slopes + c) - mean) * scale;
        store<W>(slopes + c, known ? slope : Floats{});
    }
}

template <int W>
EVOLUTE_INLINE void head_forward(const Attention& work, Int lane, Int example, Int head,
                                 float* statistics, float* shares, Scratch& scratch) {
    const float* query = at(work.query, lane, example, head);
    const float* key = at(work.key, lane, example, head);
    const float* value = at(work.value, lane, example, head);
    float* out = at(work.out, lane, example, head);
    const Int places = work.places, width = work.width, wide = padded(places);
    const float scale = static_cast<float>(work.scale);
    pack_panels({width, places, key, 1, work.key.place, scratch.keys.data()});
    for (Int first = 0; first < places; first += block) {
        const Int rows = places - first < block ? places - first : block;
        const Int columns = work.causal ? first + rows : places;
        float* scores = shares != nullptr ? shares + first * wide : scratch.scores.data();
        multiply({rows, columns, width, query + first * work.query.place, work.query.place, 1,
                  scratch.keys.data(), width, scores, wide, nullptr, false, 0});
        for (Int row = 0; row < rows; ++row) {
            const Int seen = work.causal ? first + row + 1 : places;
            share_row<W>(scores + row * wide, columns, seen, scale, statistics + first + row,
                         places);
        }
        multiply_rows({rows, width, columns, scores, wide, 1, nullptr, columns,
                       out + first * work.out.place, work.out.place, nullptr, false, 0},
                      value, work.value.place, scratch.rows.data());
    }
}

template <int W>
EVOLUTE_INLINE void head_backward(const Attention& work, Int lane, Int example, Int head,
                                  const float* statistics, float* shares, Scratch& scratch) {
    const float* query = at(work.query, lane, example, head);
    const float* key = at(work.key, lane, example, head);
    const float* gradient = at(work.gradient, lane, example, head);
    const Int places = work.places, width = work.width, wide = padded(places);
    const float scale = static_cast<float>(work.scale);
    float* slopes = scratch.slopes.data();
    if (shares == nullptr) {
        pack_panels({width, places, key, 1, work.key.place, scratch.keys.data()});
    }
    pack_panels({width, places, at(work.value, lane, example, head), 1, work.value.place,
                 scratch.values.data()});
    // The last block first: it reaches all keys, and the others add to what it wrote.
    for (Int first = (places - 1) / block * block; first >= 0; first -= block) {
        const Int rows = places - first < block ? places - first : block;
        const Int columns = work.causal ? first + rows : places;
        const bool add = first + rows < places;
        const float* queries = query + first * work.query.place;
        const float* given = gradient + first * work.gradient.place;
        float* scores = shares != nullptr ? shares + first * wide : scratch.scores.data();
        if (shares == nullptr) {
            multiply({rows, columns, width, queries, work.query.place, 1, scratch.keys.data(),
                      width, scores, wide, nullptr, false, 0});
            for (Int row = 0; row < rows; ++row) {
                const Int place = first + row, seen = work.causal ? place + 1 : places;
                share_again<W>(scores + row * wide, columns, seen, scale, statistics[place],
                               statistics[places + place]);
            }
        }
        multiply({rows, columns, width, given, work.gradient.place, 1, scratch.values.data(),
                  width, slopes, wide, nullptr, false, 0});
        for (Int row = 0; row < rows; ++row) {
            const Int seen = work.causal ? first + row + 1 : places;
            slope_row<W>(scores + row * wide, slopes + row * wide, columns, seen, scale);
        }
        float* own = at(work.of_query, lane, example, head) + first * work.of_query.place;
        multiply_rows({rows, width, columns, slopes, wide, 1, nullptr, columns, own,
                       work.of_query.place, nullptr, false, 0},
                      key, work.key.place, scratch.rows.data());
        multiply_rows({columns, width, rows, scores, 1, wide, nullptr, rows,
                       at(work.of_value, lane, example, head), work.of_value.place, nullptr, add,
                       0},
                      given, work.gradient.place, scratch.rows.data());
        multiply_rows({columns, width, rows, slopes, 1, wide, nullptr, rows,
                       at(work.of_key, lane, example, head), work.of_key.place, nullptr, add, 0},
                      queries, work.query.place, scratch.rows.data());
    }
}

template <int W>
EVOLUTE_INLINE void attention(const Attention& work) {
    const Int wide = padded(work.places);
    Scratch scratch;
    scratch.keys.resize(work.width * wide);
    scratch.values.resize(work.width * wide);
    scratch.rows.resize(work.places * padded(work.width));
    scratch.scores.assign(block * wide, 0.0f);
    scratch.slopes.assign(block * wide, 0.0f);
    float* statistics = work.statistics;
    float* shares = work.shares;
    for (Int lane = 0; lane < work.lanes; ++lane) {
        for (Int example = 0; example < work.examples; ++example) {
            for (Int head = 0; head < work.heads; ++head, statistics += 2 * work.places) {
                if (work.gradient.numbers == nullptr) {
                    head_forward<W>(work, lane, example, head, statistics, shares, scratch);
                } else {
                    head_backward<W>(work, lane, example, head, statistics, shares, scratch);
                }
                if (shares != nullptr) shares += work.places * wide;
            }
        }
    }
}

EVOLUTE_DISPATCH(attention, Attention)

}  // namespace

EVOLUTE_EXPORT void evolute_attention(const Attention* work) { attention_any(*work); }
