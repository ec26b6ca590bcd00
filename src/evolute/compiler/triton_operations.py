"""What an instruction does to a block: the kernels' branches over the functions of the language.

Light functions are the float32 operations of their rows in their order, each rounded as IEEE 754
says (native/core/elementary.h); the others stand in :mod:`evolute.compiler.triton_functions`.
"""

from __future__ import annotations

from evolute.compiler.triton_functions import (
    EPSILON,
    arcsinh,
    arctangent,
    bell,
    bessel_i1e,
    complementary_error,
    error_function,
    exponential,
    hyperbolic_tangent,
    logarithm,
    magnitude,
    power,
    sigmoid,
    softplus,
)
from evolute.compiler.triton_language import constexpr, jit, tl
from evolute.compiler.triton_program import BINARY, HEAVY, LIGHT, OPCODES, STATEFUL

_NUMBERS = {name: constexpr(at) for at, name in enumerate(OPCODES)}
ADD, SUB, MUL, DIV, MAX, MIN, CLIP, MIX, QUOTIENT, DIV_HYPOT, ABS_POW = (
    _NUMBERS[name] for name in BINARY
)
IDENTITY, NEG, ABS, SQRT, SQUARE, SIGN, MAX0, MIN0, RECIPROCAL, DSOFTSIGN, SOFTSIGN = (
    _NUMBERS[name] for name in LIGHT
)
LOG, EXP, SIGMOID, DSIGMOID, SOFTPLUS, ERF, ERFC, ARCSINH, TANH, DTANH, ARCTAN, BESSEL_I1E = (
    _NUMBERS[name] for name in HEAVY
)
EMA, EMA_RAW, DELTA, RUNNING_MAX, PREVIOUS, ACCUMULATE = (_NUMBERS[name] for name in STATEFUL)
DROPOUT, CLIP_NORM = _NUMBERS["dropout"], _NUMBERS["clip_norm"]


@jit()
def _max(x: tl.tensor, y: tl.tensor) -> tl.tensor:
    return tl.where(x != x, x, tl.where(x > y, x, y))


@jit()
def _min(x: tl.tensor, y: tl.tensor) -> tl.tensor:
    return tl.where(x != x, x, tl.where(x < y, x, y))


@jit()
def _clip(x: tl.tensor, y: tl.tensor) -> tl.tensor:
    bound = magnitude(y)
    least = tl.where(x < bound, x, bound)
    return tl.where(x != x, x, tl.where(least > -bound, least, -bound))


@jit()
def binary(opcode: tl.tensor, x: tl.tensor, y: tl.tensor) -> tl.tensor:
    """Return f(x, y)."""
    if opcode == ADD:
        value = x + y
    elif opcode == SUB:
        value = x - y
    elif opcode == MUL:
        value = x * y
    elif opcode == DIV:
        value = tl.div_rn(x, y + EPSILON)
    elif opcode == MAX:
        value = _max(x, y)
    elif opcode == MIN:
        value = _min(x, y)
    elif opcode == CLIP:
        value = _clip(x, y)
    elif opcode == MIX:
        value = x * 0.95 + y * 0.05
    elif opcode == QUOTIENT:
        value = tl.div_rn(x, y + 0.0)
    elif opcode == DIV_HYPOT:
        value = tl.div_rn(x, tl.sqrt_rn(y * y + 1.0))
    else:
        value = power(x, y)
    return value


@jit()
def light(opcode: tl.tensor, x: tl.tensor) -> tl.tensor:
    """Return f(x) of a few machine instructions."""
    one = tl.zeros_like(x) + 1.0
    if opcode == IDENTITY:
        value = x
    elif opcode == NEG:
        value = -x
    elif opcode == ABS:
        value = magnitude(x)
    elif opcode == SQRT:
        value = tl.sqrt_rn(magnitude(x))
    elif opcode == SQUARE:
        value = x * x
    elif opcode == SIGN:
        value = tl.where(x > 0.0, 1.0, tl.where(x < 0.0, -1.0, 0.0))
    elif opcode == MAX0:
        value = tl.where(x <= 0.0, 0.0, x)
    elif opcode == MIN0:
        value = tl.where(x >= 0.0, 0.0, x)
    elif opcode == RECIPROCAL:
        value = tl.div_rn(one, x + EPSILON)
    elif opcode == DSOFTSIGN:
        value = tl.div_rn(one, magnitude(x) + 1.0)
    else:
        value = tl.div_rn(x, magnitude(x) + 1.0)
    return value


@jit()
def heavy(opcode: tl.tensor, x: tl.tensor) -> tl.tensor:
    """Return f(x) that is approximated."""
    if opcode == LOG:
        value = logarithm(x)
    elif opcode == EXP:
        value = exponential(x)
    elif opcode == SIGMOID:
        value = sigmoid(x)
    elif opcode == DSIGMOID:
        value = bell(exponential(-magnitude(x)))
    elif opcode == SOFTPLUS:
        value = softplus(x)
    elif opcode == ERF:
        value = error_function(x)
    elif opcode == ERFC:
        value = complementary_error(x)
    elif opcode == ARCSINH:
        value = arcsinh(x)
    elif opcode == TANH:
        value = hyperbolic_tangent(x)
    elif opcode == DTANH:
        value = bell(exponential(magnitude(x) * -2.0)) * 4.0
    elif opcode == ARCTAN:
        value = arctangent(x)
    else:
        value = bessel_i1e(x)
    return value


@jit()
def changed_state(
    opcode: tl.tensor, x: tl.tensor, y: tl.tensor, old: tl.tensor, beta: tl.tensor
) -> tl.tensor:
    """Return the new state n of a stateful function; β is a double."""
    if (opcode == EMA) | (opcode == EMA_RAW):
        # n ← β·n + (1−β)·x
        changed = old * beta.to(tl.float32) + x * (1.0 - beta).to(tl.float32)
    elif opcode == DELTA:
        changed = x - old
    elif opcode == RUNNING_MAX:
        changed = _max(x, old)
    elif opcode == PREVIOUS:
        changed = x
    else:
        changed = y * old + x
    return changed


@jit()
def dropped(x: tl.tensor, noise: tl.tensor, rate: tl.tensor) -> tl.tensor:
    """Return x/(1−rate) where the noise is at least the rate, else 0; noise and rate are double."""
    kept = tl.zeros_like(x) + (1.0 - rate).to(tl.float32)
    return tl.where(noise >= rate, tl.div_rn(x, kept), 0.0)


@jit()
def clipped(x: tl.tensor, norm: tl.tensor) -> tl.tensor:
    """Return x divided by a norm, a double that may be larger than any float."""
    single = tl.zeros_like(x) + norm.to(tl.float32)
    in_double = (x.to(tl.float64) / norm).to(tl.float32)
    return tl.where(single < float("inf"), tl.div_rn(x, single), in_double)
