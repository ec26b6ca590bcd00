"""Run: ask, screen, evaluate, tell, save, until the search or its budget ends.

A run is a deterministic program that asks the store: what was scored is looked up, what was not is
trained. So resuming is running the same command again. A checkpoint, saved from time to time, only
spares it to ask the search from the beginning.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from evolute.errors import TaskError
from evolute.lang.rule import Rule
from evolute.runs.answers import Answers
from evolute.runs.budget import Budget
from evolute.runs.candidate import Candidate
from evolute.runs.checkpoint import Checkpoint, from_columns, say_ignored, to_columns
from evolute.runs.config import RunConfig
from evolute.runs.config import run_digest as run_digest
from evolute.runs.evaluate import Evaluator
from evolute.runs.executors.base import TrialRequest
from evolute.runs.progress import KEPT_FIGURES, Observer
from evolute.runs.progress import Ending as Ending
from evolute.runs.progress import Progress as Progress
from evolute.runs.screening import Screened, TwinFinder, screen
from evolute.runs.settled import Settled
from evolute.search.base import Proposal, Result, Search, Stage
from evolute.search.state import MALFORMED
from evolute.store.base import RunEntry, RunRecord
from evolute.train.environment import one_thread
from evolute.train.fingerprint import record
from evolute.train.trainer import trial_key
from evolute.trial import PROGRAM_VERSION, Outcome, OutcomeKind, Trial, canonical_json

SCREENED_AT_ONCE = 64
"""Proposals that are screened in one piece before the workers hear of them: checking 50 at once
takes a quarter of the time of checking one by one, and workers should not wait for more."""

ENTRIES_AT_ONCE = 32
"""Entries of a run that are written in one transaction, of which each waits for the disk."""

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
        self._degenerate: list[Trial] = []
        self._entries: list[RunEntry] = []
        self._recorded = 0
        self._trial_seconds = self._reused_seconds = 0.0
        self._at_rest = False
        self._saved: tuple[int, int] | None = None
        self._may_save = True
        self._unasked: Search | None = None  # the search at its beginning, once it was resumed
        self._started = self._save_after = self.clock()

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

    def _sit(self) -> Ending:
        task, store = self.evaluator.task, self.evaluator.store
        store.open_run(
            RunRecord(
                digest=self.digest,
                name=self.config.name,
                config_json=canonical_json(self.config.identity()),
                program_version=PROGRAM_VERSION,
            )
        )
        if store.unsettled(self.digest):
            store.forget_entries(self.digest)  # tried again, they may lead the search elsewhere
        if self.config.duplicate_tolerance is not None:
            recording = record(task, self.config.seed)
            tolerance = self.config.duplicate_tolerance
            self._twins = TwinFinder(recording, tolerance, self._rule_of)
        self._started = self.clock()
        with one_thread(), self.evaluator.answers(self._out_of_time) as answers:
            self._resume(answers)
            self._save_after = self.clock() + CHECKPOINT_SECONDS
            try:
                ending = self._search(answers)
            except KeyboardInterrupt:
                if self._at_rest:  # else it fell in the middle of something
                    self._save()
                raise
            finally:
                self._write_down()
        self._show(phase=str(ending))
        return ending

    def _resume(self, answers: Answers) -> None:
        """Go on from the checkpoint, where there is one that can be used."""
        columns = self.evaluator.store.checkpoint(self.digest)
        if columns is None:
            return
        twins = self._twins and replace(self._twins, _indices={})
        store = self.evaluator.store
        try:
            found = from_columns(columns, self.search, store=store, run=self.digest, twins=twins)
            pending = [[self._read(data) for data in group] for group in found.pending]
            early = [self._read(data) for data in found.told_early]
            progress = replace(self.progress, **found.progress)
        except MALFORMED as error:
            say_ignored(error)
            return
        seconds = found.seconds / self.evaluator.executor.workers
        if found.is_beyond(self.budget, seconds=seconds):
            self._may_save = False  # it has come further than this budget does, and is kept
            return
        self._unasked = self.search
        self.search, self._twins, self._settled = found.search, twins, found.settled
        self._pending, self._told_early = deque(pending), early
        self._failures, self._recorded = found.failures, found.entries
        self._trial_seconds, self._reused_seconds = found.seconds, seconds
        self.progress = replace(progress, reused=len(self._settled))
        self._saved = self._position
        waiting = [item for group in pending for item in group]
        self._ask(sorted(waiting, key=lambda item: item.number), answers)

    def _read(self, data: object) -> Candidate:
        return Candidate.from_json(data, self.config, digest_of=self.evaluator.digest)

    def _rule_of(self, digest: str) -> Rule:
        """Return the rule of a trial of an earlier sitting, be it scored or waited for."""
        trial = self.evaluator.store.get(digest)
        if trial is not None:
            return Rule.parse(trial.key.rule)
        waiting = (item for group in self._pending for item in group)
        found = next((item for item in waiting if item.digest == digest), None)
        if found is None:
            raise ValueError("a fingerprint of a trial that nobody asked for")
        return found.screened.rule

    @property
    def _position(self) -> tuple[int, int]:
        """How far it has come: what was proposed, and what is recorded."""
        return self.progress.sampled, self._recorded + len(self._entries)

    def _save(self) -> None:
        """Save a checkpoint, unless nothing has happened since the last.

        Nor once a trial timed out or crashed: it is tried again on resuming, from before it ended.
        """
        if self._position == self._saved or not self._may_save or self._settled.to_retry:
            return
        started = self.clock()
        self._write_down()
        checkpoint = Checkpoint(
            search=self.search,
            settled=self._settled,
            progress={name: getattr(self.progress, name) for name in KEPT_FIGURES},
            failures=self._failures,
            seconds=self._trial_seconds,
            pending=[[item.to_json() for item in group] for group in self._pending],
            told_early=[item.to_json() for item in self._told_early],
            asked=self._settled.earlier + len(self._asked),
            entries=self._recorded,
        )
        columns = to_columns(checkpoint, self._twins, run=self.digest)
        if columns is not None:
            self.evaluator.store.put_checkpoint(self.digest, columns, entries=self._recorded)
            self._saved = self._position
        now = self.clock()
        pause = max(CHECKPOINT_SECONDS, (now - started) / SHARE_OF_CHECKPOINTS)
        self._save_after = now + pause

    def _search(self, answers: Answers) -> Ending:
        """Ask, screen, train and tell until nothing is left or the budget is used up."""
        while True:
            if self.clock() >= self._save_after:
                self._save()
            proposals = self.search.ask()
            if proposals:
                self._admit(proposals, answers)
            elif not self._pending:
                if self._unasked is not None and not self.search.finished:
                    raise ValueError("it lacks candidates that the search waits for")
                self._save()
                return Ending.COMPLETE
            elif not self._settle_next(answers):
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
        kinds = sorted(self._failures.items(), key=lambda item: -item[1][0])
        return tuple((kind, count, first) for kind, (count, first) in kinds)

    def _admit(self, proposals: Sequence[Proposal], answers: Answers) -> None:
        """Tell the search of degenerate proposals at once; ask for the trials of the sound ones."""
        groups: dict[int | None, list[Candidate]] = {}
        for first in range(0, len(proposals), SCREENED_AT_ONCE):
            batch = screen(proposals[first : first + SCREENED_AT_ONCE])
            self._reject([item for item in batch if item.fault is not None])
            sound = [self._candidate(item) for item in batch if item.fault is None]
            for item in sound:
                if item.twin is not None and item.screened.proposal.stage is Stage.INITIAL:
                    self._told_early.append(item)  # another is drawn, whatever its twin comes to
                    self.search.tell(item.number, Result(OutcomeKind.DUPLICATE))
                else:
                    groups.setdefault(item.screened.proposal.particle, []).append(item)
            self._ask(sound, answers)
            self._show(sampled=self.progress.sampled + len(batch))
        self._pending.extend(groups.values())

    def _ask(self, candidates: Sequence[Candidate], answers: Answers) -> None:
        """Ask for the trials of candidates that have no twin, as far as the budget goes."""
        trained = [item for item in candidates if item.twin is None and self._allowed(item.digest)]
        answers.ask({item.digest: item.request for item in trained})

    def _candidate(self, item: Screened) -> Candidate:
        """Return a sound proposal with the trial that answers it, its own or its twin's."""
        protocol = self.config.protocol(item.proposal.stage)
        request = TrialRequest(item.rule, protocol, self.config.seed)
        digest, twin = self.evaluator.digest(request), None
        if self._twins is not None:
            twin = self._twins.find_or_add(item.rule, protocol=protocol.to_json(), digest=digest)
        return Candidate(item, request, digest, twin)

    def _reject(self, faulty: Sequence[Screened]) -> None:
        """Store degenerate proposals with their reasons, and tell the search."""
        told, trials = [], []
        for item in faulty:
            protocol = self.config.protocol(item.proposal.stage)
            key = trial_key(item.rule, self.evaluator.task, protocol, seed=self.config.seed)
            trials.append(Trial(key, Outcome(OutcomeKind.DEGENERATE, item.fault or ""), None))
            told.append((item, key.digest, Result(OutcomeKind.DEGENERATE)))
        self._degenerate += trials
        self._tell(told)
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
        self._tell([(item.screened, item.answer, self._result(item)) for item in settled])
        early = [item for item in self._told_early if item.answer in self._settled]
        self._told_early = [item for item in self._told_early if item not in early]
        self._record(
            [(item.screened, item.answer, Result(OutcomeKind.DUPLICATE)) for item in early]
        )
        twins = sum(item.twin is not None for item in settled)
        self._show(duplicate=self.progress.duplicate + twins + len(early))

    def _result(self, item: Candidate) -> Result:
        """Return what a candidate is told: its own result, or as a duplicate its twin's fitness."""
        if item.twin is None:
            return self._settled[item.digest]
        return Result(OutcomeKind.DUPLICATE, self._settled[item.twin].fitness)

    def _tell(self, told: Sequence[tuple[Screened, str, Result]]) -> None:
        """Record proposals with the digests of the trials that answer them; tell the search."""
        self._record(told)
        for item, _, result in told:
            self.search.tell(item.proposal.number, result)

    def _record(self, told: Sequence[tuple[Screened, str, Result]]) -> None:
        for item, digest, result in told:
            facts = item.proposal.to_dict() | {"rule": str(item.rule), "outcome": result.kind.value}
            self._entries.append(RunEntry(item.proposal.number, digest, facts))
        if len(self._entries) >= ENTRIES_AT_ONCE:
            self._write_down()

    def _write_down(self) -> None:
        """Store degenerate proposals and entries: what a kill takes is told alike on resuming."""
        store = self.evaluator.store
        if self._degenerate:
            store.put_many(self._degenerate)
        if self._entries:
            store.record_many(self.digest, self._entries)
            self._recorded += len(self._entries)
        self._degenerate, self._entries = [], []

    def _note_trial(self, trial: Trial, trained: bool) -> None:
        """Keep a trial's result and show it."""
        fitness = None if trial.score is None else trial.score.fitness
        self._settled.add(trial)
        self._trial_seconds += trial.provenance.seconds
        changes: dict[str, object] = {"trained": len(self._settled)}
        if not trained:
            changes["reused"] = self.progress.reused + 1
            self._reused_seconds += trial.provenance.seconds / self.evaluator.executor.workers
        if fitness is None:
            changes["failed"] = self.progress.failed + 1
            count, first = self._failures.get(trial.outcome.kind, (0, trial.outcome.sentence))
            self._failures[trial.outcome.kind] = count + 1, first
        elif self.progress.best_fitness is None or fitness > self.progress.best_fitness:
            changes |= {"best_rule": trial.key.rule, "best_fitness": fitness}
        self._show(**changes)

    def _seconds(self) -> float:
        return self.clock() - self._started + self._reused_seconds

    def _out_of_time(self) -> bool:
        return self.budget.seconds is not None and self._seconds() >= self.budget.seconds

    def _fraction(self) -> float | None:
        """Part of the search or of its budget that is done, whichever is nearer its end."""
        settled = self.search.progress
        parts = [] if settled is None else [settled]
        for limit, spent in (
            (self.budget.evaluations, len(self._settled)),
            (self.budget.seconds, self._seconds()),
        ):
            if limit:
                parts.append(min(spent / limit, 1.0))
        return max(parts, default=None)

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
