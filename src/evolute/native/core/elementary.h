// Functions that are a few machine instructions: the same operations in the same order as the rows
// of evolute's function table, so the results are those of torch to the bit.
//
// Selections are written so that NaN passes: a comparison with NaN is false.
#pragma once

#include "vector.h"

namespace evolute {
namespace EVOLUTE_PATH {

constexpr float epsilon = 1e-7f;  // the ε of the published method

struct identity_ { EVOLUTE_INLINE Floats of(Floats x) { return x; } };
struct neg_ { EVOLUTE_INLINE Floats of(Floats x) { return -x; } };
struct abs_ { EVOLUTE_INLINE Floats of(Floats x) { return magnitude(x); } };
struct sqrt_ {
    static constexpr bool in_turn = true;
    static constexpr float near_from = 0x1p-100f;
    static constexpr float near_below = has_quick_root ? __builtin_inff() : 0.0f;
    EVOLUTE_INLINE Floats near(Floats x) { return quick_square_root(magnitude(x)); }
    EVOLUTE_INLINE Floats of(Floats x) { return square_root(magnitude(x)); }
};
struct square_ { EVOLUTE_INLINE Floats of(Floats x) { return x * x; } };
struct reciprocal_ { EVOLUTE_INLINE Floats of(Floats x) { return all(1.0f) / (x + epsilon); } };
struct dsoftsign_ {
    EVOLUTE_INLINE Floats of(Floats x) { return all(1.0f) / (all(1.0f) + magnitude(x)); }
};
struct softsign_ { EVOLUTE_INLINE Floats of(Floats x) { return x / (all(1.0f) + magnitude(x)); } };
struct max0_ {
    EVOLUTE_INLINE Floats of(Floats x) { return select(x <= all(0.0f), all(0.0f), x); }
};
struct min0_ {
    EVOLUTE_INLINE Floats of(Floats x) { return select(x >= all(0.0f), all(0.0f), x); }
};
struct sign_ { EVOLUTE_INLINE Floats of(Floats x) { return sign_of(x); } };  // as torch has it

struct add_ { EVOLUTE_INLINE Floats of(Floats x, Floats y) { return x + y; } };
struct sub_ { EVOLUTE_INLINE Floats of(Floats x, Floats y) { return x - y; } };
struct mul_ { EVOLUTE_INLINE Floats of(Floats x, Floats y) { return x * y; } };
struct div_ { EVOLUTE_INLINE Floats of(Floats x, Floats y) { return x / (y + epsilon); } };
struct mix_ { EVOLUTE_INLINE Floats of(Floats x, Floats y) { return x * 0.95f + y * 0.05f; } };
struct div_hypot_ {
    EVOLUTE_INLINE Floats under_root(Floats y) { return all(1.0f) + y * y; }
    EVOLUTE_INLINE Floats of(Floats x, Floats y) { return x / square_root(under_root(y)); }
};
struct max_ {
    EVOLUTE_INLINE Floats of(Floats x, Floats y) { return select(x != x, x, greater(x, y)); }
};
struct min_ {
    EVOLUTE_INLINE Floats of(Floats x, Floats y) { return select(x != x, x, lesser(x, y)); }
};
struct clip_ { EVOLUTE_INLINE Floats of(Floats x, Floats y) { return held_within(x, y); } };

struct delta_ {
    static constexpr bool value_is_old = false;
    EVOLUTE_INLINE Floats of(Floats x, Floats old) { return x - old; }
};
struct running_max_ {
    static constexpr bool value_is_old = false;
    EVOLUTE_INLINE Floats of(Floats x, Floats old) { return max_::of(x, old); }
};
struct previous_ {
    static constexpr bool value_is_old = true;
    EVOLUTE_INLINE Floats of(Floats x, Floats) { return x; }
};

}  // namespace EVOLUTE_PATH
}  // namespace evolute
