"""What hostile numbers cost the native core, and their neighbours.

``python -m perf.native_hostile`` times one step of 1e5 floats, function by function, where the
numbers it reads are of the size of gradients, of size 1, denormal, huge, infinite or NaN, and where
one in 128 is huge among those of the size of gradients. One thread; medians of interleaved repeats,
in time of the processor; a JSON line each, in nanoseconds per float.
"""

from __future__ import annotations

import json

import torch
from torch import Tensor

from evolute.compiler.native import status
from evolute.lang.rule import Rule
from perf.native import drawn, native_step
from perf.native_zoo import medians

FUNCTIONS = (
    *("sqrt", "log", "exp", "sigmoid", "softplus", "erf", "erfc", "arcsinh", "tanh", "arctan"),
    *("bessel_i1e", "reciprocal", "softsign", "abs"),
)
COUNT = 100_000
EVERY = 128


def numbers() -> dict[str, Tensor]:
    """Return numbers of each kind."""
    small, one = drawn(COUNT, scale=0.01, seed=1), drawn(COUNT, scale=1.0, seed=1)
    mixed = small.clone()
    mixed[::EVERY] = 1e30
    return {
        "like gradients": small,
        "of size 1": one,
        "denormal": one * 1e-40,
        "huge": one * 1e30,
        "infinite": one * torch.inf,
        "NaN": one * torch.nan,
        f"one in {EVERY} huge": mixed,
    }


def main() -> None:
    """Time each function on each kind."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, native core: {status().reason}")
    for name in FUNCTIONS:
        rule = Rule.parse(f"none: {name}(ema_raw(g, 0.5))*w")
        steps = {kind: native_step(rule, each) for kind, each in numbers().items()}
        found = {kind: round(each / COUNT * 1e9, 3) for kind, each in medians(steps).items()}
        print(json.dumps({"function": name, "ns": found}), flush=True)


if __name__ == "__main__":
    main()
