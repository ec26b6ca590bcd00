// One path: the handlers of all steps, compiled once for each set of machine instructions.
//
// A handler does one step on one tile and calls the handler of the next step in its last statement,
// with the running value in eight vector registers: what compilers turn into a jump. A plan is
// therefore walked without a loop over steps, and a value that only the next step reads is never
// in memory.
#include "kernel.h"

#include <vector>

#include "elementary.h"
#include "special.h"
#include "vector.h"

namespace evolute {
namespace EVOLUTE_PATH {
namespace {

constexpr int vectors = 8;
constexpr int tile = vectors * width;
// How far ahead memory is asked for. The arithmetic of a tile keeps the processor from seeing the
// loads of the next, and its own guesses come too late: a rule of ten operations takes up to twice
// as long at 1e7 floats without (AMD Zen 4; 2 KiB and more are worse).
constexpr int bytes_ahead = 1024;
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

// Argument i of a step: the running value, what memory holds, or one number for all elements.
template <Source S>
struct Reader;
template <>
struct Reader<Source::running> {
    EVOLUTE_INLINE Reader of(const float*, std::ptrdiff_t) { return {}; }
    inline __attribute__((always_inline)) Floats get(const Tile& t, int i) const { return t.v[i]; }
};
template <>
struct Reader<Source::memory> {
    const float* from;
    EVOLUTE_INLINE Reader of(const float* a, std::ptrdiff_t offset) { return {a + offset}; }
    inline __attribute__((always_inline)) Floats get(const Tile&, int i) const {
        return load(from + i * width);
    }
};
template <>
struct Reader<Source::number> {
    Floats value;
    EVOLUTE_INLINE Reader of(const float* a, std::ptrdiff_t) { return {all(*a)}; }
    inline __attribute__((always_inline)) Floats get(const Tile&, int) const { return value; }
};

// Written out for the whole tile, so that vectors stay in registers; doubles, which take twice as
// many, loop over its vectors.
#define EVOLUTE_LIGHT _Pragma("GCC unroll 8") for (int i = 0; i < vectors; ++i)
#define EVOLUTE_HEAVY _Pragma("GCC unroll 1") for (int i = 0; i < vectors; ++i)

template <Source A>
void do_load(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = Reader<A>::of(step->a, at & step->mask_a);
    EVOLUTE_LIGHT t.v[i] = a.get(t, i);
    EVOLUTE_NEXT(t);
}

void do_store(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    const Tile t = EVOLUTE_TILE;
    float* to = step->c + (at & step->mask_c);
    EVOLUTE_LIGHT store(to + i * width, t.v[i]);
    EVOLUTE_NEXT(t);
}

void do_end(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    const Tile t = EVOLUTE_TILE;
    float* to = step->c + (at & step->mask_c);
    EVOLUTE_LIGHT store(to + i * width, t.v[i]);
}

void do_add_squares(const Step* step, std::ptrdiff_t, EVOLUTE_RUNNING) {
    const Tile t = EVOLUTE_TILE;
    constexpr int half = width / 2, parts = sums_of_squares / half;
    static_assert(tile % sums_of_squares == 0, "an element has one sum, wherever its tile begins");
    Doubles sums[parts];
    __builtin_memcpy(sums, step->sums, sizeof sums);
    EVOLUTE_LIGHT {
        const Pair x = widen(t.v[i]);
        Doubles &low = sums[2 * i % parts], &high = sums[(2 * i + 1) % parts];
        low = fma(x.low, x.low, low);
        high = fma(x.high, x.high, high);
    }
    __builtin_memcpy(step->sums, sums, sizeof sums);
}

void do_divide(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const Floats r = all(step->r);
    EVOLUTE_LIGHT t.v[i] = t.v[i] / r;
    EVOLUTE_NEXT(t);
}

template <class F, Source A>
void do_light_unary(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = Reader<A>::of(step->a, at & step->mask_a);
    EVOLUTE_LIGHT t.v[i] = F::of(a.get(t, i));
    EVOLUTE_NEXT(t);
}

template <class F>
void do_double_unary(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    EVOLUTE_HEAVY t.v[i] = F::of(t.v[i]);
    EVOLUTE_NEXT(t);
}

// Near 0, where gradients are, F::near has the bits of F::of for less work.
template <class F>
void do_heavy_unary(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    if constexpr (F::near_below > 0.0f) {
        Ints most = bits(magnitude(t.v[0]));  // as whole numbers, where NaN is the largest
        EVOLUTE_LIGHT most = larger(most, bits(magnitude(t.v[i])));
        if (everywhere(most < bits(all(F::near_below)))) {
            EVOLUTE_LIGHT t.v[i] = F::near(t.v[i]);
            EVOLUTE_NEXT(t);
        }
    }
    EVOLUTE_LIGHT t.v[i] = F::of(t.v[i]);
    EVOLUTE_NEXT(t);
}

template <class F, Source A, Source B>
void do_light_binary(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = Reader<A>::of(step->a, at & step->mask_a);
    const auto b = Reader<B>::of(step->b, at & step->mask_b);
    EVOLUTE_LIGHT t.v[i] = F::of(a.get(t, i), b.get(t, i));
    EVOLUTE_NEXT(t);
}

template <class F, Source A, Source B>
void do_heavy_binary(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = Reader<A>::of(step->a, at & step->mask_a);
    const auto b = Reader<B>::of(step->b, at & step->mask_b);
    EVOLUTE_HEAVY t.v[i] = F::of(a.get(t, i), b.get(t, i));
    EVOLUTE_NEXT(t);
}

template <Source A, Source B>
void do_scaled_sum(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = Reader<A>::of(step->a, at & step->mask_a);
    const auto b = Reader<B>::of(step->b, at & step->mask_b);
    const Floats p = all(step->p), q = all(step->q);
    EVOLUTE_LIGHT t.v[i] = p * a.get(t, i) + q * b.get(t, i);
    EVOLUTE_NEXT(t);
}

// n ← β·n + (1−β)·x, with p = β and q = 1−β; value n·r, r = 1/(1−β^(t+1)) or 1 of ema_raw.
template <bool corrected, Source A, bool keep>
void do_ema(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = Reader<A>::of(step->a, at & step->mask_a);
    float* state = step->c + (at & step->mask_c);
    const Floats p = all(step->p), q = all(step->q), r = all(step->r);
    EVOLUTE_LIGHT {
        const Floats average = fma(p, load(state + i * width), q * a.get(t, i));
        if (keep) store(state + i * width, average);
        t.v[i] = corrected ? average * r : average;
    }
    EVOLUTE_NEXT(t);
}

// F::of(x, n) is the new state; the value is that, or the old state of `previous`.
template <class F, Source A, bool keep>
void do_state(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = Reader<A>::of(step->a, at & step->mask_a);
    float* state = step->c + (at & step->mask_c);
    EVOLUTE_LIGHT {
        const Floats old = load(state + i * width), changed = F::of(a.get(t, i), old);
        if (keep) store(state + i * width, changed);
        t.v[i] = F::value_is_old ? old : changed;
    }
    EVOLUTE_NEXT(t);
}

// n ← y·n + x.
template <Source A, Source B, bool keep>
void do_accumulate(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    Tile t = EVOLUTE_TILE;
    const auto a = Reader<A>::of(step->a, at & step->mask_a);
    const auto b = Reader<B>::of(step->b, at & step->mask_b);
    float* state = step->c + (at & step->mask_c);
    EVOLUTE_LIGHT {
        const Floats changed = fma(b.get(t, i), load(state + i * width), a.get(t, i));
        if (keep) store(state + i * width, changed);
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
template <Momentum M>
void do_apply(const Step* step, std::ptrdiff_t at, EVOLUTE_RUNNING) {
    const Tile t = EVOLUTE_TILE;
    float* weight = const_cast<float*>(step->a) + (at & step->mask_a);
    float* buffer = step->c + (at & step->mask_c);
    const Floats p = all(step->p), q = all(step->q), r = all(step->r);
    EVOLUTE_LIGHT {
        Floats w = load(weight + i * width) * r;
        if (M == Momentum::none) {
            w = fma(p, t.v[i], w);
        } else {
            const Floats m = fma(p, t.v[i], load(buffer + i * width) * q);
            store(buffer + i * width, m);
            w = M == Momentum::nesterov ? fma(q, m, w) : w + m;
            if (M != Momentum::momentum) w = fma(p, t.v[i], w);
        }
        store(weight + i * width, w);
    }
}

template <class T>
auto erased(T handler) {
    return reinterpret_cast<void (*)()>(static_cast<Handler>(handler));
}

template <class F>
auto light_unary(Source a) {
    switch (a) {
        case Source::memory: return erased(do_light_unary<F, Source::memory>);
        case Source::number: return erased(do_light_unary<F, Source::number>);
        default: return erased(do_light_unary<F, Source::running>);
    }
}

#define EVOLUTE_PAIRS(GIVE)                                                                  \
    switch (static_cast<int>(a) * 3 + static_cast<int>(b)) {                                 \
        case 0: return erased(GIVE(Source::running, Source::running));                       \
        case 1: return erased(GIVE(Source::running, Source::memory));                        \
        case 2: return erased(GIVE(Source::running, Source::number));                        \
        case 3: return erased(GIVE(Source::memory, Source::running));                        \
        case 4: return erased(GIVE(Source::memory, Source::memory));                         \
        case 5: return erased(GIVE(Source::memory, Source::number));                         \
        case 6: return erased(GIVE(Source::number, Source::running));                        \
        case 7: return erased(GIVE(Source::number, Source::memory));                         \
        default: return erased(GIVE(Source::number, Source::number));                        \
    }

template <class F>
void (*light_binary(Source a, Source b))() {
#define EVOLUTE_GIVE(A, B) (do_light_binary<F, A, B>)
    EVOLUTE_PAIRS(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

template <class F>
void (*heavy_binary(Source a, Source b))() {
#define EVOLUTE_GIVE(A, B) (do_heavy_binary<F, A, B>)
    EVOLUTE_PAIRS(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

void (*scaled_sum(Source a, Source b))() {
#define EVOLUTE_GIVE(A, B) (do_scaled_sum<A, B>)
    EVOLUTE_PAIRS(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

template <bool keep>
void (*accumulate(Source a, Source b))() {
#define EVOLUTE_GIVE(A, B) (do_accumulate<A, B, keep>)
    EVOLUTE_PAIRS(EVOLUTE_GIVE)
#undef EVOLUTE_GIVE
}

template <bool corrected, bool keep>
auto ema(Source a) {
    switch (a) {
        case Source::memory: return erased(do_ema<corrected, Source::memory, keep>);
        case Source::number: return erased(do_ema<corrected, Source::number, keep>);
        default: return erased(do_ema<corrected, Source::running, keep>);
    }
}

template <class F, bool keep>
auto state(Source a) {
    switch (a) {
        case Source::memory: return erased(do_state<F, Source::memory, keep>);
        case Source::number: return erased(do_state<F, Source::number, keep>);
        default: return erased(do_state<F, Source::running, keep>);
    }
}

void (*function(Opcode opcode, Source a, Source b, bool keep))() {
    switch (opcode) {
#define EVOLUTE_CASE(name) \
    case Opcode::name: return light_unary<name##_>(a);
        EVOLUTE_CASE(identity) EVOLUTE_CASE(neg) EVOLUTE_CASE(sqrt) EVOLUTE_CASE(abs)
        EVOLUTE_CASE(dsoftsign) EVOLUTE_CASE(reciprocal) EVOLUTE_CASE(max0) EVOLUTE_CASE(min0)
        EVOLUTE_CASE(softsign) EVOLUTE_CASE(square) EVOLUTE_CASE(sign)
#undef EVOLUTE_CASE
#define EVOLUTE_CASE(name) \
    case Opcode::name: return erased(do_heavy_unary<name##_>);
        EVOLUTE_CASE(log) EVOLUTE_CASE(exp) EVOLUTE_CASE(sigmoid) EVOLUTE_CASE(softplus)
        EVOLUTE_CASE(erf) EVOLUTE_CASE(arcsinh) EVOLUTE_CASE(tanh) EVOLUTE_CASE(arctan)
        EVOLUTE_CASE(bessel_i1e) EVOLUTE_CASE(dtanh) EVOLUTE_CASE(dsigmoid)
#undef EVOLUTE_CASE
#define EVOLUTE_CASE(name) \
    case Opcode::name: return light_binary<name##_>(a, b);
        EVOLUTE_CASE(add) EVOLUTE_CASE(sub) EVOLUTE_CASE(mul) EVOLUTE_CASE(max) EVOLUTE_CASE(min)
        EVOLUTE_CASE(div) EVOLUTE_CASE(div_hypot) EVOLUTE_CASE(clip) EVOLUTE_CASE(mix)
        EVOLUTE_CASE(quotient)
#undef EVOLUTE_CASE
        case Opcode::erfc: return erased(do_double_unary<erfc_>);
        case Opcode::abs_pow: return heavy_binary<abs_pow_>(a, b);
        case Opcode::ema: return keep ? ema<true, true>(a) : ema<true, false>(a);
        case Opcode::ema_raw: return keep ? ema<false, true>(a) : ema<false, false>(a);
#define EVOLUTE_CASE(name) \
    case Opcode::name: return keep ? state<name##_, true>(a) : state<name##_, false>(a);
        EVOLUTE_CASE(delta) EVOLUTE_CASE(running_max) EVOLUTE_CASE(previous)
#undef EVOLUTE_CASE
        case Opcode::accumulate: return keep ? accumulate<true>(a, b) : accumulate<false>(a, b);
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

void (*extra(Extra what, Source a))() {
    switch (what) {
        case Extra::store: return erased(do_store);
        case Extra::end: return erased(do_end);
        case Extra::add_squares: return erased(do_add_squares);
        case Extra::divide: return erased(do_divide);
        default:
            return a == Source::number ? erased(do_load<Source::number>)
                                       : erased(do_load<Source::memory>);
    }
}

void (*apply(Momentum momentum))() {
    switch (momentum) {
        case Momentum::momentum: return erased(do_apply<Momentum::momentum>);
        case Momentum::nesterov: return erased(do_apply<Momentum::nesterov>);
        case Momentum::nesterov_published: return erased(do_apply<Momentum::nesterov_published>);
        default: return erased(do_apply<Momentum::none>);
    }
}

void walk(const Step* steps, std::ptrdiff_t from, std::ptrdiff_t to,
          const std::vector<const float*>& streams) {
    const auto first = reinterpret_cast<Handler>(steps->run);
    const Floats zero = all(0.0f);
    for (std::ptrdiff_t at = from; at < to; at += tile) {
        for (const float* stream : streams) {
            // Past the end it asks for what nobody reads, which is allowed.
            const char* ahead = reinterpret_cast<const char*>(stream + at) + bytes_ahead;
            for (int i = 0; i < tile; i += 16) __builtin_prefetch(ahead + 4 * i);
        }
        first(steps, at, zero, zero, zero, zero, zero, zero, zero, zero);
    }
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
        EVOLUTE_PATH::scaled_sum,
        EVOLUTE_PATH::apply,
        EVOLUTE_PATH::direct,
        EVOLUTE_PATH::walk,
    };
    return kernel;
}

}  // namespace evolute
