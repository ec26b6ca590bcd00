"""Checkpoint: what a run has come to, as columns of bytes, and back.

A cache: a run of a million proposals goes on from it in a second or two, instead of drawing and
checking all of them anew. Nothing of it is needed: without one, or with one that is damaged, of
another version, or a stranger's, the run asks its search from the beginning and finds the same.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from evolute.errors import TaskError
from evolute.lang.rule import Momentum
from evolute.runs.budget import Budget
from evolute.runs.progress import KEPT_FIGURES
from evolute.runs.screening import TwinFinder
from evolute.runs.settled import DIGEST_BYTES, Settled
from evolute.search.base import Search
from evolute.search.digests import SortedDigests
from evolute.search.state import MALFORMED
from evolute.store.base import Store
from evolute.trial import RETRIED_KINDS, OutcomeKind

FORMAT = 3
"""To be raised with every change of what a checkpoint holds, or of how searches draw or go on."""

_log = logging.getLogger("evolute")

STATE, SETTLED = "state", "settled"

PENDING = 2**32 - 1
"""Place of a trial that is not settled."""


@dataclass
class Checkpoint:
    """What a run has come to.

    Parameters
    ----------
    search
        The search, all of whose proposals were screened.
    settled
        What became of the trials.
    progress
        Figures of the progress, by name.
    failures
        How often trials ended in each way, with the sentence of the first.
    seconds
        Seconds that the trials took.
    pending
        Groups of candidates that wait for their trials.
    told_early
        Candidates that were told, but not recorded.
    asked
        How many trials were asked for.
    entries
        How many entries of the run are recorded.
    """

    search: Search
    settled: Settled
    progress: dict[str, Any]
    failures: dict[OutcomeKind, tuple[int, str]]
    seconds: float
    pending: list[list[Any]]
    told_early: list[Any]
    asked: int
    entries: int

    @property
    def sampled(self) -> int:
        """How many proposals were screened."""
        return int(self.progress["sampled"])

    def is_beyond(self, budget: Budget, *, workers: int) -> bool:
        """Whether it has come further than a budget does, of so many workers."""
        asked, time, seconds = budget.evaluations, budget.seconds, self.seconds / workers
        return (asked is not None and self.asked > asked) or (time is not None and seconds > time)


def say_ignored(error: Exception) -> None:
    """Say in one line that a checkpoint is none of this run."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    _log.warning("a checkpoint that cannot be used is ignored (%s): asking the search anew", reason)


@contextmanager
def if_sound() -> Iterator[None]:
    """Leave the code inside where a checkpoint is none of this run after all, and say so."""
    try:
        yield
    except MALFORMED as error:
        if isinstance(error, TaskError):  # the user's own fault
            raise
        say_ignored(error)


def to_columns(
    checkpoint: Checkpoint, twins: TwinFinder | None, *, run: str
) -> dict[str, bytes] | None:
    """Return the columns of a checkpoint; None of a search that cannot say its state."""
    state = checkpoint.search.state()
    if state is None:
        return None
    settled = checkpoint.settled.all_digests()
    columns, shelves = {SETTLED: settled.content}, []
    for number, (protocol, momentum, sizes, digests, sketches) in enumerate(
        twins.rows() if twins else ()
    ):
        places = [settled.find(bytes.fromhex(digest)) for digest in digests]
        pending = [digest for digest, at in zip(digests, places, strict=True) if at is None]
        shelves.append([protocol, momentum.value, list(sizes), pending])
        filled = [PENDING if at is None else at for at in places]
        columns[f"twins {number}"] = np.array(filled, "<u4").tobytes()
        columns[f"sketches {number}"] = sketches.astype("<f8").tobytes()
    plain = {
        "format": FORMAT,
        "run": run,
        "search": state,
        "progress": checkpoint.progress,
        "failures": [[kind.value, *each] for kind, each in checkpoint.failures.items()],
        "seconds": checkpoint.seconds,
        "pending": checkpoint.pending,
        "told_early": checkpoint.told_early,
        "asked": checkpoint.asked,
        "entries": checkpoint.entries,
        "shelves": shelves,
        "to_retry": {digest: kind.value for digest, kind in checkpoint.settled.to_retry.items()},
    }
    return columns | {STATE: json.dumps(plain).encode()}


def from_columns(
    columns: Mapping[str, bytes],
    search: Search,
    *,
    store: Store,
    run: str,
    twins: TwinFinder | None,
) -> Checkpoint:
    """Read what :func:`to_columns` wrote of this run.

    Parameters
    ----------
    columns
        What the store holds.
    search
        A search at its beginning; it stays as it is.
    store
        Where the trials are.
    run
        Digest of the run.
    twins
        A new finder of equal rules; what was found before is added to it.

    Raises
    ------
    Exception
        One of :data:`evolute.search.state.MALFORMED`, if it is anything else.
    """
    plain = json.loads(columns[STATE])
    if (plain["format"], plain["run"]) != (FORMAT, run):
        raise ValueError("a checkpoint of another version or run")
    digests = SortedDigests(columns[SETTLED], size=DIGEST_BYTES)
    _load_twins(columns, plain["shelves"], digests, twins=twins)
    return Checkpoint(
        search=search.restored(plain["search"]),
        settled=Settled(store, digests, to_retry=_to_retry(plain["to_retry"], digests)),
        progress=_figures(plain["progress"]),
        failures={
            OutcomeKind(kind): (_count(count), _text(first))
            for kind, count, first in plain["failures"]
        },
        seconds=_finite(plain["seconds"]),
        pending=list(plain["pending"]),
        told_early=list(plain["told_early"]),
        asked=_count(plain["asked"]),
        entries=_count(plain["entries"]),
    )


def _to_retry(kept: Mapping[str, str], settled: SortedDigests) -> dict[str, OutcomeKind]:
    """Return how trials ended that are to be tried again; ValueError if some are not settled."""
    kinds = {digest: OutcomeKind(kind) for digest, kind in kept.items()}
    if not RETRIED_KINDS.issuperset(kinds.values()):
        raise ValueError("a trial to be tried again that ended for good")
    if any(settled.find(bytes.fromhex(digest)) is None for digest in kinds):
        raise ValueError("a trial to be tried again that is not settled")
    return kinds


def _figures(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of the progress; ValueError if one is missing or of another type."""
    figures = {name: kept[name] for name in KEPT_FIGURES}
    if len(kept) != len(figures):
        raise ValueError(f"figures that no progress has, among {len(kept)}")
    rule, fitness = figures.pop("best_rule"), figures.pop("best_fitness")
    if (rule is None) != (fitness is None):
        raise ValueError("a best rule without a fitness, or the reverse")
    best = (None, None) if rule is None else (_text(rule), _finite(fitness))
    counts = {name: _count(value) for name, value in figures.items()}
    return counts | {"best_rule": best[0], "best_fitness": best[1]}


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a count that is no integer from 0")
    return value


def _finite(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(float(value)):  # type: ignore[arg-type]
        raise ValueError("a figure that is no finite number")
    return float(value)  # type: ignore[arg-type]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a text that is {type(value).__name__}")
    return value


class _Names(Sequence[str]):
    """Digests of trials by their places among those settled; of those pending, as they are."""

    def __init__(
        self, settled: SortedDigests, places: npt.NDArray[np.uint32], pending: Sequence[str]
    ) -> None:
        self._settled, self._places = settled, places
        rows = np.flatnonzero(places == PENDING).tolist()
        self._pending = dict(zip(rows, map(_text, pending), strict=True))
        if len(rows) < len(places) and int(np.delete(places, rows).max()) >= len(settled):
            raise ValueError("fingerprints of trials that are not settled")

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> list[str]: ...

    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        held = self._pending.get(row)
        return self._settled[int(self._places[row])].hex() if held is None else held


def _load_twins(
    columns: Mapping[str, bytes],
    shelves: Any,
    settled: SortedDigests,
    *,
    twins: TwinFinder | None,
) -> None:
    for number, (protocol, momentum, sizes, pending) in enumerate(shelves):
        if twins is None:
            raise ValueError("fingerprints of a run that compares none")
        places = np.frombuffer(columns[f"twins {number}"], dtype="<u4")
        sketches = np.frombuffer(columns[f"sketches {number}"], dtype="<f8")
        twins.load(
            str(protocol),
            Momentum(momentum),
            tuple(map(int, sizes)),
            digests=_Names(settled, places, pending),
            sketches=sketches.reshape(-1, len(places)) if len(places) else sketches,
        )
