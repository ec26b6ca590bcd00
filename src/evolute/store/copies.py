"""Copies of stores: backup, merge and repair, none of which changes what it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

from evolute.errors import InputError, StoreError
from evolute.store import sqlite
from evolute.store.address import parse_address
from evolute.store.base import RunEntry, RunRecord
from evolute.store.contents import Contents, Document, SqlContents
from evolute.store.faults import translated
from evolute.store.salvage import SalvagedContents
from evolute.store.sql import open_store
from evolute.store.sql_store import SqlStore
from evolute.trial import RETRIED_KINDS, Trial

ROWS_AT_ONCE = 1000

T = TypeVar("T")


@dataclass
class Report:
    """What a copy has done.

    Parameters
    ----------
    trials, entries, runs, documents
        How many were read that are what was written.
    new_trials
        How many of the trials were not there before.
    conflicts
        A sentence for each that the target holds otherwise; what was there first was kept.
    damaged
        A sentence for each that was left out, because it is not what was written.
    lost_entries
        How many entries of runs were left out because their trial was.
    """

    trials: int = 0
    entries: int = 0
    runs: int = 0
    documents: int = 0
    new_trials: int = 0
    conflicts: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    lost_entries: int = 0


def backup(path_or_url: str | Path, copy: Path) -> Report | None:
    """Copy a store to a new SQLite file, as it is at one moment, while others may write to it.

    Parameters
    ----------
    path_or_url
        The store.
    copy
        Path of the new file.

    Returns
    -------
    Report
        What was copied; None for an SQLite file, which is copied page by page.

    Raises
    ------
    StoreError
        If the store cannot be read, or the copy is there already or cannot be written.
    """
    address = parse_address(path_or_url)
    name = _require_new(copy)
    if address.path is not None:
        sqlite.require_store(address.path, address.name)
        with translated(name):
            sqlite.copy_file(address.path, copy)
        return None
    with open_store(path_or_url, create=False, read_only=True) as source:
        return _to_new_file(copy, lambda target: _transfer_all(source, target))


def merge(path_or_url: str | Path, target: SqlStore) -> Report:
    """Add what a store holds to another; doing so again changes nothing.

    Raises
    ------
    StoreError
        If the store cannot be read, or the target not be written.
    """
    with open_store(path_or_url, create=False, read_only=True) as source:
        if source.name == target.name:
            raise InputError(f"store {source.name} cannot be merged into itself: name two stores")
        return _transfer_all(source, target)


def repair(path_or_url: str | Path, output: Path) -> Report:
    """Save all that can be read of a store, damaged or not, to a new SQLite file.

    An SQLite file is read page by page, and never written to. Every trial is verified by the digest
    of its key and its checksum.

    Raises
    ------
    StoreError
        If the store cannot be read at all, or the new file is there already.
    """
    address = parse_address(path_or_url)
    _require_new(output)
    if address.path is None:
        with open_store(path_or_url, create=False, read_only=True) as source:
            return _to_new_file(output, lambda target: _transfer_all(source, target))
    sqlite.check_path(address.path, address.name, must_exist=True)
    try:
        contents = SalvagedContents(address.path)
    except OSError as error:
        raise StoreError(f"store {address.name} cannot be read: {error.strerror}") from error
    return _to_new_file(output, lambda target: transfer(contents, target))


def transfer(contents: Contents, target: SqlStore) -> Report:
    """Add what was read to a store; what the store holds already stays."""
    report = Report()
    for batch in _batches(contents.trials()):
        _add_trials(batch, target, report)
    for run_id, record in contents.runs():
        report.runs += 1
        try:
            target.open_run(record)
        except StoreError as error:
            report.conflicts.append(str(error))
            continue
        held = {entry.position: entry for entry in target.run_entries(record.digest)}
        for found in _batches(contents.entries(run_id)):
            _add_entries(record, found, held, target=target, report=report)
        for document in contents.documents(run_id):
            _add_document(record, document, target, report)
    report.damaged += contents.damaged
    return report


def _transfer_all(source: SqlStore, target: SqlStore) -> Report:
    return source.session.read(lambda connection: transfer(SqlContents(connection), target))


def _add_trials(batch: list[Trial], target: SqlStore, report: Report) -> None:
    known = target.get_many([trial.key.digest for trial in batch])
    for trial, held in zip(batch, target.put_many(batch), strict=True):
        report.trials += 1
        before = known.get(trial.key.digest)
        report.new_trials += before is None
        ended = {held.outcome.kind, trial.outcome.kind} & RETRIED_KINDS
        if not ended and (held.outcome.kind, held.score) != (trial.outcome.kind, trial.score):
            report.conflicts.append(
                f"trial {trial.key.digest[:12]}: {_figures(held)} was kept, not {_figures(trial)}"
            )


def _figures(trial: Trial) -> str:
    fitness = "" if trial.score is None else f" with fitness {trial.score.fitness!r}"
    return f"{trial.outcome.kind.value}{fitness}"


def _add_entries(
    run: RunRecord,
    found: Sequence[tuple[RunEntry, bool]],
    held: dict[int, RunEntry],
    *,
    target: SqlStore,
    report: Report,
) -> None:
    """Record those of the entries found whose trial is there and whose position is free."""
    stored = target.get_many({entry.trial for entry, _ in found})
    fresh: list[RunEntry] = []
    marked: list[int] = []
    for entry, unsettled in found:
        report.entries += 1
        if entry.trial not in stored:
            report.lost_entries += 1
        elif entry.position not in held:
            held[entry.position] = entry
            fresh.append(entry)
            marked += [entry.position] if unsettled else []
        elif held[entry.position] != entry:
            report.conflicts.append(f"position {entry.position} of run {run.name}")
    target.record_many(run.digest, fresh)
    target.mark_unsettled(run.digest, marked)


def _add_document(run: RunRecord, document: Document, target: SqlStore, report: Report) -> None:
    report.documents += 1
    held = target.document(run.digest, document.name)
    if held is None:
        target.put_document(run.digest, document.name, document.content)
    elif held != document.content:
        report.conflicts.append(f"document {document.name!r} of run {run.name}")


def _require_new(path: Path) -> str:
    name = repr(str(path))
    if path.exists():
        raise StoreError(f"store {name} is there already: give the path of a new file")
    sqlite.check_path(path, name, must_exist=False)
    return name


def _to_new_file(path: Path, fill: Callable[[SqlStore], Report]) -> Report:
    """Fill a new store, which gets its name once it is whole."""
    unfinished = Path(f"{path}.unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        with open_store(unfinished) as target:
            report = fill(target)
        unfinished.replace(path)
    finally:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{unfinished}{suffix}").unlink(missing_ok=True)
    return report


def _batches(values: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(values)
    while batch := list(islice(rest, ROWS_AT_ONCE)):
        yield batch
