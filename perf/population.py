"""Speed of training many networks: the population engine against ordinary PyTorch, interleaved.

``python -m perf.population [CASE ...] [--device cuda] [--repeats 5]``: lane-steps per second of the
whole machine for (a) one model at a time, eager, one process with all threads, nchw or
channels_last, whichever is better, ``torch.optim.Adam(fused=True)``, its batches ready in memory;
and (b) this engine with eight published rules over the lanes, one process with one thread per core.
Same batch size and work; A B A B, medians. One table, and one JSON line per case.

``python -m perf.population --device cuda``: the same on a GPU, in one process with 256 lanes, every
lane with another rule; then what the step of these rules takes alone, and how many hours the
published main stage would take at the measured rate. Never run so far, for want of a GPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from evolute import zoo
from evolute.compiler.native import status
from evolute.compiler.population import LaneOptimizer
from evolute.compiler.triton_lanes import status as kernel_status
from evolute.lanes.memory import keep_freed_memory
from evolute.lang.expression import Call
from evolute.lang.rule import Rule
from evolute.tasks.base import Task
from evolute.tasks.networks import perceptron, published_convnet
from evolute.tasks.transformer import CharacterModel
from evolute.train.environment import fixed_environment
from evolute.train.equipment import Equipment
from evolute.train.population import Population
from evolute.train.protocol import Protocol, Threshold, Training

RULES = ("opt1", "opt3", "opt4", "opt6", "opt7", "opt9", "opt10", "a1")
WRAPPERS = ("identity", "tanh", "arctan", "arcsinh", "softsign", "erf")
"""Make of each rule of the zoo as many that move weights by no more."""

LANES_ON_GPU, TARGET_ON_GPU, AIM_ON_GPU = 256, 8, 15
EXAMPLES = 1024
REPEATS = 5
ALPHABET = 65
CONTEXT = 64
ENDLESS = Training(
    steps=20_000,
    epoch_steps=20_000,
    warmup_steps=2_000,
    abandon=Threshold(accuracy=None, loss_fraction=1.0),
)
STAGE_CASES = ("conv48", "conv48-bf16")
MAIN_STAGE_STEPS = 2_577 * 21_600
"""Candidates of the published main stage times the steps of each at most."""


@dataclass(frozen=True)
class Case:
    """One network at one size.

    Parameters
    ----------
    name
        How tables call it.
    model
        Makes the network.
    inputs
        Shape of one example; None for texts.
    batch
        Examples per step.
    lanes
        Lanes of the whole machine.
    seconds
        Length of one measurement.
    target, aim
        Least quotient b/a, and what to aim for then.
    precision
        Of the engine; ordinary PyTorch computes in float32.
    """

    name: str
    model: Callable[[], nn.Module]
    inputs: tuple[int, ...] | None
    batch: int
    lanes: int
    seconds: float
    target: float
    aim: float
    precision: Literal["float32", "bf16"] = "float32"


def convnet(width: int, channels: int) -> Callable[[], nn.Module]:
    """Return what makes a published network."""
    return partial(published_convnet, channels=channels, classes=10, width=width)


def transformer() -> nn.Module:
    """Return the character transformer of the benchmark."""
    return CharacterModel(ALPHABET, CONTEXT)


CASES: dict[str, Case] = {
    "mlp": Case(
        "MLP 64-32-10 on digits", partial(perceptron, [64, 32, 10]), (64,), 128, 64, 1.0, 10, 18
    ),
    "conv8-digits": Case("ConvNet B=8 on 8×8 digits", convnet(8, 1), (1, 8, 8), 128, 64, 2.0, 4, 9),
    "conv8": Case("ConvNet B=8 on 32×32×3", convnet(8, 3), (3, 32, 32), 128, 16, 2.5, 1.6, 3.5),
    "conv48": Case("ConvNet B=48 on 32×32×3", convnet(48, 3), (3, 32, 32), 128, 4, 4.0, 1.2, 1.6),
    "conv48-bf16": Case(
        "ConvNet B=48 on 32×32×3, bf16", convnet(48, 3), (3, 32, 32), 128, 4, 4.0, 1.9, 3, "bf16"
    ),
    "text": Case("character transformer", transformer, None, 32, 16, 2.5, 2, 5),
}  # fmt: skip


def examples(case: Case) -> tuple[Tensor, Tensor]:
    """Return random examples of the shapes of a case."""
    generator = torch.Generator().manual_seed(0)
    if case.inputs is None:
        text = torch.randint(ALPHABET, (EXAMPLES, CONTEXT + 1), generator=generator)
        return text[:, :-1].contiguous(), text[:, 1:].contiguous()
    inputs = torch.randn(EXAMPLES, *case.inputs, generator=generator)
    return inputs, torch.randint(10, (EXAMPLES,), generator=generator)


def ordinary(case: Case, device: str, *, channels_last: bool) -> Callable[[], int]:
    """Return one step of one model, as a user would write it; it returns 1."""
    torch.manual_seed(0)
    model = case.model().to(device)
    inputs, targets = (part.to(device) for part in examples(case))
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    batches = itertools.cycle(
        zip(torch.split(inputs, case.batch), torch.split(targets, case.batch), strict=True)
    )

    def step() -> int:
        batch, labels = next(batches)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(batch), labels)
        loss.backward()
        optimizer.step()
        return 1

    return step


def engine(case: Case, device: str, lanes: int) -> Callable[[], int]:
    """Return one step of the lanes of one process; it returns how many took part."""
    data = examples(case)
    task = Task(
        name=f"perf {case.name}", version="1", model=case.model, train=data, validation=data,
        test=data, metric="accuracy",
    )  # fmt: skip
    protocol = Protocol(
        batch_size=case.batch, probe=None, learning_rate=1e-4, training=ENDLESS, fitness="loss",
        precision=case.precision,
    )  # fmt: skip
    population = Population(task, Equipment(lanes=lanes, device=device))
    rules = [zoo.load(name).rule for name in RULES] if device == "cpu" else different_rules(lanes)
    for ticket in range(lanes):
        population.add(ticket, rules[ticket % len(rules)], protocol, seed=0)

    def step() -> int:
        population.step()
        return population.lanes

    return step


def different_rules(count: int) -> list[Rule]:
    """Return so many rules, no two alike: those of the zoo, then their updates in functions."""
    rules: dict[Rule, None] = {}
    for wrapper, name in itertools.product(WRAPPERS, zoo.names()):
        if len(rules) == count:
            break
        rule = zoo.load(name).rule
        rules[replace(rule, update=Call(wrapper, (rule.update,), ()))] = None
    assert len(rules) == count
    return list(rules)


def rules_alone(case: Case, device: str, lanes: int) -> Callable[[], int]:
    """Return one step of the rules of many lanes without their networks; it returns how many."""
    weights = [
        each.detach().to(device).expand(lanes, *each.shape).contiguous()
        for each in case.model().parameters()
    ]
    gradients = [torch.randn_like(each) for each in weights]
    optimizer, slots = LaneOptimizer(weights, gradients), range(lanes)
    for slot, rule in enumerate(different_rules(lanes)):
        optimizer.assign(slot, rule, total_steps=ENDLESS.steps, seed=0)
    rates, momenta = [1e-4] * lanes, [0.9] * lanes

    def step() -> int:
        optimizer.step(slots, rates=rates, momenta=momenta)
        return lanes

    return step


def serve(case: Case, kind: str, device: str, lanes: int) -> None:
    """Measure whenever a line asks for so many seconds; answer lane-steps per second."""
    if kind in ("engine", "rules"):
        if device != "cpu":  # which plan is taken, and why not another, on stderr
            logging.basicConfig(level=logging.INFO, format="%(message)s")
        torch.set_num_threads(1)
        keep_freed_memory()  # as workers do
        with fixed_environment():
            make = rules_alone if kind == "rules" else engine
            _answer(make(case, device, lanes), device)
    else:
        _answer(ordinary(case, device, channels_last=kind == "channels_last"), device)


def _answer(step: Callable[[], int], device: str) -> None:
    for _ in range(2 if device == "cpu" else 5):  # kernels are compiled, graphs captured
        step()
    _wait(device)
    print("ready", flush=True)
    for line in sys.stdin:
        end = (begin := time.perf_counter()) + float(line)
        count = step()
        while time.perf_counter() < end:
            count += step()
        _wait(device)
        print(count / (time.perf_counter() - begin), flush=True)


def _wait(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    if device != "cpu":
        torch.cuda.synchronize(device)


class Server:
    """A process that measures one way."""

    def __init__(self, name: str, kind: str, device: str, lanes: int) -> None:
        single = kind == "engine" and device == "cpu"
        environment = os.environ | ({"OMP_NUM_THREADS": "1"} if single else {})
        arguments = [name, "--serve", kind, "--device", device, "--lanes", str(lanes)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "perf.population", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ready(self) -> None:
        """Wait until it can measure."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def ask(self, seconds: float) -> None:
        """Let it measure for so long."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()

    def answer(self) -> float:
        """Return the lane-steps per second."""
        assert self._process.stdout is not None
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def measure(name: str, device: str, *, repeats: int) -> dict[str, Any]:
    """Return the medians of one case."""
    case = CASES[name]
    cores = len(os.sched_getaffinity(0)) if device == "cpu" else 1
    lanes = case.lanes if device == "cpu" else LANES_ON_GPU
    images = case.inputs is not None and len(case.inputs) == 3
    groups = {"nchw": [Server(name, "nchw", device, 1)]}
    if images:
        groups["channels_last"] = [Server(name, "channels_last", device, 1)]
    if device != "cpu" and name in STAGE_CASES:
        groups["rules"] = [Server(name, "rules", device, lanes)]
    groups["engine"] = [
        Server(name, "engine", device, max(1, lanes // cores)) for _ in range(cores)
    ]
    rates: dict[str, list[float]] = {kind: [] for kind in groups}
    try:
        for server in itertools.chain(*groups.values()):
            server.ready()
        for _ in range(repeats):
            for kind, servers in groups.items():
                for server in servers:
                    server.ask(case.seconds)
                rates[kind].append(sum(server.answer() for server in servers))
    finally:
        for server in itertools.chain(*groups.values()):
            server.close()
    medians = {kind: statistics.median(each) for kind, each in rates.items()}
    best = max(medians[kind] for kind in groups if kind not in ("engine", "rules"))
    on_gpu = device != "cpu" and name in STAGE_CASES
    return {
        "case": name, "device": device, "lanes": lanes, "processes": cores,
        "repeats": repeats, **medians, "quotient": medians["engine"] / best,
        "least": min(rates["engine"]), "most": max(rates["engine"]),
        "target": TARGET_ON_GPU if on_gpu else case.target,
        "aim": AIM_ON_GPU if on_gpu else case.aim,
    }  # fmt: skip


def main_stage(rate: float) -> str:
    """Say how long the published main stage takes at so many lane-steps per second."""
    hours = MAIN_STAGE_STEPS / rate / 3600
    return (
        "the published main stage (2,577 candidates of up to 21,600 steps) at this rate: "
        f"{hours:.1f} hours; its authors needed 120, the aim is under 4"
    )


def report(names: list[str], device: str, *, repeats: int) -> Iterator[str]:
    """Yield the lines of the table."""
    native = status()
    if device != "cpu":
        yield f"{torch.cuda.get_device_name(device)}; rules: {kernel_status().reason}"
    yield (
        f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"torch {torch.__version__}, native core: {native.instruction_set or native.reason}"
    )
    yield (
        f"{'case':34} {'a: nchw':>9} {'a: ch. last':>12} {'b: engine':>10} {'b/a':>6}  target, aim"
    )
    for name in names:
        row = measure(name, device, repeats=repeats)
        last = f"{row['channels_last']:12.1f}" if "channels_last" in row else f"{'–':>12}"
        yield (
            f"{CASES[name].name:34} {row['nchw']:9.1f} {last} {row['engine']:10.1f} "
            f"{row['quotient']:6.2f}  {row['target']:g}, {row['aim']:g}"
        )
        yield json.dumps(row)
        if "rules" in row:
            milliseconds = 1e3 * row["lanes"] / row["rules"]
            yield f"the step of {row['lanes']} rules alone: {milliseconds:.3g} ms"
        if device != "cpu" and name in STAGE_CASES:
            yield main_stage(row["engine"])


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("case", nargs="*", choices=list(CASES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--lanes", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(CASES[given.case[0]], given.serve, given.device, given.lanes)
        return
    for line in report(given.case or list(CASES), given.device, repeats=given.repeats):
        print(line, flush=True)


if __name__ == "__main__":
    main()
