"""Speed of the native core: rules against ``torch.optim.Adam(fused=True)`` and a copy of memory.

``python -m perf.native`` times one step of flat tensors of 1e5, 1e6 and 1e7 floats, on one thread
and on two: fused Adam, a copy of as many bytes as Adam moves (28 per float: weight, gradient and
two states read, three of them written), and rules. Medians of interleaved repeats of wall time; a
JSON line each. :mod:`perf.native_zoo` times every rule of the zoo, :mod:`perf.native_hostile`
numbers that are denormal, huge, infinite or NaN.
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from evolute import zoo
from evolute.compiler.native import JobTable, lower, status
from evolute.compiler.optimizer import RuleOptimizer
from evolute.compiler.program import compile_rule
from evolute.lang.curve import curve
from evolute.lang.rule import Rule

RULES = ("adam", "opt1", "opt6", "opt7", "opt10", "a1")
SIZES = (100_000, 1_000_000, 10_000_000)
REPEATS = 9
ELEMENTS_PER_REPEAT = 4_000_000
TOTAL_STEPS = 1_000
FLOATS_MOVED_BY_ADAM = 7
Step = Callable[[], object]


def drawn(count: int, *, scale: float, seed: int) -> Tensor:
    """Return normal numbers."""
    return scale * torch.randn(count, generator=torch.Generator().manual_seed(seed))


def native_step(rule: Rule, gradient: Tensor) -> Step:
    """Return a step of the native core."""
    program, count = compile_rule(rule), gradient.numel()
    native = lower(program)
    assert native is not None
    table = JobTable(1)
    slots = [torch.zeros(count) for _ in range(native.slots)]
    table.set(0, native, weight=drawn(count, scale=0.1, seed=0), gradient=gradient, slots=slots)
    table.set_decays(
        0, [float(curve(each, TOTAL_STEPS)[TOTAL_STEPS // 2]) for each in program.decays]
    )
    table.set_noise(0, [torch.rand(count, dtype=torch.float64) for _ in native.noise])
    table.rates[:] = native.sign * 1e-6
    threads, counter = torch.get_num_threads(), itertools.count(1)

    def step() -> None:
        table.run(threads=threads)
        table.steps[0] = next(counter)

    return step


def parameter(count: int) -> nn.Parameter:
    """Return a parameter with a gradient."""
    weight = nn.Parameter(drawn(count, scale=0.1, seed=0))
    weight.grad = drawn(count, scale=0.01, seed=1)
    return weight


def eager_step(rule: Rule, count: int) -> Step:
    """Return a step in torch operations, one after the other."""
    optimizer = RuleOptimizer(
        [parameter(count)], rule, lr=1e-6, total_steps=TOTAL_STEPS, foreach=False, fused=False
    )
    return optimizer.step


def copy_step(count: int) -> Step:
    """Return a copy that moves as many bytes as a step of Adam."""
    source = drawn(count * FLOATS_MOVED_BY_ADAM // 2, scale=1.0, seed=2)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def timed(steps: dict[str, Step], count: int) -> dict[str, float]:
    """Return the median nanoseconds per element of each step, after two that warm up."""
    times = max(1, ELEMENTS_PER_REPEAT // count)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step(), step()
    for _ in range(REPEATS):
        for name, step in steps.items():
            begin = time.perf_counter()
            for _ in range(times):
                step()
            taken[name].append((time.perf_counter() - begin) / times / count * 1e9)
    return {name: statistics.median(each) for name, each in taken.items()}


def report(case: str, found: dict[str, float]) -> None:
    """Print one JSON line."""
    rounded = {name: round(value, 3) for name, value in found.items()}
    print(json.dumps({"case": case, "threads": torch.get_num_threads(), "ns": rounded}), flush=True)


def rules() -> None:
    """Time the rules of the target beside fused Adam and a copy."""
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for count in SIZES:
            adam = torch.optim.Adam([parameter(count)], lr=1e-6, fused=True)
            steps: dict[str, Step] = {"copy": copy_step(count), "fused Adam": adam.step}
            gradient = drawn(count, scale=0.01, seed=1)
            steps |= {name: native_step(zoo.load(name).rule, gradient) for name in RULES}
            report(f"{count:.0e} floats", timed(steps, count))


def main() -> None:
    """Print what was measured."""
    print(f"torch {torch.__version__}, native core: {status().reason}")
    rules()


if __name__ == "__main__":
    main()
