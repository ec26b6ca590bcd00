// One path: the handlers of all steps, compiled once for each set of machine instructions.
//
// A handler does one step on one tile and calls the handler of the next step in its last statement,
// with the running value in eight vector registers: what compilers turn into a jump. A plan is
// therefore walked without a loop over steps, and a value that only the next step reads is never
// in memory.
#include "kernel.h"

#include "elementary.h"
#include "special.h"
#include "vector.h"

namespace evolute {
namespace EVOLUTE_PATH {
namespace {

constexpr int vectors = 8;
constexpr int tile = vectors * width;
static_assert(tile <= largest_tile, "scratch tiles hold a tile of every path");

#define EVOLUTE_RUNNING                                                                    \
    Floats x0, Floats x1, Floats x2, Floats x3, Floats x4, Floats x5, Floats x6, Floats x7
using Handler = void (*)(const Step*, std::ptrdiff_t, EVOLUTE_RUNNING);

struct Tile {
    Floats v[vectors];
};

#define EVOLUTE_TILE {{x0, x1, x2, x3, x4, x5, x6, x7}}
#define EVOLUTE_NEXT(t)                                                                    \
    return reinterpret_cast<Handler>(step[1].run)(step + 1, at, t.v[0], t.v[1], t.v[2],   \
                                                  t.v[3], t.v[4], t.v[5], t.v[6], t.v[7])

// Argument i of a step: the running value, what memory holds, that times a number, one number for
// all elements, or a sign.
template <Source S>
struct Reader;
template <>
struct Reader<Source::running> {
    EVOLUTE_INLINE Reader of(const float*, std::ptrdiff_t, float) { return {}; }
    inline __attribute__((always_inline)) Floats get(const Tile& t, int i) const { return t.v[i]; }
};
template <>
struct Reader<Source::memory> {
    const float* from;
    EVOLUTE_INLINE Reader of(const float* a, std::ptrdiff_t offset, float) { return {a + offset}; }
    inline __attribute__((always_inline)) Floats get(const Tile&, int i) const {
        return load(from + i * width);
    }
};
template <>
struct Reader<Source::scaled> {
    const float* from;
    Floats scale;
    EVOLUTE_INLINE Reader of(const float* a, std::ptrdiff_t offset, float scale) {
        return {a + offset, all(scale)};
    }
    inline __attribute__((always_inline)) Floats get(const Tile&, int i) const {
        return load(from + i * width) * scale;
    }
};
template <>
struct Reader<Source::number> {
    Floats value;
    EVOLUTE_INLINE Reader of(const float* a, std::ptrdiff_t, float) { return {all(*a)}; }
    inline __attribute__((always_inline)) Floats get(const Tile&, int) const { return value; }
};

template <>
struct Reader<Source::running_sign> {
    EVOLUTE_INLINE Reader of(const float*, std::ptrdiff_t, float) { return {}; }
    inline __attribute__((always_inline)) Floats get(const Tile& t, int i) const {
        return sign_of(t.v[i]);
    }
};
template <>
struct Reader<Source::memory_sign> {
    const float* from;
    EVOLUTE_INLINE Reader of(const float* a, std::ptrdiff_t offset, float) { return {a + offset}; }
    inline __attribute__((always_inline)) Floats get(const Tile&, int i) const {
        return sign_of(load(from + i * width));
    }
};

template <Source S>
EVOLUTE_INLINE Reader<S> first(const Step* step, std::ptrdiff_t at) {
    return Reader<S>::of(step->a, at & step->mask_a, step->scale_a);
}
template <Source S>
EVOLUTE_INLINE Reader<S> second(const Step* step, std::ptrdiff_t at) {
    return Reader<S>::of(step->b, at & step->mask_b, step->scale_b);
}

// Written out for the whole tile, so that vectors stay in registers; doubles, which take twice as
// many, loop over its vectors.
#define EVOLUTE_LIGHT _Pragma("GCC unroll 8") for (int i = 0; i < vectors; ++i)
#define EVOLUTE_HEAVY _Pragma("GCC unroll 1") for (int i = 0; i < vectors; ++i)

template <Source A>
void do_load(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = first<A>(step, at);
    EVOLUTE_LIGHT t.v[i] = a.get(t, i);
    EVOLUTE_NEXT(t);
}

void do_store(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    const Tile t = EVOLUTE_TILE;
    float* to = step->c + (at & step->mask_c);
    EVOLUTE_LIGHT store(to + i * width, t.v[i]);
    EVOLUTE_NEXT(t);
}

template <Source A>
void do_end(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    const Tile t = EVOLUTE_TILE;
    const auto a = first<A>(step, at);
    float* to = step->c + (at & step->mask_c);
    EVOLUTE_LIGHT store(to + i * width, a.get(t, i));
}

// How many vectors of doubles hold the sums of squares.
constexpr int sum_vectors = sums_of_squares / (width / 2);

// Adds the squares of a tile to sums, element i to sum i mod 8. The four of one sum among 32 elements
// are added as floats first, so that fewer are widened: three roundings, which the bound of clip_norm
// has room for where fma rounds once. Where they overflow, and elsewhere, all are widened.
template <class R>
EVOLUTE_INLINE void add_squares(const R& a, const Tile& t, Doubles* sums) {
    if constexpr (rounds_once) {
        constexpr int group = 4 * sums_of_squares / width;
        static_assert(vectors % group == 0 && group >= 2, "a tile holds whole groups");
        Doubles found[sum_vectors];
        __builtin_memcpy(found, sums, sizeof found);
        EVOLUTE_LIGHT {
            if (i % group >= (group + 3) / 4) continue;
            const auto two = [&](int at) {
                const Floats x = a.get(t, at), y = a.get(t, at + group / 2);
                return fma(x, x, y * y);
            };
            if constexpr (group == 2) {
                found[0] += widened_sum_of_halves(two(i));
            } else {
                const Pair four = widen(two(i) + two(i + group / 4));
                found[2 * (i % group)] += four.low;
                found[2 * (i % group) + 1] += four.high;
            }
        }
        Doubles all_of = found[0];
        for (int i = 1; i < sum_vectors; ++i) all_of += found[i];
        if (all_below(all_of, __builtin_inf())) {
            __builtin_memcpy(sums, found, sizeof found);
            return;
        }
    }
    EVOLUTE_LIGHT {
        const Pair x = widen(a.get(t, i));
        Doubles &low = sums[2 * i % sum_vectors], &high = sums[(2 * i + 1) % sum_vectors];
        low = fma(x.low, x.low, low);
        high = fma(x.high, x.high, high);
    }
}

template <Source A>
void do_add_squares(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    const Tile t = EVOLUTE_TILE;
    Doubles sums[sum_vectors];
    __builtin_memcpy(sums, step->sums, sizeof sums);
    add_squares(first<A>(step, at), t, sums);
    __builtin_memcpy(step->sums, sums, sizeof sums);
}

// The same for many tiles, without a way to memory and back for the sums of each.
template <Source A>
void squares(const Step* step, std::ptrdiff_t from, std::ptrdiff_t to) {
    const Tile none = {};
    Doubles sums[sum_vectors];
    __builtin_memcpy(sums, step->sums, sizeof sums);
    for (std::ptrdiff_t at = from; at < to; at += tile) add_squares(first<A>(step, at), none, sums);
    __builtin_memcpy(step->sums, sums, sizeof sums);
}

// x·(p + q), p and q a number in two parts of one sign, q the smaller by far: 0 keeps its sign.
void do_scale(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const Floats p = all(step->p), q = all(step->q);
    EVOLUTE_LIGHT t.v[i] = fma(t.v[i], p, t.v[i] * q);
    EVOLUTE_NEXT(t);
}

template <class F, Source A>
void do_light_unary(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = first<A>(step, at);
    EVOLUTE_LIGHT t.v[i] = F::of(a.get(t, i));
    EVOLUTE_NEXT(t);
}

template <class F>
void do_double_unary(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    EVOLUTE_HEAVY t.v[i] = F::of(t.v[i]);
    EVOLUTE_NEXT(t);
}

// The bits of a magnitude as a whole number that grows with its distance above `from`, and past all
// such numbers below it; NaN is the largest magnitude.
EVOLUTE_INLINE Ints above(Floats from, Floats x) {
    typedef std::uint32_t Words __attribute__((vector_size(vector_bytes)));
    const Words least = reinterpret_cast<Words>(bits(from)) + 0x80000000u;
    return reinterpret_cast<Ints>(reinterpret_cast<Words>(bits(magnitude(x))) - least);
}

// Where a function is computed by two parts of the processor in turn: whether by the divider.
constexpr bool is_divided(int i) { return i % 2 == 1; }

// Whether F::near holds in a whole tile, or where it is asked for. It makes NaN of NaN, which may be
// overlooked.
template <class F>
EVOLUTE_INLINE bool is_near(const Tile& t) {
    if constexpr (F::in_turn) {
        const Floats from = all(F::near_from);
        Ints most = above(from, t.v[0]);
        EVOLUTE_LIGHT if (!is_divided(i)) most = larger(most, above(from, t.v[i]));
        return all_below(most, above(from, all(F::near_below)));
    } else {
        Floats most = magnitude(t.v[0]);
        EVOLUTE_LIGHT most = larger_magnitude(most, t.v[i]);
        return all_below(most, F::near_below);
    }
}

template <class F>
__attribute__((noinline)) void do_far(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    EVOLUTE_LIGHT t.v[i] = F::of(t.v[i]);
    EVOLUTE_NEXT(t);
}

// Near 0, where gradients are, or not too near, F::near has the bits of F::of for less work. Where
// the two use different parts of the processor they take turns. What needs many registers for the
// rest has that apart, as the way to memory and back would cost here too.
template <class F, Source A>
void do_heavy_unary(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = first<A>(step, at);
    EVOLUTE_LIGHT t.v[i] = a.get(t, i);
    if constexpr (F::near_below > 0.0f) {
        if (is_near<F>(t)) {
            EVOLUTE_LIGHT t.v[i] = F::in_turn && is_divided(i) ? F::of(t.v[i]) : F::near(t.v[i]);
            EVOLUTE_NEXT(t);
        }
    }
    if constexpr (F::in_turn) {
        EVOLUTE_LIGHT t.v[i] = F::of(t.v[i]);
        EVOLUTE_NEXT(t);
    }
    return do_far<F>(step, at, t.v[0], t.v[1], t.v[2], t.v[3], t.v[4], t.v[5], t.v[6], t.v[7]);
}

// A function of signs, that is of −1, 0 and 1: p, q and r are its values there.
template <bool odd>
void do_of_signs(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const Floats p = all(step->p), q = all(step->q), r = all(step->r), zero = all(0.0f);
    EVOLUTE_LIGHT {
        const Floats x = t.v[i], not_above = select(x < zero, p, odd ? x : q);  // 0 keeps its sign
        t.v[i] = select(x > zero, r, not_above);
    }
    EVOLUTE_NEXT(t);
}

template <class F, Source A, Source B>
void do_light_binary(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = first<A>(step, at);
    const auto b = second<B>(step, at);
    EVOLUTE_LIGHT t.v[i] = F::of(a.get(t, i), b.get(t, i));
    EVOLUTE_NEXT(t);
}

template <class F, Source A, Source B>
void do_heavy_binary(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = first<A>(step, at);
    const auto b = second<B>(step, at);
    EVOLUTE_HEAVY t.v[i] = F::of(a.get(t, i), b.get(t, i));
    EVOLUTE_NEXT(t);
}

template <Sum S, Source A, Source B>
void do_sum(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = first<A>(step, at);
    const auto b = second<B>(step, at);
    const Floats p = all(step->p), q = all(step->q);
    EVOLUTE_LIGHT {
        const Floats x = a.get(t, i), product = q * (S == Sum::of_one ? x : b.get(t, i));
        if constexpr (S == Sum::of_one) t.v[i] = p * x + product;
        if constexpr (S == Sum::of_products) t.v[i] = p * x + product;
        if constexpr (S == Sum::with_product) t.v[i] = x + product;
        if constexpr (S == Sum::from_product) t.v[i] = product - x;
    }
    EVOLUTE_NEXT(t);
}

// x/√(1+y²); of finite squares roots are found in turn as those of do_heavy_unary.
template <Source A, Source B>
void do_div_hypot(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = first<A>(step, at);
    const auto b = second<B>(step, at);
    if constexpr (has_quick_root && B != Source::number) {
        Tile s;
        EVOLUTE_LIGHT s.v[i] = div_hypot_::under_root(b.get(t, i));
        Floats most = s.v[0];
        EVOLUTE_LIGHT if (!is_divided(i)) most = larger_magnitude(most, s.v[i]);
        if (all_below(most, infinity)) {
            EVOLUTE_LIGHT {
                const Floats root = is_divided(i) ? square_root(s.v[i]) : quick_square_root(s.v[i]);
                t.v[i] = a.get(t, i) / root;
            }
            EVOLUTE_NEXT(t);
        }
    }
    EVOLUTE_LIGHT t.v[i] = div_hypot_::of(a.get(t, i), b.get(t, i));
    EVOLUTE_NEXT(t);
}

// x/(y + q): q is 0, which makes a denominator of −0 one of 0, or what is added to y first.
template <Source A, Source B>
void do_quotient(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = first<A>(step, at);
    const auto b = second<B>(step, at);
    const Floats q = all(step->q);
    EVOLUTE_LIGHT t.v[i] = a.get(t, i) / (b.get(t, i) + q);
    EVOLUTE_NEXT(t);
}

// n ← β·n + (1−β)·x, with p = β and q = 1−β; value n·r, r = 1/(1−β^(t+1)) or 1 of ema_raw.
template <bool corrected, Source A>
void do_ema(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = first<A>(step, at);
    float* state = step->c + (at & step->mask_c);
    const Floats p = all(step->p), q = all(step->q), r = all(step->r);
    EVOLUTE_LIGHT {
        const Floats average = fma(p, load(state + i * width), q * a.get(t, i));
        store(state + i * width, average);
        t.v[i] = corrected ? average * r : average;
    }
    EVOLUTE_NEXT(t);
}

// F::of(x, n) is the new state; the value is that, or the old state of `previous`.
template <class F, Source A>
void do_state(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = first<A>(step, at);
    float* state = step->c + (at & step->mask_c);
    EVOLUTE_LIGHT {
        const Floats old = load(state + i * width), changed = F::of(a.get(t, i), old);
        store(state + i * width, changed);
        t.v[i] = F::value_is_old ? old : changed;
    }
    EVOLUTE_NEXT(t);
}

// n ← y·n + x.
template <Source A, Source B>
void do_accumulate(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = first<A>(step, at);
    const auto b = second<B>(step, at);
    float* state = step->c + (at & step->mask_c);
    EVOLUTE_LIGHT {
        const Floats changed = fma(b.get(t, i), load(state + i * width), a.get(t, i));
        store(state + i * width, changed);
        t.v[i] = changed;
    }
    EVOLUTE_NEXT(t);
}

// x·r where noise ≥ rate, else 0, with r the divisor 1−rate.
void do_dropout(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const double* noise = step->noise + (at & step->mask_b);
    const Floats kept = all(step->r);
    EVOLUTE_HEAVY {
        Floats passes;
        for (int j = 0; j < width; ++j) passes[j] = noise[i * width + j] >= step->number ? 1.0f : 0.0f;
        t.v[i] = select(passes != all(0.0f), t.v[i] / kept, all(0.0f));
    }
    EVOLUTE_NEXT(t);
}

// x divided by a norm that no float can hold.
void do_clip_norm(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const Doubles norm = all_doubles(step->number);
    EVOLUTE_HEAVY {
        const Pair x = widen(t.v[i]);
        t.v[i] = narrow({x.low / norm, x.high / norm});
    }
    EVOLUTE_NEXT(t);
}

// The four equations of Momentum, with p = −rate, q = μ, r = shrink; a is the weight, c the buffer.
template <Momentum M, bool shrinks>
void do_apply(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    const Tile t = EVOLUTE_TILE;
    float* weight = const_cast<float*>(step->a) + (at & step->mask_a);
    float* buffer = step->c + (at & step->mask_c);
    const Floats p = all(step->p), q = all(step->q), r = all(step->r);
    EVOLUTE_LIGHT {
        Floats w = load(weight + i * width);
        if (shrinks) w = w * r;
        if (M == Momentum::none) {
            w = fma(p, t.v[i], w);
        } else {
            // Sums and products go to different parts of the processor.
            const Floats change = p * t.v[i], m = fma(q, load(buffer + i * width), change);
            store(buffer + i * width, m);
            w = M == Momentum::nesterov ? fma(q, m, w) : w + m;
            if (M != Momentum::momentum) w = w + change;
        }
        store(weight + i * width, w);
    }
}

template <class T>
auto erased(T handler) {
    return reinterpret_cast<void (*)()>(static_cast<Handler>(handler));
}

#define EVOLUTE_SOURCES(GIVE)                                  \
    switch (a) {                                               \
        case Source::memory: return erased(GIVE(Source::memory)); \
        case Source::scaled: return erased(GIVE(Source::scaled)); \
        case Source::number: return erased(GIVE(Source::number)); \
        default: return erased(GIVE(Source::running));         \
    }

#define EVOLUTE_SECONDS(GIVE, A)                                     \
    switch (b) {                                                     \
        case Source::memory: return erased(GIVE(A, Source::memory)); \
        case Source::scaled: return erased(GIVE(A, Source::scaled)); \
        case Source::number: return erased(GIVE(A, Source::number)); \
        default: return erased(GIVE(A, Source::running));            \
    }

#define EVOLUTE_PAIRS(GIVE)                                      \
    switch (a) {                                                 \
        case Source::memory: EVOLUTE_SECONDS(GIVE, Source::memory) \
        case Source::scaled: EVOLUTE_SECONDS(GIVE, Source::scaled) \
        case Source::number: EVOLUTE_SECONDS(GIVE, Source::number) \
        default: EVOLUTE_SECONDS(GIVE, Source::running)          \
    }

// The same where signs are read too.
#define EVOLUTE_SIGNED(GIVE)                                                     \
    switch (a) {                                                                 \
        case Source::memory_sign: EVOLUTE_SIGNED_SECONDS(GIVE, Source::memory_sign)   \
        case Source::running_sign: EVOLUTE_SIGNED_SECONDS(GIVE, Source::running_sign) \
        case Source::memory: EVOLUTE_SIGNED_SECONDS(GIVE, Source::memory)        \
        case Source::scaled: EVOLUTE_SIGNED_SECONDS(GIVE, Source::scaled)        \
        case Source::number: EVOLUTE_SIGNED_SECONDS(GIVE, Source::number)        \
        default: EVOLUTE_SIGNED_SECONDS(GIVE, Source::running)                   \
    }

#define EVOLUTE_SIGNED_SECONDS(GIVE, A)                                          \
    switch (b) {                                                                 \
        case Source::memory_sign: return erased(GIVE(A, Source::memory_sign));   \
        case Source::running_sign: return erased(GIVE(A, Source::running_sign)); \
        default: EVOLUTE_SECONDS(GIVE, A)                                        \
    }

template <class F>
void (*light_unary(Source a))() {
#define EVOLUTE_GIVE(A) (do_light_unary<F, A>)
    EVOLUTE_SOURCES(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

struct divided_root_ { EVOLUTE_INLINE Floats of(Floats x) { return sqrt_::of(x); } };
void (*divided_root(Source a))() {
#define EVOLUTE_GIVE(A) (do_light_unary<divided_root_, A>)
    EVOLUTE_SOURCES(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

void (*root(Source a))() {
#define EVOLUTE_GIVE(A) (do_heavy_unary<sqrt_, A>)
    EVOLUTE_SOURCES(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

template <class F>
void (*light_binary(Source a, Source b))() {
#define EVOLUTE_GIVE(A, B) (do_light_binary<F, A, B>)
    EVOLUTE_PAIRS(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

void (*product(Source a, Source b))() {
#define EVOLUTE_GIVE(A, B) (do_light_binary<mul_, A, B>)
    EVOLUTE_SIGNED(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

void (*div_hypot(Source a, Source b))() {
#define EVOLUTE_GIVE(A, B) (do_div_hypot<A, B>)
    EVOLUTE_PAIRS(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

void (*quotient(Source a, Source b))() {
#define EVOLUTE_GIVE(A, B) (do_quotient<A, B>)
    EVOLUTE_PAIRS(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

template <class F>
void (*heavy_binary(Source a, Source b))() {
#define EVOLUTE_GIVE(A, B) (do_heavy_binary<F, A, B>)
    EVOLUTE_PAIRS(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

template <Sum S>
void (*sum(Source a, Source b))() {
#define EVOLUTE_GIVE(A, B) (do_sum<S, A, B>)
    EVOLUTE_SIGNED(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

void (*sum_of_one(Source a))() {
#define EVOLUTE_GIVE(A) (do_sum<Sum::of_one, A, Source::running>)
    EVOLUTE_SOURCES(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

void (*sum(Sum shape, Source a, Source b))() {
    switch (shape) {
        case Sum::of_one: return sum_of_one(a);
        case Sum::with_product: return sum<Sum::with_product>(a, b);
        case Sum::from_product: return sum<Sum::from_product>(a, b);
        default: return sum<Sum::of_products>(a, b);
    }
}

void (*accumulate(Source a, Source b))() {
#define EVOLUTE_GIVE(A, B) (do_accumulate<A, B>)
    EVOLUTE_PAIRS(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

template <bool corrected>
void (*ema(Source a))() {
#define EVOLUTE_GIVE(A) (do_ema<corrected, A>)
    EVOLUTE_SOURCES(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

template <class F>
void (*state(Source a))() {
#define EVOLUTE_GIVE(A) (do_state<F, A>)
    EVOLUTE_SOURCES(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

void (*function(Opcode opcode, Source a, Source b))() {
    switch (opcode) {
#define EVOLUTE_CASE(name) \
    case Opcode::name: return light_unary<name##_>(a);
        EVOLUTE_CASE(identity) EVOLUTE_CASE(neg) EVOLUTE_CASE(abs)
        EVOLUTE_CASE(dsoftsign) EVOLUTE_CASE(reciprocal) EVOLUTE_CASE(max0) EVOLUTE_CASE(min0)
        EVOLUTE_CASE(softsign) EVOLUTE_CASE(square) EVOLUTE_CASE(sign)
#undef EVOLUTE_CASE
#define EVOLUTE_CASE(name) \
    case Opcode::name: return erased(do_heavy_unary<name##_, Source::running>);
        EVOLUTE_CASE(log) EVOLUTE_CASE(exp) EVOLUTE_CASE(sigmoid) EVOLUTE_CASE(softplus)
        EVOLUTE_CASE(erf) EVOLUTE_CASE(arcsinh) EVOLUTE_CASE(tanh) EVOLUTE_CASE(arctan)
        EVOLUTE_CASE(bessel_i1e) EVOLUTE_CASE(dtanh) EVOLUTE_CASE(dsigmoid)
#undef EVOLUTE_CASE
#define EVOLUTE_CASE(name) \
    case Opcode::name: return light_binary<name##_>(a, b);
        EVOLUTE_CASE(add) EVOLUTE_CASE(sub) EVOLUTE_CASE(max) EVOLUTE_CASE(min)
        EVOLUTE_CASE(div) EVOLUTE_CASE(clip) EVOLUTE_CASE(mix)
#undef EVOLUTE_CASE
        case Opcode::mul: return product(a, b);
        case Opcode::div_hypot: return div_hypot(a, b);
        case Opcode::quotient: return quotient(a, b);
        case Opcode::sqrt: return root(a);
        case Opcode::erfc: return erased(do_double_unary<erfc_>);
        case Opcode::abs_pow: return heavy_binary<abs_pow_>(a, b);
        case Opcode::ema: return ema<true>(a);
        case Opcode::ema_raw: return ema<false>(a);
#define EVOLUTE_CASE(name) \
    case Opcode::name: return state<name##_>(a);
        EVOLUTE_CASE(delta) EVOLUTE_CASE(running_max) EVOLUTE_CASE(previous)
#undef EVOLUTE_CASE
        case Opcode::accumulate: return accumulate(a, b);
        case Opcode::dropout: return erased(do_dropout);
        case Opcode::clip_norm: return erased(do_clip_norm);
        default: return nullptr;
    }
}

bool direct(Opcode opcode) {
    switch (opcode) {
        case Opcode::log: case Opcode::exp: case Opcode::sigmoid: case Opcode::softplus:
        case Opcode::erf: case Opcode::erfc: case Opcode::arcsinh: case Opcode::tanh:
        case Opcode::arctan: case Opcode::bessel_i1e: case Opcode::dtanh: case Opcode::dsigmoid:
        case Opcode::dropout: case Opcode::clip_norm:
            return false;
        default: return true;
    }
}

void (*load_from(Source a))() {
#define EVOLUTE_GIVE(A) (do_load<A>)
    EVOLUTE_SOURCES(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

void (*end_with(Source a))() {
#define EVOLUTE_GIVE(A) (do_end<A>)
    EVOLUTE_SOURCES(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

void (*add_squares_of(Source a))() {
#define EVOLUTE_GIVE(A) (do_add_squares<A>)
    EVOLUTE_SOURCES(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

void (*extra(Extra what, Source a))() {
    switch (what) {
        case Extra::store: return erased(do_store);
        case Extra::end: return end_with(a);
        case Extra::add_squares: return add_squares_of(a);
        case Extra::divided_root: return divided_root(a);
        case Extra::scale: return erased(do_scale);
        case Extra::of_signs: return erased(do_of_signs<false>);
        case Extra::odd_of_signs: return erased(do_of_signs<true>);
        default: return load_from(a);
    }
}

template <bool shrinks>
void (*apply(Momentum momentum))() {
    switch (momentum) {
        case Momentum::momentum: return erased(do_apply<Momentum::momentum, shrinks>);
        case Momentum::nesterov: return erased(do_apply<Momentum::nesterov, shrinks>);
        case Momentum::nesterov_published:
            return erased(do_apply<Momentum::nesterov_published, shrinks>);
        default: return erased(do_apply<Momentum::none, shrinks>);
    }
}

void (*apply(Momentum momentum, bool shrinks))() {
    return shrinks ? apply<true>(momentum) : apply<false>(momentum);
}

void walk(const Step* steps, std::ptrdiff_t from, std::ptrdiff_t to) {
    const auto first = reinterpret_cast<Handler>(steps->run);
    const Floats zero = all(0.0f);
    // Memory is not asked for ahead: the processor's own guesses are better (AMD Zen 4; prefetches
    // of all that a tile reads took a tenth more at 1e7 floats and up to 0.4 times more at 1e6).
    for (std::ptrdiff_t at = from; at < to; at += tile) {
        first(steps, at, zero, zero, zero, zero, zero, zero, zero, zero);
    }
}

void walk_squares(Source a, const Step* step, std::ptrdiff_t from, std::ptrdiff_t to) {
    a == Source::scaled ? squares<Source::scaled>(step, from, to)
                        : squares<Source::memory>(step, from, to);
}

}  // namespace
}  // namespace EVOLUTE_PATH

#define EVOLUTE_JOIN(a, b) a##b
#define EVOLUTE_KERNEL(path) EVOLUTE_JOIN(kernel_, path)
#define EVOLUTE_TEXT_(a) #a
#define EVOLUTE_TEXT(a) EVOLUTE_TEXT_(a)

const Kernel& EVOLUTE_KERNEL(EVOLUTE_PATH)() {
    static constexpr Kernel kernel = {
        EVOLUTE_TEXT(EVOLUTE_PATH),
        EVOLUTE_PATH::tile,
        EVOLUTE_PATH::function,
        EVOLUTE_PATH::extra,
        EVOLUTE_PATH::sum,
        EVOLUTE_PATH::apply,
        EVOLUTE_PATH::direct,
        EVOLUTE_PATH::walk,
        EVOLUTE_PATH::walk_squares,
    };
    return kernel;
}

}  // namespace evolute
