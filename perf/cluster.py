"""Simulate a search on 1 to 10,000 workers: ``python -m perf.cluster --store FILE [--run NAME]``.

The search is the real one, with its real order of asking and telling; only training is simulated:
how a trial ends and how long it takes are drawn from the trials of a stored run, stage by stage.
A worker is what trains one candidate at a time: a core, a GPU, or a lane of one.
"""

from __future__ import annotations

import argparse
import heapq
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evolute.search.base import Proposal, Result, Search, Stage
from evolute.search.particles import ParticleConfig, ParticleSearch
from evolute.seeds import python_generator
from evolute.store.base import Store
from evolute.store.sql import open_store
from evolute.trial import OutcomeKind

WORKERS = (1, 10, 50, 100, 350, 1_000, 3_500, 10_000)
PUBLISHED_SECONDS = 236.0
"""Median of the published search for a candidate that was scored on the main stage."""

UNTRAINED = (OutcomeKind.DEGENERATE, OutcomeKind.DUPLICATE)


@dataclass(frozen=True)
class Ended:
    """How a trial ended, and after how long."""

    kind: OutcomeKind
    seconds: float


@dataclass(frozen=True)
class Simulated:
    """What came of a simulation.

    Parameters
    ----------
    seconds
        From the first trial's beginning to the last one's end.
    busy_seconds
        Sum of all trials.
    trainings
        How many trials there were.
    initial_seconds
        Time until the initial stage was over.
    """

    seconds: float
    busy_seconds: float
    trainings: int
    initial_seconds: float


def measured(store: Store, run: str) -> dict[Stage, list[Ended]]:
    """Return how the trials of a run ended, by stage."""
    entries = store.run_entries(run)
    trials = store.get_many(sorted({entry.trial for entry in entries}))
    ended: dict[Stage, list[Ended]] = {stage: [] for stage in Stage}
    for entry in entries:
        trial = trials[entry.trial]
        if trial.outcome.kind not in UNTRAINED and entry.facts["outcome"] == trial.outcome.kind:
            stage = Stage(entry.facts["stage"])
            ended[stage].append(Ended(trial.outcome.kind, trial.provenance.seconds))
    return ended


def stretched(ended: Mapping[Stage, list[Ended]], median: float) -> dict[Stage, list[Ended]]:
    """Stretch all times so that a scored trial of the main stage takes this long in the median."""
    scored = [each.seconds for each in ended[Stage.MAIN] if each.kind is OutcomeKind.FINISHED]
    factor = median / statistics.median(scored)
    return {
        stage: [replace(each, seconds=each.seconds * factor) for each in those]
        for stage, those in ended.items()
    }


def simulate(
    search: Search, ended: Mapping[Stage, Sequence[Ended]], *, workers: int, seed: int = 0
) -> Simulated:
    """Run a search with this many workers on a clock that costs nothing.

    Trials begin in the order in which the search asked for them.
    """
    waiting: deque[Proposal] = deque()
    running: list[tuple[float, int, Proposal, Ended]] = []
    clock = busy = initial_seconds = 0.0
    trainings = 0
    while True:
        waiting.extend(search.ask())
        while waiting and len(running) < workers:
            proposal = waiting.popleft()
            place = (proposal.stage, proposal.particle, proposal.depth, proposal.slot)
            generator = python_generator(seed, f"simulated {place}", proposal.attempt)
            how = generator.choice(ended[proposal.stage])
            heapq.heappush(running, (clock + how.seconds, proposal.number, proposal, how))
            busy, trainings = busy + how.seconds, trainings + 1
        if not running:
            return Simulated(clock, busy, trainings, initial_seconds)
        clock, _, proposal, how = heapq.heappop(running)
        if proposal.stage is Stage.INITIAL:
            initial_seconds = clock
        fitness = python_generator(seed, f"fitness {proposal.rule}").random()
        finished = how.kind is OutcomeKind.FINISHED
        search.tell(proposal.number, Result(how.kind, fitness if finished else None))


def report(
    config: ParticleConfig, ended: Mapping[Stage, Sequence[Ended]], workers: Sequence[int]
) -> None:
    """Print a row for each number of workers."""
    print(f"{'workers':>8} {'hours':>9} {'busy':>7} {'speed-up':>9} {'trials':>7}  initial stage")
    for count in workers:
        run = simulate(ParticleSearch(config, seed=0), ended, workers=count)
        print(
            f"{count:>8,} {run.seconds / 3600:>9.2f} {run.busy_seconds / run.seconds / count:>7.1%}"
            f" {run.busy_seconds / run.seconds:>9.1f} {run.trainings:>7,}"
            f"  {run.initial_seconds / run.seconds:.0%} of the time"
        )


def main() -> None:
    """Simulate the published search, as it is and with children drawn ahead."""
    parser = argparse.ArgumentParser(prog="perf.cluster", description=__doc__)
    parser.add_argument("--store", required=True, help="a store with a run whose times are drawn")
    parser.add_argument("--run", help="name of the run; by default the last begun")
    parser.add_argument("--median-seconds", type=float, default=PUBLISHED_SECONDS,
                        help="what a scored trial of the main stage takes")  # fmt: skip
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--spares", type=int, nargs="+", default=[0, 1, 3],
                        help="spare children of ParticleConfig to compare")  # fmt: skip
    arguments = parser.parse_args()
    with open_store(arguments.store) as store:
        runs = [run for run in store.runs() if arguments.run in (None, run.name)]
        ended = stretched(measured(store, runs[-1].digest), arguments.median_seconds)
    for stage, those in ended.items():
        mean = statistics.mean(each.seconds for each in those)
        failed = sum(each.kind is not OutcomeKind.FINISHED for each in those)
        print(f"{stage}: {len(those)} trials measured, {failed} of them failed; mean {mean:.0f} s")
    for spares in arguments.spares:
        print(f"\nThe published search, {spares} spare children")
        report(ParticleConfig(spares=spares), ended, arguments.workers)


if __name__ == "__main__":
    main()
