"""Speed of scoring: trials per minute of the quick protocol on ``digits``.

``python -m perf.trials search [REPEATS [BUDGET]]`` runs the search of the quick preset with its
trials side by side and one at a time, interleaved, each in a store of its own, and compares what
they found: seconds of the search phase, and of the whole call, in which workers begin and
hand-made optimizers are scored. Without ``search``, trials are scored one at a time in one process
with one thread.

``python -m perf.trials``: published discoveries and hand-made optimizers from the zoo, probes
included, and rules that no probe accepts. A trial before the first one imports what torch imports
late. Repeats are interleaved. On a busy machine the processor time says more than the clock.
"""

from __future__ import annotations

import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

import evolute
from evolute import zoo
from evolute.lang.rule import Rule
from evolute.tasks.user import load_task
from evolute.train.protocol import PROTOCOLS
from evolute.train.trainer import run_trial

RULES = ("sgd", "adam", "lion", "a1", "opt1", "opt4", "opt6", "opt7", "opt9", "opt10")
HOPELESS = {"1 (hopeless)": "1", "sqrt(g) (hopeless)": "sqrt(g)"}
REPEATS = 5
TARGET_SECONDS = 0.7

SEARCHES = 3
SEARCH_TARGET = 5.0


def compare_searches(repeats: int = SEARCHES, budget: int | None = None) -> None:
    """Print the seconds of searches with lanes and without, and whether they found the same."""
    seconds: dict[str, list[float]] = {"auto": [], "plain": []}
    whole: dict[str, list[float]] = {"auto": [], "plain": []}
    found: dict[str, evolute.SearchResult] = {}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(repeats):
            for plan in seconds:
                store = Path(folder) / f"{plan}{repeat}.sqlite"
                begun = time.perf_counter()
                found[plan] = evolute.search(
                    "digits", budget=budget, config={"plan": plan}, store=store, verdict=False
                )
                whole[plan].append(time.perf_counter() - begun)
                seconds[plan].append(found[plan].progress.seconds)
    for plan, result in found.items():
        print(
            f"{plan:6} {statistics.median(seconds[plan]):7.1f} s, whole "
            f"{statistics.median(whole[plan]):7.1f} s  {result.progress.trained} trained, "
            f"{len(result.leaderboard)} finished, best {result.leaderboard[0].rule}"
        )
    boards = [{row.trial: row.fitness for row in result.leaderboard} for result in found.values()]
    gaps = [abs(boards[0][each] - boards[1][each]) for each in boards[0] if each in boards[1]]
    print(
        f"same trials: {boards[0].keys() == boards[1].keys()}; largest difference of a fitness "
        f"{max(gaps):.2g}; faster {_ratio(seconds):.1f} times, as a whole {_ratio(whole):.1f} "
        f"times; target {SEARCH_TARGET:g}"
    )


def _ratio(seconds: dict[str, list[float]]) -> float:
    return statistics.median(seconds["plain"]) / statistics.median(seconds["auto"])


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
    if "search" in sys.argv:
        compare_searches(*(int(number) for number in sys.argv[2:]))
    else:
        main()
