"""Store: what is remembered between runs and processes. Its guarantees stand before its methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from evolute.trial import OutcomeKind, Trial

Order = Literal["fitness", "position", "stored"]
"""How trials are listed: best first, by position in the run, or first stored first."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run: one search with one configuration.

    Parameters
    ----------
    digest
        Hexadecimal name of the run: equal for equal searches.
    name
        What the user calls it.
    config_json
        The configuration as JSON; kept in canonical form.
    program_version
        Version of the scoring code.
    created_at
        UTC time of the first opening, ISO 8601; empty until the run is stored.
    """

    digest: str
    name: str
    config_json: str
    program_version: str
    created_at: str = ""


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One proposal of a run and the trial that answered it.

    Parameters
    ----------
    position
        Number of the proposal in the run, from 0.
    trial
        Digest of a stored trial; several positions may name one trial.
    facts
        What else is known of the proposal, as plain data that JSON can hold.
    """

    position: int
    trial: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunResults:
    """What answered the proposals of a run, in columns: there may be millions of them.

    Parameters
    ----------
    positions
        Numbers of the proposals, rising.
    trials
        Digests of the trials that answered them.
    outcomes
        How these trials ended.
    fitnesses
        What they scored; None without a score.
    """

    positions: tuple[int, ...] = ()
    trials: tuple[str, ...] = ()
    outcomes: tuple[OutcomeKind, ...] = ()
    fitnesses: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """A trial, and the first entry that names it where the question was about a run."""

    trial: Trial
    entry: RunEntry | None


class Store(ABC):
    """Remembers trials under their keys, and which run asked for which.

    Guarantees
    ----------
    *First write wins.* A stored trial is never changed or removed. Writing it again, from this
    process or another, is no error: the first stays, and is what every writer gets back. Only a
    trial that timed out or crashed (:data:`~evolute.trial.RETRIED_KINDS`) gives its place to the
    next of its key, in every run that names it.

    *Exactness.* What is read equals what was written, floats to the last bit, but for the empty
    ``created_at``, which is stamped, and a score of minus zero, which becomes zero.

    *Durability.* When a writing method returns, what it wrote survives the death of the process
    and of the machine. A process killed inside one leaves all or nothing of that call.

    *Failure.* Whatever the database refuses (locked, read-only, full, damaged, gone) is a
    :class:`~evolute.errors.StoreError` of one line; what was stored stays, and the store can be
    used again once the cause is gone. A trial, run, entry or document whose bytes were changed
    behind the store's back is refused, never believed.

    *Threads and processes.* One store object may be used by many threads: their calls run one
    after another. Many processes may open the same store, each for itself; a store object is not
    to be carried across a fork.

    *Ownership.* Whoever opened a store closes it, best by ``with``; closing twice is harmless.
    """

    def put(self, trial: Trial) -> Trial:
        """Store a trial unless its key is there for good; return the one the store now holds."""
        return self.put_many([trial])[0]

    @abstractmethod
    def put_many(self, trials: Sequence[Trial]) -> list[Trial]:
        """Do as :meth:`put` for each of these, all or none of them, in the same order."""

    def get(self, digest: str) -> Trial | None:
        """Return the trial of this digest, or None."""
        return self.get_many([digest]).get(digest)

    @abstractmethod
    def get_many(self, digests: Collection[str]) -> Mapping[str, Trial]:
        """Return those of the trials that are stored, by digest."""

    @abstractmethod
    def find_trial(self, prefix: str) -> Trial:
        """Return the one trial whose digest begins with these hexadecimal digits.

        Raises
        ------
        InputError
            If no trial begins so, or several do, or this is no hexadecimal number.
        """

    @abstractmethod
    def trials(
        self,
        *,
        run: str | None = None,
        task: str | None = None,
        protocol: str | None = None,
        outcomes: Collection[OutcomeKind] | None = None,
        limit: int | None = None,
        skip: int = 0,
        order: Order = "fitness",
    ) -> tuple[StoredTrial, ...]:
        """List each trial once, of one run or of all.

        Parameters
        ----------
        run
            Digest of the run whose trials are wanted.
        task
            Name of the task whose trials are wanted.
        protocol
            Canonical JSON of the protocol whose trials are wanted.
        outcomes
            The outcomes that are wanted; None for all.
        limit
            At most so many; None for all of them, held in memory at once.
        skip
            How many to leave out before the first: the way to page through a long listing.
        order
            ``"fitness"``: highest first, equal ones by position or time of storing, unscored ones
            last. ``"position"``: as the run proposed them. ``"stored"``: oldest first.

        Raises
        ------
        InputError
            If the limit or skip is negative, or positions are asked for without a run.
        StoreError
            If there is no such run.
        """

    @abstractmethod
    def open_run(self, record: RunRecord) -> RunRecord:
        """Store a run unless its digest is there already; return what the store now holds.

        Raises
        ------
        StoreError
            If that digest stands for another configuration or program version.
        """

    @abstractmethod
    def runs(self) -> tuple[RunRecord, ...]:
        """Return all runs, first stored first."""

    @abstractmethod
    def record_many(self, run: str, entries: Sequence[RunEntry]) -> None:
        """Record what a run proposed, all or none of these; entries recorded before are skipped.

        Raises
        ------
        StoreError
            If the run or a trial is not stored, or a position holds something else already.
        """

    @abstractmethod
    def forget_entries(self, run: str) -> None:
        """Forget what a run proposed, so that it can be recorded anew; its trials stay.

        Raises
        ------
        StoreError
            If there is no such run.
        """

    @abstractmethod
    def forget_entries_from(self, run: str, position: int, *, also: Collection[int]) -> None:
        """Forget what a run proposed from a position on, and at others; all else stays.

        Raises
        ------
        StoreError
            If there is no such run.
        """

    @abstractmethod
    def run_entries(self, run: str) -> tuple[RunEntry, ...]:
        """Return the entries of a run by rising position; positions may have gaps.

        Raises
        ------
        StoreError
            If there is no such run.
        """

    @abstractmethod
    def results(self, run: str) -> RunResults:
        """Return what answered each position of a run, by rising position: quicker than entries.

        Raises
        ------
        StoreError
            If there is no such run.
        """

    @abstractmethod
    def unsettled(self, run: str) -> bool:
        """Tell whether a trial had timed out or crashed when this run recorded it.

        Such a trial is tried again, and may lead the search elsewhere.

        Raises
        ------
        StoreError
            If there is no such run.
        """

    @abstractmethod
    def counts(self, run: str) -> Mapping[OutcomeKind, int]:
        """Count the positions of a run by outcome; outcomes that do not occur are left out.

        A position that names the trial of an earlier one counts as a duplicate, unless the trial
        is degenerate.

        Raises
        ------
        StoreError
            If there is no such run.
        """

    @abstractmethod
    def put_document(self, run: str, name: str, document: object) -> None:
        """Store plain data of a run under a name, in place of what was there.

        Raises
        ------
        StoreError
            If there is no such run, or the data is not what JSON can hold.
        """

    @abstractmethod
    def document(self, run: str, name: str) -> Any:
        """Return the document of this name, None if there is none.

        Raises
        ------
        StoreError
            If there is no such run.
        """

    @abstractmethod
    def put_checkpoint(self, run: str, columns: Mapping[str, bytes], *, entries: int) -> None:
        """Store what a run has come to, in place of what was there: a cache of its entries.

        Parameters
        ----------
        run
            Digest of the run.
        columns
            Whatever the run can go on from, under names of its own.
        entries
            How many entries of the run are recorded that it builds on.

        Raises
        ------
        StoreError
            If there is no such run.
        """

    @abstractmethod
    def checkpoint(self, run: str) -> Mapping[str, bytes] | None:
        """Return what a run had come to; None if that is not known.

        It is not where nothing was stored, where a byte of it was changed, or where entries it
        builds on are gone: :meth:`forget_entries` forgets it too.

        Raises
        ------
        StoreError
            If there is no such run.
        """

    @abstractmethod
    def claim(self, digests: Collection[str], *, owner: str, seconds: float) -> frozenset[str]:
        """Take the leases of those trials that are free to be trained, at once or none of them.

        A trial is free if nobody holds its lease; or this owner does; or the owner's process is
        known to be dead; or this store object has watched the lease for the holder's ``seconds``
        and nobody renewed it. What is stored for good is never free. A lease ends when its trial
        is put. Time is that of the watcher's steady clock alone: no two clocks are compared, and
        none can be set.

        Parameters
        ----------
        digests
            The trials to be trained.
        owner
            Name of the search that wants them; see :func:`evolute.store.leases.new_owner`.
        seconds
            How long others wait for a sign of life, above 0; renew well before.

        Returns
        -------
        frozenset
            The digests that are this owner's now.

        Raises
        ------
        InputError
            If ``seconds`` is not above 0.
        """

    @abstractmethod
    def renew(self, digests: Collection[str], *, owner: str, seconds: float) -> frozenset[str]:
        """Give a sign of life; return the digests that this owner still holds.

        Raises
        ------
        InputError
            If ``seconds`` is not above 0.
        """

    @abstractmethod
    def release(self, digests: Collection[str], *, owner: str) -> None:
        """Give back the leases of these that this owner holds; those of others stay."""

    @abstractmethod
    def held(self, digests: Collection[str]) -> Mapping[str, str]:
        """Return the owners of those of the trials that somebody holds, by digest."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the database; every later call raises StoreError."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
