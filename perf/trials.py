"""Speed of scoring: trials per minute of the quick protocol on ``digits``, one process, one thread.

``python -m perf.trials``: published discoveries and hand-made optimizers from the zoo, probes
included, and rules that no probe accepts. A trial before the first one imports what torch imports
late. Repeats are interleaved. On a busy machine the processor time says more than the clock.
"""

from __future__ import annotations

import platform
import statistics
import time

import torch

from evolute import zoo
from evolute.lang.rule import Rule
from evolute.tasks.user import load_task
from evolute.train.protocol import PROTOCOLS
from evolute.train.trainer import run_trial

RULES = ("sgd", "adam", "lion", "a1", "opt1", "opt4", "opt6", "opt7", "opt9", "opt10")
HOPELESS = {"1 (hopeless)": "1", "sqrt(g) (hopeless)": "sqrt(g)"}
REPEATS = 5
TARGET_SECONDS = 0.7


def main() -> None:
    """Print the medians of interleaved repeats, and the hardware."""
    task, protocol = load_task("digits"), PROTOCOLS["quick"].main
    rules = {name: zoo.load(name).rule for name in RULES}
    rules |= {name: Rule.parse(text) for name, text in HOPELESS.items()}
    run_trial(rules["sgd"], task, protocol, seed=0)
    seconds: dict[str, list[float]] = {name: [] for name in rules}
    processor: dict[str, list[float]] = {name: [] for name in rules}
    steps: dict[str, int] = {}
    for repeat in range(REPEATS):
        for name, rule in rules.items():
            begin = time.process_time()
            trial = run_trial(rule, task, protocol, seed=repeat)
            processor[name].append(time.process_time() - begin)
            seconds[name].append(trial.provenance.seconds)
            steps[name] = trial.score.steps if trial.score else 0
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    print(
        f"{'rule':20} {'steps':>6} {'median s':>9} {'least':>7} {'most':>7} {'processor s':>12} "
        f"{'trials/min':>11}"
    )
    for name, times in seconds.items():
        median = statistics.median(times)
        print(
            f"{name:20} {steps[name] or '-':>6} {median:9.3f} {min(times):7.3f} {max(times):7.3f} "
            f"{statistics.median(processor[name]):12.3f} {60 / median:11.0f}"
        )
    trained = [statistics.median(seconds[name]) for name in RULES]
    mean = statistics.mean(trained)
    print(f"{'mean of the trained':20} {mean:16.3f} {60 / mean:40.0f}")
    print(f"target: {TARGET_SECONDS} s for one candidate on one core")


if __name__ == "__main__":
    main()
