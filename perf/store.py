"""Time what a large store is asked for: ``python -m perf.store [trials]``."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from evolute.store.base import Store
from evolute.store.sql import open_store
from evolute.testing.store_examples import RUN, example_entry, example_trial
from evolute.trial import Trial

BATCH = 1000
SINGLES = 500


def batch(start: int) -> list[Trial]:
    numbers = range(start, start + BATCH)
    return [example_trial(number, fitness=-float(number * 7919 % 100_003)) for number in numbers]


def fill(store: Store, count: int) -> None:
    store.open_run(RUN)
    for start in range(0, count, BATCH):
        trials = store.put_many(batch(start))
        entries = [example_entry(start + place, trial) for place, trial in enumerate(trials)]
        store.record_many(RUN.digest, entries)


def report(what: str, started: float, calls: int = 1) -> None:
    seconds = time.perf_counter() - started
    print(f"{what:<42} {seconds * 1e3 / calls:10.2f} ms each, {calls / seconds:10.0f} a second")


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "trials") as store:
        started = time.perf_counter()
        fill(store, count)
        report(f"put and record, {BATCH} at once", started, count)
        started = time.perf_counter()
        for number in range(count, count + SINGLES):
            store.put(example_trial(number, fitness=-1e9))
        report("put, one at a time", started, SINGLES)
        for what, choice in (("all", {}), ("a task", {"task": "digits"})):
            started = time.perf_counter()
            store.trials(limit=20, **choice)  # type: ignore[arg-type]  # a task is a text
            report(f"best 20 of {what}", started)
        started = time.perf_counter()
        store.trials(run=RUN.digest, limit=20)
        report("best 20 of the run", started)
        started = time.perf_counter()
        store.counts(RUN.digest)
        report("counts of the run", started)
        started = time.perf_counter()
        store.get_many([trial.key.digest for trial in batch(0)])
        report("get, many at once", started, BATCH)
        print(f"{(Path(folder) / 'trials').stat().st_size / count:.0f} bytes a trial")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
