"""How exact the functions of the native core are: one bound for each, held by tests/native."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_EXACT = (
    *("identity", "neg", "abs", "sqrt", "square", "sign", "max0", "min0", "reciprocal"),
    *("dsoftsign", "softsign", "add", "sub", "mul", "max", "min", "div", "div_hypot", "clip"),
    *("mix", "quotient", "delta", "running_max", "previous"),
)
"""The float32 operations of the row in its order."""

BOUNDS: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(_EXACT, 0.0),
        # Approximated; |x| + ε of the logarithm is rounded to a float first.
        "log": 1.0,
        "exp": 1.0,
        "sigmoid": 2.5,
        "dsigmoid": 4.0,
        "softplus": 3.0,
        "erf": 1.5,
        "erfc": 1.0,
        "arcsinh": 3.0,
        "tanh": 1.5,
        "dtanh": 4.0,
        "arctan": 2.0,
        "bessel_i1e": 4.0,
        "abs_pow": 1.0,
        "dropout": 1.0,
        "clip_norm": 2.0,
        # Of the sum of magnitudes of what they add, as the terms may cancel; of ema times its bias
        # correction, which multiplies the error of a denormal average too.
        "ema": 3.0,
        "ema_raw": 2.0,
        "accumulate": 1.0,
    }
)
"""Largest error of each function of the native core, in units in the last place of a float32.

It is against the exact value of the row's formula at float32 arguments, over all floats, on every
instruction set. 0 says that the result is that of the row in float32 operations, each rounded as
IEEE 754 says: torch's to the bit but for square roots. NaN and infinity are as in torch.
Derivatives of tanh and sigmoid keep these bounds where torch's formula cancels.
"""
