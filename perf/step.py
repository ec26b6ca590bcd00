"""Speed of a step: rules against ``torch.optim.Adam``, interleaved in one process.

``python -m perf.step [foreach|compiled|fused|functions] [WORKLOAD] [RULE …]``: on the parameter
list of a ResNet-18 and on flat tensors of 1e5, 1e6 and 1e7 floats. Rules in lists against Adam's
``foreach`` and ``fused`` steps, then steps under ``torch.compile`` against a compiled Adam, on one
thread. Rules on the native core against Adam's ``fused`` step, a copy of the same bytes and their
own operations one by one, on one thread and on two. Medians of interleaved repeats: in time of the
processor on one thread, so that other work on the machine counts less, and by the clock on two.
``functions``, which is not done unless asked for, are compiled steps along one function of the
gradient each.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import nn

from evolute import zoo
from evolute.compiler.optimizer import RuleOptimizer
from evolute.lang.registry import FUNCTIONS, Kind

RULES = ("adam", "opt1", "opt6", "opt10", "a1")
RULES_ON_THE_CORE = ("adam", "opt1", "opt6", "opt7", "opt10", "a1", "lion", "qhm")
REPEATS = 11
ELEMENTS_PER_REPEAT = 4_000_000
TARGET = 1.3
Step = Callable[[], object]
Make = Callable[[list[tuple[int, ...]], Sequence[str]], dict[str, Step]]


def resnet_shapes() -> list[tuple[int, ...]]:
    """Return the shapes of the parameters of a ResNet-18 for 1,000 classes."""
    shapes: list[tuple[int, ...]] = [(64, 3, 7, 7), (64,), (64,)]
    width = 64
    for out in (64, 128, 256, 512):
        for block in range(2):
            inner = width if block == 0 else out
            shapes += [(out, inner, 3, 3), (out,), (out,), (out, out, 3, 3), (out,), (out,)]
            if inner != out:
                shapes += [(out, inner, 1, 1), (out,), (out,)]
        width = out
    return [*shapes, (1000, 512), (1000,)]


WORKLOADS: dict[str, list[tuple[int, ...]]] = {
    "ResNet-18, 11.7e6 floats": resnet_shapes(),
    "1e5 floats": [(100_000,)],
    "1e6 floats": [(1_000_000,)],
    "1e7 floats": [(10_000_000,)],
}


def weights_of(shapes: list[tuple[int, ...]]) -> list[nn.Parameter]:
    """Return parameters with gradients."""
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(0.1 * torch.randn(shape, generator=generator)) for shape in shapes]
    for weight in weights:
        weight.grad = 0.01 * torch.randn(weight.shape, generator=generator)
    return weights


def eager_steps(shapes: list[tuple[int, ...]], rules: Sequence[str]) -> dict[str, Step]:
    """Return the steps to be timed, the yardstick first."""
    steps: dict[str, Step] = {
        "torch Adam, foreach": torch.optim.Adam(weights_of(shapes), foreach=True).step,
        "torch Adam, fused": torch.optim.Adam(weights_of(shapes), fused=True).step,
    }
    for name in rules or RULES:
        optimizer = zoo.create(name, weights_of(shapes), lr=1e-6, total_steps=10_000, foreach=True)
        steps[name] = optimizer.step
    return steps


def fused_steps(shapes: list[tuple[int, ...]], rules: Sequence[str]) -> dict[str, Step]:
    """Return the steps on the native core, with the yardsticks first, then the same in eager torch.

    The copy moves as many bytes as Adam does: it reads weight, gradient and two states, and writes
    all but the gradient.
    """
    steps: dict[str, Step] = {
        "torch Adam, fused": torch.optim.Adam(weights_of(shapes), fused=True).step,
        "copy of its bytes": copy_of_the_bytes(shapes),
    }
    for fused in (True, False):
        for name in rules or RULES_ON_THE_CORE:
            way: dict[str, bool] = {"fused": True} if fused else {"foreach": False}
            optimizer = zoo.create(name, weights_of(shapes), lr=1e-6, total_steps=10_000, **way)
            steps[name if fused else f"{name}, one by one"] = optimizer.step
    return steps


def copy_of_the_bytes(shapes: list[tuple[int, ...]]) -> Step:
    """Return what copies 3.5 tensors to 3.5 others: the 28 bytes per float of a step of Adam."""
    size = sum(torch.Size(shape).numel() for shape in shapes)
    source, target = torch.ones(7 * size // 2), torch.ones(7 * size // 2)
    return lambda: target.copy_(source)


def compiled_steps(shapes: list[tuple[int, ...]], rules: Sequence[str]) -> dict[str, Step]:
    """Return the steps under ``torch.compile``, the yardstick first."""
    rate = torch.tensor(1e-6)
    steps: dict[str, Step] = {
        "torch Adam, compiled": torch.compile(torch.optim.Adam(weights_of(shapes), lr=rate).step)
    }
    for name in rules or RULES:
        optimizer = zoo.create(name, weights_of(shapes), lr=rate, total_steps=10_000)
        steps[name] = torch.compile(optimizer.step)
    return steps


def function_steps(shapes: list[tuple[int, ...]], rules: Sequence[str]) -> dict[str, Step]:
    """Return compiled steps along f(g), for the functions of one argument or for those named."""
    unary = [
        name
        for name, row in FUNCTIONS.items()
        if row.kind is Kind.ELEMENTWISE and row.arity == 1 and not row.parameters
    ]
    rate = torch.tensor(1e-6)
    torch._dynamo.config.recompile_limit = 2 * len(unary)  # past it the compiler gives up
    steps: dict[str, Step] = {
        "torch Adam, compiled": torch.compile(torch.optim.Adam(weights_of(shapes), lr=rate).step)
    }
    for name in rules or unary:
        optimizer = RuleOptimizer(weights_of(shapes), f"none: {name}(g)", lr=rate)
        steps[name] = torch.compile(optimizer.step)
    return steps


def timed(steps: dict[str, Step], count: int) -> dict[str, float]:
    """Return the median seconds of each step, after three that warm up."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for step in steps.values():
        for _ in range(3):
            step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(REPEATS):
        for name, step in steps.items():
            begin = clock()
            for _ in range(count):
                step()
            seconds[name].append((clock() - begin) / count)
    return {name: statistics.median(measured) for name, measured in seconds.items()}


def report(title: str, make: Make, workloads: Sequence[str], rules: Sequence[str]) -> None:
    """Print the medians of one way to make steps."""
    for workload in workloads:
        shapes = WORKLOADS[workload]
        elements = sum(torch.Size(shape).numel() for shape in shapes)
        torch._dynamo.reset()
        medians = timed(make(shapes, rules), max(1, ELEMENTS_PER_REPEAT // elements))
        yardstick = next(iter(medians.values()))
        print(f"\n{title}, {workload}, threads: {torch.get_num_threads()}")
        print(f"{'step':24} {'ms':>9} {'ns per float':>13} {'times Adam':>11}")
        for name, median in medians.items():
            per_float = median / elements * 1e9
            print(f"{name:24} {median * 1e3:9.3f} {per_float:13.2f} {median / yardstick:11.2f}")


def main(wanted: str = "", workload: str = "", *rules: str) -> None:
    """Print what is wanted, all by default, and the hardware; a workload by how it begins."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # of torch's own modules
    workloads = [name for name in WORKLOADS if name.startswith(workload)]
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}")
    if wanted in ("", "foreach"):
        report("in lists", eager_steps, workloads, rules)
    if wanted in ("", "compiled"):
        report("compiled", compiled_steps, workloads, rules)
    if wanted == "functions":
        report("compiled functions", function_steps, workloads, rules)
    if wanted in ("", "fused"):
        for threads in (1, 2):
            torch.set_num_threads(threads)
            report("on the native core", fused_steps, workloads, rules)
    print(f"\ntarget: {TARGET} times Adam foreach with no more state and operations")


if __name__ == "__main__":
    main(*sys.argv[1:])
