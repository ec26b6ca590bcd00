"""Leaderboard: the distinct trained rules of a run, best first."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice
from typing import Any, Literal, overload

from evolute.errors import InputError, StoreError, UnknownNameError
from evolute.store.base import RunRecord, Store
from evolute.trial import OutcomeKind, Trial

ROWS_AT_ONCE = 1000
"""Trials that are read from the store at once: a few milliseconds' worth."""


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """One trained rule and what it scored.

    Parameters
    ----------
    rank
        From 1.
    rule
        Canonical text.
    fitness
        What the search selected by; higher is better.
    loss, metric
        Loss and metric on the validation split.
    learning_rate
        Best of the probed peak learning rates.
    trial
        Digest of the trial.
    """

    rank: int
    rule: str
    fitness: float
    loss: float
    metric: float | None
    learning_rate: float
    trial: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Leaderboard(Sequence[LeaderboardRow]):
    """Rows, best first; prints as a table.

    Trials of different protocols are not comparable: a leaderboard holds those of one, the main
    stage's, or the initial stage's while nothing has finished in the main one.
    """

    rows: tuple[LeaderboardRow, ...]

    @overload
    def __getitem__(self, index: int) -> LeaderboardRow: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[LeaderboardRow, ...]: ...

    def __getitem__(self, index: int | slice) -> LeaderboardRow | tuple[LeaderboardRow, ...]:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[LeaderboardRow]:
        return iter(self.rows)

    def __repr__(self) -> str:
        shown = "\n".join(
            f"{row.rank:>4}  {row.fitness:>9.4f}  {row.learning_rate:>8.2g}  {row.rule}"
            for row in self.rows[:20]
        )
        more = f"\n… and {len(self) - 20} more" if len(self) > 20 else ""
        return f"rank    fitness      rate  rule\n{shown}{more}"


RunKind = Literal["search", "benchmark", "elimination", "ablation"]
"""What a run of the store is: its config says so under ``kind``, that of a search says nothing."""

_BEGIN: Mapping[str, str] = {
    "search": "begin one with 'evolute search'",
    "benchmark": "make one with 'evolute bench'",
    "elimination": "make one with 'evolute eliminate'",
    "ablation": "make one with 'evolute explain'",
}


def runs_of_kind(store: Store, kind: RunKind = "search") -> tuple[RunRecord, ...]:
    """Return the runs of a kind, first stored first."""
    return tuple(
        run for run in store.runs() if json.loads(run.config_json).get("kind", "search") == kind
    )


def find_run(store: Store, name: str | None, *, kind: RunKind = "search") -> RunRecord:
    """Return the run of that name or beginning of digest; the newest one without a name.

    Raises
    ------
    StoreError
        If the store holds no run of the kind.
    UnknownNameError
        If it holds none of that name.
    InputError
        If several runs are called so: their digests tell them apart.
    """
    runs = runs_of_kind(store, kind)
    if not runs:
        what = "run" if kind == "search" else kind
        raise StoreError(f"the store holds no {what} yet: {_BEGIN[kind]}")
    if name is None:
        return runs[-1]
    matching = [run for run in runs if run.name == name or run.digest.startswith(name)]
    if not matching:
        raise UnknownNameError("run", name, {run.name for run in runs})
    if len(matching) > 1:
        digests = ", ".join(run.digest[:12] for run in matching)
        raise InputError(
            f"{len(matching)} runs are called {name!r}: give the first digits of the digest of one "
            f"of them instead of its name ({digests})"
        )
    return matching[0]


def read_leaderboard(
    store: Store,
    run: RunRecord,
    *,
    limit: int | None = None,
    within: Collection[str] | None = None,
) -> Leaderboard:
    """Return the leaderboard of a run.

    Parameters
    ----------
    store
        Where the run is.
    run
        The run.
    limit
        Most rows; None for all.
    within
        Digests of the trials that may be listed; None for all of the run.
    """
    config = json.loads(run.config_json)
    page = ROWS_AT_ONCE if limit is None or within is not None else min(limit, ROWS_AT_ONCE)
    for stage in ("main", "initial"):
        finished = _finished(store, run, protocol=config[stage], page=max(page, 1))
        listed = (trial for trial in finished if within is None or trial.key.digest in within)
        rows = tuple(_row(rank, trial) for rank, trial in enumerate(islice(listed, limit), 1))
        if rows:
            return Leaderboard(rows)
    return Leaderboard(())


def _finished(store: Store, run: RunRecord, *, protocol: str, page: int) -> Iterator[Trial]:
    """Yield the finished trials of one protocol, best first, a page in memory at a time."""
    for skip in count(step=page):
        found = store.trials(
            run=run.digest,
            protocol=protocol,
            outcomes=[OutcomeKind.FINISHED],
            limit=page,
            skip=skip,
        )
        yield from (stored.trial for stored in found)
        if len(found) < page:
            return


def _row(rank: int, trial: Trial) -> LeaderboardRow:
    score = trial.score
    assert score is not None  # finished trials have one
    return LeaderboardRow(
        rank=rank,
        rule=trial.key.rule,
        fitness=score.fitness,
        loss=score.loss,
        metric=score.metric,
        learning_rate=score.learning_rate,
        trial=trial.key.digest,
    )
