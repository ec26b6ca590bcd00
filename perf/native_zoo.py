"""Every rule of the zoo on the native core beside its eager torch operations and a floor.

``python -m perf.native_zoo [kept] [FLOATS [RULE ...]]`` steps one flat tensor of so many floats
(1e5, 1e6 and 1e7 by default) on one thread. Eager is the rule's own operations in torch, one by
one. The floor is the time in which torch's fastest plain operation (a copy, or one tensor added to
another in place) moves the bytes that a step must move at least, in tensors that fill as much
memory: weight, gradient and states read, weight and states written; a rule that clips by the norm
also writes and reads again what it clips, or, where that is less, reads gradient and states twice.
Eager over floor is about the largest ratio that can be reached; both vary, so a step may come a
little below its floor. Medians of interleaved repeats, in time of the processor, each after a step
that is not timed, so that nobody pays for what the one before has put into the caches; one JSON
line per rule, then a table.

Eager torch makes a tensor for each operation, and what the C library does with the memory of freed
ones counts much: what it gives back to the system, the system clears before it is had again. As it
comes, the C library gives back tensors of more than 32 MiB always, others where little else was
freed before. ``kept`` lets it keep all, as in a process that has long trained: the least that eager
torch takes.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import dataclass

import torch

from evolute import zoo
from evolute.compiler.native import status
from evolute.compiler.program import compile_rule
from evolute.lanes.memory import keep_freed_memory
from evolute.lang.rule import Momentum
from perf.native import Step, drawn, eager_step, native_step

SIZES = (100_000, 1_000_000, 10_000_000)
REPEATS = 7
SECONDS_PER_REPEAT = 0.004
TARGET = 10.0


def taken(step: Step, times: int) -> float:
    """Return the processor's seconds of one step, the mean of so many."""
    begin = time.thread_time()
    for _ in range(times):
        step()
    return (time.thread_time() - begin) / times


def medians(steps: dict[str, Step]) -> dict[str, float]:
    """Return the median seconds of each step, measured in turn, after two that warm up."""
    times = {}
    for name, step in steps.items():
        step()
        times[name] = max(1, int(SECONDS_PER_REPEAT / taken(step, 1)))
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(REPEATS):
        for name, step in steps.items():
            step()
            found[name].append(taken(step, times[name]))
    return {name: statistics.median(each) for name, each in found.items()}


@dataclass(frozen=True)
class Traffic:
    """What a step moves at least: tensors it needs, those it reads and those it writes.

    A rule that clips by the norm writes and reads again what it clips, or reads the gradient and
    its states a second time, whichever is less.
    """

    needed: int
    moved: int


def traffic_of(name: str) -> Traffic:
    """Return what a rule moves."""
    program = compile_rule(zoo.load(name).rule)
    states = len(program.state_slots)
    slots = states + (program.momentum is not Momentum.NONE)
    norms = sum(each.function.name == "clip_norm" for each in program.instructions)
    return Traffic(2 + slots, (2 + slots) + (1 + slots) + norms * min(2, 1 + states))


def plain_steps(arrays: int, count: int) -> dict[str, tuple[Step, int]]:
    """Return torch's plain operations on so many tensors' memory, and the bytes that each moves."""
    half = arrays * count // 2
    one, other = drawn(half, scale=1e-6, seed=0), drawn(half, scale=1e-6, seed=1)
    return {
        "copy": (lambda: one.copy_(other), 8 * half),
        "add": (lambda: one.add_(other), 12 * half),
    }


def measured(name: str, count: int) -> dict[str, float]:
    """Return nanoseconds per float of a rule's native step, its eager one, and its floor."""
    rule, traffic = zoo.load(name).rule, traffic_of(name)
    plain = plain_steps(traffic.needed, count)
    steps = {each: step for each, (step, _) in plain.items()}
    steps["native"] = native_step(rule, drawn(count, scale=0.01, seed=1))
    steps["eager"] = eager_step(rule, count)
    seconds = medians(steps)
    per_byte = min(seconds[each] / moved for each, (_, moved) in plain.items())
    nanoseconds = {each: seconds[each] / count * 1e9 for each in ("native", "eager")}
    nanoseconds["floor"] = 4 * traffic.moved * per_byte * 1e9
    return nanoseconds


def verdict(found: dict[str, float]) -> str:
    """Say in a word whether the target is reached, or what is in its way."""
    if found["eager"] / found["native"] >= TARGET:
        return "reached"
    return "bound by memory" if found["eager"] / found["floor"] < TARGET else "missed"


def table(size: int, rows: dict[str, dict[str, float]]) -> None:
    """Print rules from the smallest ratio."""
    print(f"\n| {size:.0e}: rule | native | eager | times | floor | at most | |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, found in sorted(rows.items(), key=lambda row: row[1]["eager"] / row[1]["native"]):
        ratio, most = found["eager"] / found["native"], found["eager"] / found["floor"]
        print(
            f"| {name} | {found['native']:.2f} | {found['eager']:.1f} | {ratio:.1f} "
            f"| {found['floor']:.2f} | {most:.1f} | {verdict(found)} |"
        )


def main(arguments: list[str]) -> None:
    """Measure what is named."""
    torch.set_num_threads(1)
    kept = arguments[:1] == ["kept"]
    if kept and not keep_freed_memory():
        sys.exit("this C library cannot keep all freed memory: leave out kept")
    arguments = arguments[kept:]
    print(f"torch {torch.__version__}, native core: {status().reason}; memory kept: {kept}")
    for size in (int(float(arguments[0])),) if arguments else SIZES:
        rows = {}
        for name in arguments[1:] or zoo.names():
            rows[name] = measured(name, size)
            line = {"rule": name, "floats": size, "ns": rows[name]}
            print(json.dumps(line), flush=True)
        table(size, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
