// The functions of the language that this library knows, by the names of evolute's function table.
#pragma once

#include <cstdint>

namespace evolute {

// name, number of arguments; the order is that of Opcode and nothing else depends on it.
#define EVOLUTE_ELEMENTWISE(ROW) \
    ROW(identity, 1) ROW(neg, 1) ROW(log, 1) ROW(sqrt, 1) ROW(exp, 1) ROW(abs, 1) \
    ROW(sigmoid, 1) ROW(dsoftsign, 1) ROW(softplus, 1) ROW(erf, 1) ROW(erfc, 1) \
    ROW(arcsinh, 1) ROW(tanh, 1) ROW(arctan, 1) ROW(reciprocal, 1) ROW(bessel_i1e, 1) \
    ROW(max0, 1) ROW(min0, 1) ROW(softsign, 1) ROW(square, 1) ROW(dtanh, 1) ROW(dsigmoid, 1) \
    ROW(sign, 1) \
    ROW(add, 2) ROW(sub, 2) ROW(mul, 2) ROW(max, 2) ROW(min, 2) ROW(div, 2) ROW(div_hypot, 2) \
    ROW(clip, 2) ROW(mix, 2) ROW(abs_pow, 2) ROW(quotient, 2)
#define EVOLUTE_STATEFUL(ROW) \
    ROW(ema, 1) ROW(ema_raw, 1) ROW(delta, 1) ROW(running_max, 1) ROW(previous, 1) \
    ROW(accumulate, 2)
#define EVOLUTE_OTHER(ROW) ROW(dropout, 1) ROW(clip_norm, 1)
#define EVOLUTE_FUNCTIONS(ROW) EVOLUTE_ELEMENTWISE(ROW) EVOLUTE_STATEFUL(ROW) EVOLUTE_OTHER(ROW)

enum class Opcode : std::int32_t {
#define EVOLUTE_NAME(name, arity) name,
    EVOLUTE_FUNCTIONS(EVOLUTE_NAME)
#undef EVOLUTE_NAME
    count,
};

// How the update moves the weight: evolute.lang.rule.Momentum, in its order.
enum class Momentum : std::int32_t { none, momentum, nesterov, nesterov_published, count };

}  // namespace evolute
