"""Speed of the integrity check: candidates per second on one thread.

``python -m perf.integrity``: random candidates of the published search space, and the rules of the
published log where ``../shared`` holds it; static checks, compilation and all twelve lanes are in
the time. Repeats are interleaved, and each begins with nothing compiled. Time is that of the
processor, so that other work on the machine counts less.
"""

from __future__ import annotations

import csv
import platform
import statistics
import time
from pathlib import Path

import torch

from evolute import seeds
from evolute.compiler.program import compile_rule
from evolute.lang.rule import Rule
from evolute.search.drawing import DrawConfig, draw_genome
from evolute.search.space import SearchSpace
from evolute.train.integrity import check_integrity, check_integrity_many

LOG = Path(__file__).parents[2] / "shared" / "data" / "published_search.csv"
CANDIDATES = 1_000
REPEATS = 7
TARGET = 500


def random_rules(count: int) -> list[Rule]:
    """Draw candidates as the published search does."""
    space, config = SearchSpace.from_registries(), DrawConfig()
    generator = seeds.python_generator(0, "integrity benchmark")
    return [draw_genome(space, config, generator=generator).express() for _ in range(count)]


def published_rules(count: int) -> list[Rule]:
    """Read the first rules of the published log; none where it is not there."""
    if not LOG.exists():
        return []
    with LOG.open(newline="") as file:
        texts = [row["expression"] for row in csv.DictReader(file)]
    return [Rule.from_published(text) for text in texts[:count]]


def rate(rules: list[Rule], *, at_once: bool) -> float:
    """Return candidates per second, with nothing compiled at the start."""
    compile_rule.cache_clear()
    begin = time.process_time()
    if at_once:
        check_integrity_many(rules)
    else:
        for rule in rules:
            check_integrity(rule)
    return len(rules) / (time.process_time() - begin)


def main() -> None:
    """Print the medians of interleaved repeats, and the hardware."""
    torch.set_num_threads(1)
    drawn, published = random_rules(CANDIDATES), published_rules(CANDIDATES)
    workloads = {
        "random candidates, 1,000 at once": (drawn, True),
        "published log, 1,000 at once": (published, True),
        "random candidates, 50 at once": (drawn[:50], True),
        "random candidates, one by one": (drawn[:50], False),
    }
    rates: dict[str, list[float]] = {name: [] for name, (rules, _) in workloads.items() if rules}
    for _ in range(REPEATS):
        for name, measured in rates.items():
            rules, at_once = workloads[name]
            measured.append(rate(rules, at_once=at_once))
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    print(f"{'candidates per processor second':36} {'median':>8} {'least':>8} {'most':>8}")
    for name, measured in rates.items():
        median = statistics.median(measured)
        print(f"{name:36} {median:8.0f} {min(measured):8.0f} {max(measured):8.0f}")
    print(f"target: {TARGET} a second on one core")


if __name__ == "__main__":
    main()
