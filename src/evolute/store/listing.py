"""How trials and entries are asked for: queries whose order an index has, so that a limit is cheap.

A listing by fitness is read in two parts, the scored ones and the rest, because databases differ in
where they put what has no fitness.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Table,
    exists,
    func,
    select,
)

from evolute.errors import InputError, UnknownNameError
from evolute.store.base import Order
from evolute.store.schema import protocols, run_entries, trials
from evolute.store.writing import text_digest
from evolute.trial import OutcomeKind

ROWS_AT_ONCE = 10_000

TRIALS = select(
    *(column for column in trials.c if column.name != "protocol_id"),
    protocols.c.text.label("protocol"),
).join(protocols, protocols.c.id == trials.c.protocol_id, isouter=True)
"""A trial whose protocol is lost is a damaged one, and not one that is not there."""

ENTRIES = select(
    *(run_entries.c[name] for name in ("run_id", "position", "trial", "facts", "checksum")),
    *(run_entries.c[name] for name in ("outcome", "fitness", "unsettled")),
)


NO_ROW = -1
"""Number that no row has."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which trials are listed, how many and in which order; see ``Store.trials``."""

    run: str | None = None
    task: str | None = None
    protocol: str | None = None
    outcomes: Collection[OutcomeKind] | None = None
    limit: int | None = None
    skip: int = 0
    order: Order = "fitness"

    def __post_init__(self) -> None:
        if self.order not in get_args(Order):
            raise UnknownNameError("order", self.order, get_args(Order))
        if self.order == "position" and self.run is None:
            raise InputError(
                "order 'position' is that of one run: name the run, or order by fitness"
            )
        for what, count in (("limit", self.limit), ("skip", self.skip)):
            if count is not None and count < 0:
                raise InputError(f"a {what} of {count} trials cannot be: give 0 or more")


def trial_rows(connection: Connection, choice: Choice) -> list[RowMapping]:
    """Return the rows of the trials of all runs that are chosen."""
    query = TRIALS.where(*_wanted(connection, choice, trials))
    if choice.order == "stored":
        return _cut(connection, [_of_outcomes(query, choice, trials).order_by(trials.c.id)], choice)
    return _cut(connection, _by_fitness(query, choice, trials, tie=trials.c.id), choice)


def entry_rows(connection: Connection, choice: Choice, run_id: int) -> list[RowMapping]:
    """Return the rows of the first entries that name the trials of a run that are chosen."""
    earlier = run_entries.alias()
    query = ENTRIES.where(
        run_entries.c.run_id == run_id,
        ~exists().where(
            earlier.c.trial_id == run_entries.c.trial_id,
            earlier.c.run_id == run_entries.c.run_id,
            earlier.c.position < run_entries.c.position,
        ),
        *_wanted(connection, choice, run_entries),
    )
    if choice.task is not None:
        query = query.join(trials, trials.c.id == run_entries.c.trial_id)
    if choice.order == "fitness":
        queries = _by_fitness(query, choice, run_entries, tie=run_entries.c.position)
        return _cut(connection, queries, choice)
    order = run_entries.c.position if choice.order == "position" else run_entries.c.trial_id
    return _cut(connection, [_of_outcomes(query, choice, run_entries).order_by(order)], choice)


def outcome_counts(connection: Connection, run_id: int) -> Sequence[Any]:
    """Return outcome, number of positions and number of trials for each outcome of a run."""
    outcome, trial = run_entries.c.outcome, run_entries.c.trial_id
    by_trial = (
        # Counted in the order of an index: nothing is sorted.
        select(outcome, func.count().label("positions"))
        .where(run_entries.c.run_id == run_id)
        .group_by(outcome, trial)
        .subquery()
    )
    query = select(by_trial.c.outcome, func.sum(by_trial.c.positions), func.count()).group_by(
        by_trial.c.outcome
    )
    return connection.execute(query).all()


def _wanted(connection: Connection, choice: Choice, table: Table) -> Iterator[ColumnElement[bool]]:
    if choice.task is not None:
        yield trials.c.task == choice.task
    if choice.protocol is not None:
        digest = text_digest(choice.protocol)
        number = connection.scalar(select(protocols.c.id).where(protocols.c.digest == digest))
        yield table.c.protocol_id == (NO_ROW if number is None else number)


def _of_outcomes(query: Select[Any], choice: Choice, table: Table) -> Select[Any]:
    if choice.outcomes is None:
        return query
    return query.where(table.c.outcome.in_([kind.value for kind in choice.outcomes]))


def _by_fitness(
    query: Select[Any], choice: Choice, table: Table, *, tie: ColumnElement[Any]
) -> list[Select[Any]]:
    """Return the query of the scored trials, best first, and that of the others."""
    fitness, wanted = table.c.fitness, choice.outcomes
    queries = []
    if wanted is None or OutcomeKind.FINISHED in wanted:
        # What is scored has finished: to ask for the outcome too would lead away from the index.
        queries.append(query.where(fitness.is_not(None)).order_by(fitness.desc(), tie))
    if wanted is None or set(wanted) - {OutcomeKind.FINISHED}:
        others = _of_outcomes(query, choice, table).where(fitness.is_(None))
        queries.append(others.order_by(tie))
    return queries


def _cut(
    connection: Connection, queries: Sequence[Select[Any]], choice: Choice
) -> list[RowMapping]:
    """Return the rows of these queries in turn, without the skipped ones and up to the limit."""
    rows: list[RowMapping] = []
    skip = choice.skip
    for query in queries:
        left = None if choice.limit is None else choice.limit - len(rows)
        if left == 0:
            break
        found = connection.execute(query.limit(left).offset(skip or None)).mappings().all()
        if skip and not found:
            # All of this part was skipped: what it held is taken off for the next.
            total = connection.scalar(select(func.count()).select_from(query.subquery())) or 0
            skip = max(skip - total, 0)
        elif found:
            skip = 0
        rows += found
    return rows


def result_columns(connection: Connection, run_id: int) -> tuple[tuple[Any, ...], ...]:
    """Return positions, digests of trials, outcomes and fitnesses of a run, by position."""
    named = [run_entries.c[name] for name in ("position", "trial", "outcome", "fitness")]
    query = select(*named).where(run_entries.c.run_id == run_id)
    cursor: Any = connection.execute(query.order_by(run_entries.c.position)).cursor
    columns: tuple[list[Any], ...] = ([], [], [], [])
    # The driver's own tuples, some at a time: SQLAlchemy's rows take three times as long, and a
    # million tuples at once keep the garbage collector busy.
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        for column, values in zip(columns, zip(*rows, strict=True), strict=True):
            column += values
    return tuple(map(tuple, columns))
