"""Write the store that tests keep of the schema of today: ``python make_asset.py > schema-N.sql``.

Run once for each schema, by the version of evolute that brings it; what is written stays.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from evolute.store.base import RunEntry, RunRecord
from evolute.store.sql import open_store
from evolute.trial import EpochRecord, Outcome, OutcomeKind, Provenance, Score, Trial, TrialKey

RUN = RunRecord("ab" * 32, "kept", '{"seed":0}', "1", "2026-11-22T12:00:00.000+00:00")

CHECKPOINT = {"state": b'{"format":1}', "settled": bytes(64)}


def trials() -> list[Trial]:
    """Return a trial of each kind that differs in its columns."""
    provenance = Provenance(2.0, "2026-11-22T12:00:01.000+00:00", "a processor, torch 2")
    curve = (EpochRecord(200, 1 / 3, None, float("inf"), 1.0),)
    score = Score(-0.1, 0.1, 0.1, None, 5e-324, 900)
    endings = [
        (Outcome(OutcomeKind.FINISHED, "trained to its end"), score, curve),
        (Outcome(OutcomeKind.DIVERGED, "the loss became NaN at step 3"), None, curve),
        (Outcome(OutcomeKind.TIMED_OUT, "took longer than 60 s"), None, ()),
        (Outcome(OutcomeKind.DEGENERATE, "no gradient reaches the update ∇"), None, ()),
    ]
    return [
        Trial(
            TrialKey(f"none: g*{n}", "digits", "1", f'{{"width":{n % 2}}}', n), *ending, provenance
        )
        for n, ending in enumerate(endings)
    ]


def entries() -> list[RunEntry]:
    """Return proposals that name the trials, one of them twice."""
    held = trials()
    return [
        RunEntry(position, held[n].key.digest, {"outcome": held[n].outcome.kind.value, "at": n})
        for position, n in enumerate((0, 1, 2, 3, 0))
    ]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        with open_store(path) as store:
            store.open_run(RUN)
            store.put_many(trials())
            store.record_many(RUN.digest, entries())
            store.put_document(RUN.digest, "verdict", {"sentence": "kept"})
            store.put_checkpoint(RUN.digest, CHECKPOINT, entries=len(entries()))
        with closing(sqlite3.connect(path)) as connection:
            sys.stdout.write("\n".join(connection.iterdump()) + "\n")
