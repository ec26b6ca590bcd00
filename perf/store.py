"""Time what a large store is asked for: ``python -m perf.store KIND [TRIALS [listings]]``.

KIND is sqlite or postgresql: a server of its own on this machine, with ``fsync`` on.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, text

from evolute.lang.rule import Rule
from evolute.leaderboard import read_leaderboard
from evolute.presets import resolve
from evolute.runs.evaluate import Evaluator
from evolute.runs.executors.in_process import InProcessExecutor
from evolute.runs.run import Run
from evolute.runs.screening import TwinFinder
from evolute.runs.settled import DIGEST_BYTES, Settled
from evolute.search.digests import SortedDigests
from evolute.search.texts import Texts
from evolute.store import schema
from evolute.store.base import RunEntry, RunRecord
from evolute.store.inspection import take_inventory
from evolute.store.sql import open_store
from evolute.store.sql_store import SqlStore, utc_now
from evolute.tasks.user import load_task
from evolute.testing.postgresql_server import find_programs, postgresql_server
from evolute.train.equipment import Equipment
from evolute.train.fingerprint import record
from evolute.trial import (
    EpochRecord,
    Outcome,
    OutcomeKind,
    Provenance,
    Score,
    Trial,
    TrialKey,
    canonical_json,
)

PROTOCOLS = {stage: canonical_json({"stage": stage, "filler": "x" * 500}) for stage in "ab"}
RUN = RunRecord(
    "ab" * 32, "large", canonical_json({"initial": PROTOCOLS["a"], "main": PROTOCOLS["b"]}), "1"
)
REAL = 2000
"""Trials that are as a search writes them, and the best."""

BATCH = 500
COPIES = 50_000
SECONDS_OF_WRITING = 15.0
POLL_SECONDS = 0.5
RECORDED_AT_ONCE = 10


def trial(number: int) -> Trial:
    """Return a trial as long as those of a search: about 1 kB."""
    rule = f"nesterov: bessel_i1e([a13*a{number}]*g)+sign(m)*ln(abs(v)+1e-8)"
    protocol = PROTOCOLS["b" if number % 10 == 0 else "a"]
    key = TrialKey(rule, "digits", "1", protocol, seed=number)
    fitness = -((number * 7919) % 1_000_003) / 1e6
    curve = tuple(EpochRecord(200 * n, 0.123456789 / n, 0.9, 0.2 / n, 0.91) for n in range(1, 5))
    provenance = Provenance(0.37, utc_now(), "AMD EPYC, torch 2.13.0")
    if number % 4 == 3:
        outcome = Outcome(OutcomeKind.DIVERGED, "the loss became NaN at step 3")
        return Trial(key, outcome, None, curve, provenance)
    outcome = Outcome(OutcomeKind.FINISHED, "trained to its end")
    return Trial(key, outcome, Score(fitness, 0.1, -fitness, 0.9, 0.3, 900), curve, provenance)


def entry(position: int, digest: str) -> RunEntry:
    facts = {"stage": "initial", "parent": position - 1, "particle": position % 50,
             "mutation": "point", "rule": "nesterov: bessel_i1e([a13*a2]*g)",
             "outcome": "finished", "number": position}  # fmt: skip
    return RunEntry(position, digest, facts)


def fill(store: SqlStore, count: int) -> None:
    """Write real trials, and after them, by the database itself, copies of one that scored less.

    The copies fill tables and indexes as real ones would; nothing that is measured reads them one
    by one, where their digests would be found wrong.
    """
    store.open_run(RUN)
    for start in range(0, REAL, BATCH):
        held = store.put_many([trial(number) for number in range(start, start + BATCH)])
        entries = [entry(start + place, each.key.digest) for place, each in enumerate(held)]
        store.record_many(RUN.digest, entries)
    for start in range(REAL, count, COPIES):
        store.session.write(partial(_copy, first=start, last=min(start + COPIES, count) - 1))


def _copy(connection: Connection, *, first: int, last: int) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    digest = "lower(hex(randomblob(32)))" if is_sqlite else "md5(i::text) || md5((-i)::text)"
    series = (
        "(WITH RECURSIVE s(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM s WHERE i < :last) "
        "SELECT i FROM s)"
        if is_sqlite
        else "generate_series(CAST(:first AS bigint), CAST(:last AS bigint))"
    )
    new = {"digest": digest, "seed": "i", "fitness": "-2 - ((i * 7919) % 1000003) / 1e6"}
    names = [column.name for column in schema.trials.c if column.name != "id"]
    values = ", ".join(new.get(name, name) for name in names)
    alias = "n" if is_sqlite else "n(i)"
    statement = (
        f"INSERT INTO trials ({', '.join(names)}) SELECT {values} "
        f"FROM {series} {alias}, trials WHERE trials.id = 1"
    )
    connection.execute(text(statement), {"first": first, "last": last})
    names = [column.name for column in schema.run_entries.c]
    new = {name: f"trials.{name}" for name in ("protocol_id", "outcome", "fitness")}
    new |= {"position": "trials.id - 1", "trial_id": "trials.id", "trial": "trials.digest"}
    values = ", ".join(new.get(name, f"run_entries.{name}") for name in names)
    statement = (
        f"INSERT INTO run_entries ({', '.join(names)}) SELECT {values} FROM trials, run_entries "
        "WHERE run_entries.position = 0 AND trials.id > :first AND trials.id <= :last + 1"
    )
    connection.execute(text(statement), {"first": first, "last": last})


def timed(what: str, work: Callable[[], object], calls: int = 1) -> None:
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{what:<46} {seconds:8.3f} s {calls / seconds:12.0f} a second {memory:8.0f} MiB",
          flush=True)  # fmt: skip


def leaderboard(address: str) -> None:
    with open_store(address, create=False, read_only=True) as store:
        assert len(read_leaderboard(store, RUN, limit=10)) == 10


def large_run(store: SqlStore) -> Run:
    """Return a run on digits under the name of the stored one, with all that a quick search has."""
    settings = {"search": {"candidates": 10_000_000}}
    named = {"task": "digits", "algorithm": "random"}
    config = resolve("quick", settings, named).run_config("digits")
    task = load_task("digits")
    executor = InProcessExecutor(task, equipment=Equipment(plan="loop"))
    run = Run(config, config.new_search(), Evaluator(task, store, executor))
    run.digest = RUN.digest
    assert config.duplicate_tolerance is not None
    run._twins = TwinFinder(record(task, config.seed), config.duplicate_tolerance, run._rule_of)
    return run


def save_checkpoint(address: str, count: int) -> None:
    """Let a run have come as far as the store: texts tried, fingerprints and trials of all."""
    with open_store(address, create=False) as store:
        run = large_run(store)
        state = run.search.state()
        state["ledger"] |= {"proposed": count, "awaited": []}
        texts = [
            f"nesterov: bessel_i1e([a13*a{n}]*g)+sign(m)*ln(abs(v)+1e-8)" for n in range(count)
        ]
        state |= {"tried": Texts(texts).to_json(), "index": count // 16}
        run.search = run.search.restored(state)
        assert run._twins is not None
        run._twins.find_or_add(Rule.parse("none: g"), protocol="{}", digest="ab" * 32)
        (shelf,) = run._twins.rows()
        digests = store.results(RUN.digest).trials
        scale = np.exp(np.random.default_rng(0).normal(size=(1, count)))
        run._twins.load(*shelf[:3], digests=digests, sketches=shelf[4] * scale)
        held = SortedDigests(size=DIGEST_BYTES).merged(map(bytes.fromhex, digests))
        run._settled = Settled(store, held)
        run._recorder.written = count
        timed("save the checkpoint", run._save)


def resume(address: str, count: int) -> None:
    """Do what a resumed run does until new proposals are screened and wait for their trials."""
    with open_store(address, create=False) as store:
        run = large_run(store)
        found = run._checkpoint()
        assert found is not None
        with run.evaluator.answers() as answers:
            run._go_on_from(found, answers)
            assert run.search.proposed == len(run._settled) == count
            run._admit(run.search.ask(), answers)
            assert run._pending


def poll(address: str, ready: Any, stop: Any, slowest: Any) -> None:
    with open_store(address, create=False, read_only=True) as store:
        ready.set()
        while not stop.wait(POLL_SECONDS):
            started = time.perf_counter()
            read_leaderboard(store, RUN, limit=10)
            store.counts(RUN.digest)
            slowest.value = max(slowest.value, time.perf_counter() - started)


def write_while_polled(address: str, count: int) -> None:
    context = multiprocessing.get_context("spawn")
    ready, stop, slowest = context.Event(), context.Event(), context.Value("d", 0.0)
    reader = context.Process(target=poll, args=(address, ready, stop, slowest))
    reader.start()
    ready.wait()
    written, started = 0, time.perf_counter()
    with open_store(address) as store:
        while time.perf_counter() - started < SECONDS_OF_WRITING:
            held = [store.put(trial(count + written + n)) for n in range(RECORDED_AT_ONCE)]
            entries = [entry(count + written + n, t.key.digest) for n, t in enumerate(held)]
            store.record_many(RUN.digest, entries)
            written += RECORDED_AT_ONCE
    seconds = time.perf_counter() - started
    stop.set()
    reader.join()
    print(f"{'put one by one, recorded by tens, with a reader':<46} "
          f"{60 * written / seconds:8.0f} trials a minute; "
          f"slowest poll {slowest.value:.3f} s")  # fmt: skip


@contextlib.contextmanager
def place(kind: str) -> Iterator[str]:
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield str(Path(folder) / "trials.sqlite")
        return
    programs = find_programs()
    assert programs is not None, "PostgreSQL is not installed"
    with postgresql_server(programs, fsync="on") as server:
        yield server.create("trials")


def measure_listings(address: str, count: int) -> None:
    """Print what a leaderboard and a resumed run take."""
    timed("leaderboard, opening included", lambda: leaderboard(address))
    save_checkpoint(address, count)
    resume(address, count)  # loads libraries and data, which a search needs anyway
    timed("resume, opening and first trials asked for", lambda: resume(address, count))


def measure_rest(address: str, count: int) -> None:
    """Print what else a filled store takes."""
    digests = [trial(number).key.digest for number in range(0, REAL, 2)]
    fresh = [trial(number) for number in range(10**8, 10**8 + 5000)]
    with open_store(address) as store:
        timed("counts of the run", lambda: store.counts(RUN.digest))
        timed("best 10 of all runs", lambda: store.trials(limit=10))
        timed("get, 1000 at once", lambda: store.get_many(digests), 1000)
        timed("put, 1000 at once", lambda: _put(store, fresh), len(fresh))
        timed("claim and release, 100 at once", lambda: _lease(store), 100)
    write_while_polled(address, count)
    print(f"{take_inventory(address).size_bytes / count:.0f} bytes a trial and its entry")


def main(kind: str, count: int, *, only_listings: bool) -> None:
    with place(kind) as address:
        with open_store(address) as store:
            timed(f"{count} trials and entries, mostly copied", lambda: fill(store, count), count)
        measure_listings(address, count)
        if not only_listings:
            measure_rest(address, count)


def _put(store: SqlStore, trials: list[Trial]) -> None:
    for start in range(0, len(trials), 1000):
        store.put_many(trials[start : start + 1000])


def _lease(store: SqlStore) -> None:
    digests = [f"{number:064x}" for number in range(100)]
    store.claim(digests, owner="perf", seconds=60)
    store.release(digests, owner="perf")


if __name__ == "__main__":
    trials = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    main(sys.argv[1], trials, only_listings="listings" in sys.argv[3:])
