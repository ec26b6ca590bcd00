"""The evaluator: answers trial requests from the store, and trains what the store does not hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from evolute.runs.answers import Answers
from evolute.runs.executors.base import Executor, TrialRequest, never_stop
from evolute.store.base import Store
from evolute.tasks.base import Task
from evolute.train.trainer import trial_key
from evolute.trial import Trial, TrialKey

OnTrial = Callable[[Trial, bool], None]
"""Called with each trial as it becomes known, and whether it was trained now."""


def ignore(_trial: Trial, _trained: bool) -> None:
    """Do nothing with a trial: the default observer."""


Meanwhile = Callable[[Callable[[], bool]], None]
"""Work that is left as soon as what it was given returns false."""


def ignore_the_time(_may_go_on: Callable[[], bool]) -> None:
    """Do nothing while others work: the default."""


@dataclass(frozen=True)
class Evaluator:
    """Answers trial requests; see :class:`evolute.runs.answers.Answers`.

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
    """

    task: Task
    store: Store
    executor: Executor
    on_trial: OnTrial = field(default=ignore)

    def digest(self, request: TrialRequest) -> str:
        """Return the name in the store of the trial that a request asks for."""
        return self.key(request).digest

    def key(self, request: TrialRequest) -> TrialKey:
        """Return what the trial that a request asks for is about."""
        return trial_key(request.rule, self.task, request.protocol, seed=request.seed)

    def answers(self, stop: Callable[[], bool] = never_stop) -> Answers:
        """Return a stream of requests and answers."""
        return Answers(self.store, self.executor, stop=stop)

    def __call__(
        self, requests: Sequence[TrialRequest], *, meanwhile: Meanwhile = ignore_the_time
    ) -> list[Trial]:
        """Return the trials in the order of the requests.

        Parameters
        ----------
        requests
            Trials to look up or train.
        meanwhile
            Work to be done while workers begin and train, as long as what it is given, asked now
            and then, returns true.

        Raises
        ------
        TaskError
            If the user's task raises.
        StoreError
            If the store cannot be read or written.
        """
        by_digest = {self.digest(request): request for request in requests}
        known: dict[str, Trial] = {}
        with self.answers() as answers:
            answers.ask(by_digest)
            meanwhile(self.executor.attend)
            while (answer := answers.next()) is not None:
                trial, trained = answer
                known[trial.key.digest] = trial
                self.on_trial(trial, trained)
        return [known[self.digest(request)] for request in requests]
