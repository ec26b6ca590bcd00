"""Contents: all that a store holds, as verified values, whatever they are read from."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, select

from evolute.store.base import RunEntry, RunRecord
from evolute.store.checking import pages
from evolute.store.checksums import (
    RUN_COLUMNS,
    document_checksum,
    entry_checksum,
    require_sum,
    run_checksum,
)
from evolute.store.listing import ENTRIES, TRIALS
from evolute.store.rows import DAMAGE, row_to_trial
from evolute.store.schema import documents, run_entries, runs, trials
from evolute.trial import Trial

T = TypeVar("T")
Row = Mapping[Any, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a run."""

    name: str
    content: Any


@dataclass
class Contents(ABC):
    """Rows of a store, of which only those are handed out that are what was written.

    Parameters
    ----------
    damaged
        A sentence for each row that was left out.
    """

    damaged: list[str] = field(default_factory=list, init=False)

    @abstractmethod
    def trial_rows(self) -> Iterator[Row]:
        """Yield the rows of trials, each with the text of its ``protocol``."""

    @abstractmethod
    def run_rows(self) -> Iterator[Row]:
        """Yield the rows of runs."""

    @abstractmethod
    def entry_rows(self, run_id: int) -> Iterator[Row]:
        """Yield the rows of entries of a run."""

    @abstractmethod
    def document_rows(self, run_id: int) -> Iterator[Row]:
        """Yield the rows of documents of a run."""

    def trials(self) -> Iterator[Trial]:
        """Yield the trials."""
        return self._sound("trial", self.trial_rows(), "digest", row_to_trial)

    def runs(self) -> Iterator[tuple[int, RunRecord]]:
        """Yield the runs with their numbers."""
        return self._sound("run", self.run_rows(), "digest", _run)

    def entries(self, run_id: int) -> Iterator[tuple[RunEntry, bool]]:
        """Yield the entries of a run, and whether each is unsettled."""
        return self._sound("position", self.entry_rows(run_id), "position", _entry)

    def documents(self, run_id: int) -> Iterator[Document]:
        """Yield the documents of a run."""
        return self._sound("document", self.document_rows(run_id), "name", _document)

    def _sound(
        self, what: str, rows: Iterator[Row], key: str, read: Callable[[Row], T]
    ) -> Iterator[T]:
        for row in rows:
            try:
                value = read(row)
            except DAMAGE as error:
                self.damaged.append(f"{what} {row[key]}: {error}")
                continue
            yield value


@dataclass
class SqlContents(Contents):
    """Rows that a database hands out, within one transaction.

    Parameters
    ----------
    connection
        Connection to a store of the newest schema.
    """

    connection: Connection

    def trial_rows(self) -> Iterator[Row]:
        return pages(self.connection, TRIALS, trials)

    def run_rows(self) -> Iterator[Row]:
        return pages(self.connection, select(runs), runs)

    def entry_rows(self, run_id: int) -> Iterator[Row]:
        query = ENTRIES.where(run_entries.c.run_id == run_id)
        return pages(self.connection, query, run_entries)

    def document_rows(self, run_id: int) -> Iterator[Row]:
        return pages(self.connection, select(documents).where(documents.c.run_id == run_id),
                     documents)  # fmt: skip


def _run(row: Row) -> tuple[int, RunRecord]:
    require_sum(run_checksum(row), row)
    return row["id"], RunRecord(**{name: row[name] for name in RUN_COLUMNS})


def _entry(row: Row) -> tuple[RunEntry, bool]:
    require_sum(entry_checksum(row), row)
    facts = dict(json.loads(row["facts"]))
    return RunEntry(row["position"], row["trial"], facts), bool(row["unsettled"])


def _document(row: Row) -> Document:
    require_sum(document_checksum(row), row)
    return Document(row["name"], json.loads(row["body"]))
