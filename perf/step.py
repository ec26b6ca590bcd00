"""Speed of a step: rules against ``torch.optim.Adam``, interleaved in one process.

``python -m perf.step [foreach|compiled]``: on the parameter list of a ResNet-18 and on flat tensors
of 1e5, 1e6 and 1e7 floats, one thread. Rules in lists against Adam's ``foreach`` and ``fused``
steps, then steps under ``torch.compile`` against a compiled Adam. Medians of interleaved repeats,
in time of the processor, so that other work on the machine counts less.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import torch
from torch import nn

from evolute import zoo

RULES = ("adam", "opt1", "opt6", "opt10", "a1")
REPEATS = 11
ELEMENTS_PER_REPEAT = 4_000_000
TARGET = 1.3
Step = Callable[[], object]


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


def eager_steps(shapes: list[tuple[int, ...]]) -> dict[str, Step]:
    """Return the steps to be timed, the yardstick first."""
    steps: dict[str, Step] = {
        "torch Adam, foreach": torch.optim.Adam(weights_of(shapes), foreach=True).step,
        "torch Adam, fused": torch.optim.Adam(weights_of(shapes), fused=True).step,
    }
    for name in RULES:
        steps[name] = zoo.create(name, weights_of(shapes), lr=1e-6, total_steps=10_000).step
    return steps


def compiled_steps(shapes: list[tuple[int, ...]]) -> dict[str, Step]:
    """Return the steps under ``torch.compile``, the yardstick first."""
    rate = torch.tensor(1e-6)
    steps: dict[str, Step] = {
        "torch Adam, compiled": torch.compile(torch.optim.Adam(weights_of(shapes), lr=rate).step)
    }
    for name in RULES:
        optimizer = zoo.create(name, weights_of(shapes), lr=rate, total_steps=10_000)
        steps[name] = torch.compile(optimizer.step)
    return steps


def timed(steps: dict[str, Step], count: int) -> dict[str, float]:
    """Return the median seconds of each step, after three that warm up."""
    for step in steps.values():
        for _ in range(3):
            step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(REPEATS):
        for name, step in steps.items():
            begin = time.process_time()
            for _ in range(count):
                step()
            seconds[name].append((time.process_time() - begin) / count)
    return {name: statistics.median(measured) for name, measured in seconds.items()}


def report(title: str, make: Callable[[list[tuple[int, ...]]], dict[str, Step]]) -> None:
    """Print the medians of one way to make steps."""
    for workload, shapes in WORKLOADS.items():
        elements = sum(torch.Size(shape).numel() for shape in shapes)
        torch._dynamo.reset()
        medians = timed(make(shapes), max(1, ELEMENTS_PER_REPEAT // elements))
        yardstick = next(iter(medians.values()))
        print(f"\n{title}, {workload}")
        print(f"{'step':24} {'ms':>9} {'ns per float':>13} {'times Adam':>11}")
        for name, median in medians.items():
            per_float = median / elements * 1e9
            print(f"{name:24} {median * 1e3:9.3f} {per_float:13.2f} {median / yardstick:11.2f}")


def main(wanted: str | None) -> None:
    """Print what is wanted, all by default, and the hardware."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # of torch's own modules
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    if wanted in (None, "foreach"):
        report("in lists", eager_steps)
    if wanted in (None, "compiled"):
        report("compiled", compiled_steps)
    print(f"\ntarget: {TARGET} times Adam foreach with no more state and operations")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
