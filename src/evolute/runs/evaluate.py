"""The evaluator: a cache in front of an executor. What the store holds is never trained again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from evolute.runs.executors.base import Executor, TrialRequest, never_stop
from evolute.store.base import Store
from evolute.tasks.base import Task
from evolute.train.trainer import trial_key
from evolute.trial import RETRIED_KINDS, Trial

OnTrial = Callable[[Trial, bool], None]
"""Called with each trial as it becomes known, and whether it was trained now."""


def ignore(_trial: Trial, _trained: bool) -> None:
    """Do nothing with a trial: the default observer."""


@dataclass(frozen=True)
class Evaluator:
    """Answers trial requests from the store, and trains what the store does not hold.

    A stored trial that timed out or crashed is no answer: it says more about the machine than about
    the rule, and is tried again.

    Parameters
    ----------
    task
        The task of all requests.
    store
        Where trials are looked up and written, each as soon as it ends.
    executor
        What trains.
    on_trial
        Observer of progress.
    stop
        Asked before each training is begun; once true, the rest is left unanswered.
    """

    task: Task
    store: Store
    executor: Executor
    on_trial: OnTrial = field(default=ignore)
    stop: Callable[[], bool] = field(default=never_stop)

    def digest(self, request: TrialRequest) -> str:
        """Return the name in the store of the trial that a request asks for."""
        return trial_key(request.rule, self.task, request.protocol, seed=request.seed).digest

    def __call__(self, requests: Sequence[TrialRequest]) -> list[Trial]:
        """Return the trials in the order of the requests, whatever ``stop`` says.

        Raises
        ------
        TaskError
            If the user's task raises.
        StoreError
            If the store cannot be read or written.
        """
        known = self._known(requests, stop=never_stop)
        return [known[self.digest(request)] for request in requests]

    def until_stopped(self, requests: Sequence[TrialRequest]) -> None:
        """Let ``on_trial`` have the trials, up to where ``stop`` cuts them off.

        Raises
        ------
        TaskError, StoreError
            As a call of the evaluator.
        """
        self._known(requests, stop=self.stop)

    def _known(
        self, requests: Sequence[TrialRequest], *, stop: Callable[[], bool]
    ) -> dict[str, Trial]:
        """Look up and train; return trials by digest."""
        by_digest = {self.digest(request): request for request in requests}
        known = {
            digest: trial
            for digest, trial in self.store.get_many(list(by_digest)).items()
            if trial.outcome.kind not in RETRIED_KINDS
        }
        for trial in known.values():
            self.on_trial(trial, False)
        missing = [digest for digest in by_digest if digest not in known]
        answers = self.executor.run([by_digest[digest] for digest in missing], stop=stop)
        for index, trial in answers:
            known[missing[index]] = self.store.put(trial)
            self.on_trial(trial, True)
        return known
