"""Run: ask, screen, evaluate, tell, save, until the search or its budget ends.

A run is a deterministic program that asks the store: what was scored is looked up, what was not is
trained. So resuming is running the same command again. A checkpoint, saved from time to time, only
spares it to ask the search from the beginning.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from evolute.errors import TaskError
from evolute.lang.rule import Rule
from evolute.runs.answers import Answers
from evolute.runs.budget import Budget
from evolute.runs.candidate import Candidate, degenerate, rule_of
from evolute.runs.checkpoint import Checkpoint, if_sound, say_ignored, to_columns
from evolute.runs.config import RunConfig
from evolute.runs.config import run_digest as run_digest
from evolute.runs.evaluate import Evaluator
from evolute.runs.progress import KEPT_FIGURES, Observer, commonest_first
from evolute.runs.progress import Ending as Ending
from evolute.runs.progress import Progress as Progress
from evolute.runs.recorder import Recorder
from evolute.runs.retrying import stored_checkpoint, try_again
from evolute.runs.screening import Screened, TwinFinder, screen
from evolute.runs.settled import Settled
from evolute.search.base import Proposal, Result, Search
from evolute.search.state import MALFORMED
from evolute.train.environment import kept_objects, one_thread
from evolute.train.fingerprint import record
from evolute.trial import OutcomeKind, Trial

exhaust = deque[None](maxlen=0).extend

SCREENED_AT_ONCE = 64
"""Proposals that are screened in one piece before the workers hear of them: checking 50 at once
takes a quarter of the time of checking one by one, and workers should not wait for more."""

CHECKPOINT_SECONDS = 60.0
"""How often a checkpoint is saved at most."""

SHARE_OF_CHECKPOINTS = 0.02
"""Part of the time that may be spent on saving checkpoints."""


@dataclass
class Run:
    """One search on one task, from its first proposal to its end.

    Parameters
    ----------
    config
        What the run is; with the task's version it determines every trial.
    search
        The search, newly made.
    evaluator
        Answers trial requests; its task and store are the run's.
    budget
        When to stop before the search ends by itself.
    observe
        Called with the progress after every change.
    clock
        Seconds of a steady clock, for budgets of time.
    """

    config: RunConfig
    search: Search
    evaluator: Evaluator
    budget: Budget = field(default_factory=Budget)
    observe: Observer = field(default=lambda _: None)
    clock: Callable[[], float] = field(default=time.monotonic)
    progress: Progress = field(default_factory=Progress, init=False)

    def __post_init__(self) -> None:
        self.digest = run_digest(self.config, self.evaluator.task.version)
        self._settled = Settled(self.evaluator.store)
        self._failures: dict[OutcomeKind, tuple[int, str]] = {}
        self._twins: TwinFinder | None = None
        self._asked: set[str] = set()
        self._pending: deque[list[Candidate]] = deque()
        self._told_early: list[Candidate] = []
        self._recorder = Recorder(self.evaluator.store, self.digest)
        self._tried_again: frozenset[str] = frozenset()
        self._trial_seconds = self._reused_seconds = 0.0
        self._at_rest = False
        self._saved: tuple[int, int] | None = None
        self._may_save = True
        self._unasked: Search | None = None  # the search at its beginning, once it was resumed
        self._answers: Answers | None = None  # to what :meth:`begin` asked
        self._admission: Iterator[None] = iter(())
        self._started = self._save_after = self.clock()

    def begin(self, may_go_on: Callable[[], bool]) -> None:
        """Screen first proposals while it may, and ask for their trials; nobody is told.

        For the time in which workers begin; then comes :meth:`execute`, or :meth:`close`.
        """
        if not may_go_on():
            return
        self._open()
        with one_thread(), kept_objects():
            if self.evaluator.store.checkpoint(self.digest) or self._checkpoint() is not None:
                return
            observe, self.observe = self.observe, lambda _: None
            self._answers = self.evaluator.answers(self._out_of_time)
            self._admission = self._admit_all(self._answers)
            while may_go_on() and next(self._admission, self) is None:
                pass
            self.observe = observe

    def close(self) -> None:
        """Leave the trials that :meth:`begin` asked for to others."""
        if self._answers is not None:
            self._answers.close()

    def execute(self) -> Ending:
        """Run to the end of the search or of the budget; a run begun before goes on.

        Raises
        ------
        TaskError
            If the user's task raises.
        StoreError
            If the store cannot be read or written; what is stored stays.
        """
        try:
            return self._sit()
        except MALFORMED as error:
            if self._unasked is None or isinstance(error, TaskError):
                raise
            say_ignored(error)  # which no run like this has written, though it could be read
            self.search, self.progress = self._unasked, Progress()
            self.evaluator.store.forget_entries(self.digest)
            self.__post_init__()
            return self._sit()

    def _open(self) -> None:
        self.evaluator.store.open_run(self.config.record(self.digest))
        if (tolerance := self.config.duplicate_tolerance) is not None:
            recording = record(self.evaluator.task, self.config.seed)
            self._twins = TwinFinder(recording, tolerance, self._rule_of)

    def _sit(self) -> Ending:
        if self._answers is None:
            self._open()
        else:  # of a budget in time, trials that ended before are charged as stored ones are
            self._reused_seconds = self._answers.seconds_ahead / self.evaluator.executor.workers
        self._started = self.clock()
        with one_thread(), kept_objects():
            found = self._checkpoint() if self._answers is None else None
            with self._answers or self.evaluator.answers(self._out_of_time) as answers:
                if found is not None:
                    self._go_on_from(found, answers)
                self._save_after = self.clock() + CHECKPOINT_SECONDS
                try:
                    ending = self._search(answers)
                except KeyboardInterrupt:
                    if self._at_rest:  # else it fell in the middle of something
                        self._save()
                    raise
                finally:
                    self._recorder.write()
        self._show(phase=str(ending))
        return ending

    def _checkpoint(self) -> Checkpoint | None:
        """Return the checkpoint if it can be used; forget entries that may not come again."""
        evaluator, found = self.evaluator, None
        unsettled = evaluator.store.unsettled(self.digest)
        twins = self._twins and replace(self._twins, _indices={})
        with if_sound():
            stored = stored_checkpoint(self.config, self.search, evaluator=evaluator, twins=twins)
            found = stored if stored is not None and self._lasts(stored) else None
        self._twins = self._twins if found is None else twins
        if unsettled and found is None:
            evaluator.store.forget_entries(self.digest)  # trials tried again may lead elsewhere
            self._may_save = True
        elif unsettled and found is not None:
            numbers = [item.number for item in chain(found.told_early, *found.pending)]
            evaluator.store.forget_entries_from(self.digest, found.sampled, also=numbers)
        return found

    def _lasts(self, found: Checkpoint) -> bool:
        """Whether a checkpoint lies in this budget, and trials that failed end again as they did.

        Those that timed out or crashed are tried again: what was told of them must stay true.
        """
        if found.is_beyond(self.budget, workers=self.evaluator.executor.workers):
            self._may_save = False  # it has come further than this budget, and is kept
            return False
        earlier = found.settled.to_retry
        again = try_again(earlier, self.config, evaluator=self.evaluator)
        self._tried_again = frozenset(again)
        return {digest: trial.outcome.kind for digest, trial in again.items()} == earlier

    def _go_on_from(self, found: Checkpoint, answers: Answers) -> None:
        """Come to where the checkpoint was saved, and ask for the trials that it waits for."""
        self._unasked = self.search
        self.search, self._settled = found.search, found.settled
        self._pending, self._told_early = deque(found.pending), found.told_early
        self._failures = found.failures
        self._recorder = Recorder(self.evaluator.store, self.digest, written=found.entries)
        self._trial_seconds = found.seconds
        self._reused_seconds = found.seconds / self.evaluator.executor.workers
        self.progress = replace(self.progress, **found.progress, reused=len(self._settled))
        self._saved = self._position
        self._ask(sorted(chain(*self._pending), key=lambda item: item.number), answers)

    def _rule_of(self, digest: str) -> Rule:
        return rule_of(digest, self.evaluator.store, waiting=chain.from_iterable(self._pending))

    @property
    def _position(self) -> tuple[int, int]:  # how far it has come
        return self.progress.sampled, len(self._recorder)

    def _save(self) -> None:
        """Save a checkpoint, unless nothing has happened since the last."""
        if self._position == self._saved or not self._may_save:
            return
        started = self.clock()
        self._recorder.write()
        checkpoint = Checkpoint(
            search=self.search,
            settled=self._settled,
            progress={name: getattr(self.progress, name) for name in KEPT_FIGURES},
            failures=self._failures,
            seconds=self._trial_seconds,
            pending=[[item.to_json() for item in group] for group in self._pending],
            told_early=[item.to_json() for item in self._told_early],
            asked=self._settled.earlier + len(self._asked),
            entries=self._recorder.written,
        )
        columns = to_columns(checkpoint, self._twins, run=self.digest)
        if columns is not None:
            self.evaluator.store.put_checkpoint(self.digest, columns, entries=checkpoint.entries)
            self._saved = self._position
        now = self.clock()
        pause = max(CHECKPOINT_SECONDS, (now - started) / SHARE_OF_CHECKPOINTS)
        self._save_after = now + pause

    def _search(self, answers: Answers) -> Ending:
        """Ask, screen, train and tell until nothing is left or the budget is used up."""
        exhaust(self._admission)
        while True:
            if self.clock() >= self._save_after:
                self._save()
            exhaust(self._admit_all(answers))
            if not self._pending:
                if self._unasked is not None and not self.search.finished:
                    raise ValueError("it lacks candidates that the search waits for")
                self._save()
                return Ending.COMPLETE
            if not self._settle_next(answers):
                if self._unasked is not None and self.budget == Budget():
                    raise ValueError("it waits for trials that nobody asked for")
                self._save()  # now: a larger budget goes on from here, not from what follows
                while self._pending:
                    self._tell_trained(self._pending.popleft())
                return Ending.BUDGET

    @property
    def settled(self) -> frozenset[str]:
        """Digests of the trials that this run has seen, trained now or looked up."""
        return self._settled.digests

    @property
    def failures(self) -> tuple[tuple[OutcomeKind, int, str], ...]:
        """Each kind of failure, the commonest first: how often, and the sentence of the first."""
        return commonest_first(self._failures)

    def _admit_all(self, answers: Answers) -> Iterator[None]:
        """Admit what the search proposes until it waits for results; yields now and then."""
        while proposals := self.search.ask():
            yield from self._admit(proposals, answers)

    def _admit(self, proposals: Sequence[Proposal], answers: Answers) -> Iterator[None]:
        """Tell the search of degenerate proposals at once; ask for the trials of the sound ones.

        Yields now and then.
        """
        groups: dict[int | None, list[Candidate]] = {}
        for first in range(0, len(proposals), SCREENED_AT_ONCE):
            batch = screen(proposals[first : first + SCREENED_AT_ONCE])
            self._reject([item for item in batch if item.fault is not None])
            sound = [
                Candidate.of(item, self.config, evaluator=self.evaluator, twins=self._twins)
                for item in batch
                if item.fault is None
            ]
            for item in sound:
                if item.is_drawn_again:
                    self._told_early.append(item)
                    self.search.tell(item.number, Result(OutcomeKind.DUPLICATE))
                else:
                    groups.setdefault(item.screened.proposal.particle, []).append(item)
            self._ask(sound, answers)
            self._show(sampled=self.progress.sampled + len(batch))
            yield
        self._pending.extend(groups.values())

    def _ask(self, candidates: Sequence[Candidate], answers: Answers) -> None:
        """Ask for the trials of candidates that have no twin, as far as the budget goes."""
        trained = [item for item in candidates if item.twin is None and self._allowed(item.digest)]
        answers.ask({item.digest: item.request for item in trained})

    def _reject(self, faulty: Sequence[Screened]) -> None:
        """Store degenerate proposals with their reasons, and tell the search."""
        trials = [degenerate(item, self.config, evaluator=self.evaluator) for item in faulty]
        result = Result(OutcomeKind.DEGENERATE)
        told = [(item, each.key.digest, result) for item, each in zip(faulty, trials, strict=True)]
        self._tell(told, trials=trials)
        self._show(degenerate=self.progress.degenerate + len(faulty))

    def _allowed(self, digest: str) -> bool:
        """Whether the budget has room for a trial; the first come are the first served."""
        if self._settled.is_earlier(digest):
            return False  # its result is known
        limit, asked = self.budget.evaluations, self._settled.earlier + len(self._asked)
        if digest not in self._asked and limit is not None and asked >= limit:
            return False
        self._asked.add(digest)
        return True

    def _settle_next(self, answers: Answers) -> bool:
        """Tell the oldest group of proposals once all are known; False if they never will be.

        Groups are told in the order in which they were asked, whatever the order in which trials
        end: so the search takes the same path at any pace.
        """
        group = self._pending[0]
        while not all(item.answer in self._settled for item in group):
            self._at_rest = True
            answer = answers.next()
            self._at_rest = False
            if answer is None:
                return False
            self._note_trial(*answer)
        self._tell_trained(self._pending.popleft())
        return True

    def _tell_trained(self, group: Sequence[Candidate]) -> None:
        """Tell the search of those of a group that have a result; record them."""
        settled = [item for item in group if item.answer in self._settled]
        self._tell([(item.screened, item.answer, item.result(self._settled)) for item in settled])
        early = [item for item in self._told_early if item.answer in self._settled]
        self._told_early = [item for item in self._told_early if item not in early]
        self._recorder.add(
            [(item.screened, item.answer, Result(OutcomeKind.DUPLICATE)) for item in early]
        )
        twins = sum(item.twin is not None for item in settled)
        self._show(duplicate=self.progress.duplicate + twins + len(early))

    def _tell(
        self, told: Sequence[tuple[Screened, str, Result]], *, trials: Sequence[Trial] = ()
    ) -> None:
        """Record proposals with the digests of the trials that answer them; tell the search."""
        self._recorder.add(told, trials=trials)
        for item, _, result in told:
            self.search.tell(item.proposal.number, result)

    def _note_trial(self, trial: Trial, trained: bool) -> None:
        """Keep a trial's result and show it."""
        self._settled.add(trial)
        self._trial_seconds += trial.provenance.seconds
        changes: dict[str, object] = {"trained": len(self._settled)}
        if not trained and trial.key.digest not in self._tried_again:
            changes["reused"] = self.progress.reused + 1
            self._reused_seconds += trial.provenance.seconds / self.evaluator.executor.workers
        if trial.score is None:
            count, first = self._failures.get(trial.outcome.kind, (0, trial.outcome.sentence))
            self._failures[trial.outcome.kind] = count + 1, first
        self._show(**changes, **self.progress.changes_by(trial))

    def _seconds(self) -> float:
        return self.clock() - self._started + self._reused_seconds

    def _out_of_time(self) -> bool:
        return self.budget.seconds is not None and self._seconds() >= self.budget.seconds

    def _fraction(self) -> float | None:
        """Part of the search or of its budget that is done, whichever is nearer its end."""
        used = self.budget.fraction(evaluations=len(self._settled), seconds=self._seconds())
        parts = self.search.progress, used
        return max((part for part in parts if part is not None), default=None)

    def _show(self, **changes: object) -> None:
        changes.setdefault("phase", self.search.phase)
        self.progress = replace(
            self.progress,
            **changes,  # type: ignore[arg-type]  # names and types are Progress's own fields
            seconds=self._seconds(),
            fraction=self._fraction(),
            under_way=self.evaluator.executor.under_way,
        )
        self.observe(self.progress)
