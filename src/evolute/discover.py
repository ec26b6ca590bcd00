"""Discover: search for an optimizer, judge it against hand-made ones, and hand over the best.

The Python face of the whole program, in three lines::

    result = evolute.search(task="digits", budget="2m")
    print(result.leaderboard, result.verdict.sentence)
    optimizer = result.best.optimizer(model.parameters(), total_steps=1000)
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.optim.optimizer import ParamsT

from evolute import zoo
from evolute.benchmark.config import expected_trials
from evolute.benchmark.elimination import Candidate
from evolute.benchmark.procedure import judge
from evolute.benchmark.verdict import Side, Verdict
from evolute.compiler.optimizer import RuleOptimizer
from evolute.errors import TaskError
from evolute.lang.rule import Rule
from evolute.leaderboard import Leaderboard, find_run, read_leaderboard
from evolute.presets import resolve
from evolute.runs.config import RunConfig
from evolute.runs.evaluate import Evaluator
from evolute.runs.executors.base import Executor, TrialRequest
from evolute.runs.executors.make import LOCAL, RayCluster, begin_workers, make_executor
from evolute.runs.executors.process import BegunWorkers
from evolute.runs.listener import Forecast, Listener
from evolute.runs.run import Ending, Progress, Run, run_digest
from evolute.settings import Settings
from evolute.store.sql import open_store
from evolute.tasks.base import Task
from evolute.tasks.check import check_task
from evolute.tasks.user import load_task
from evolute.train.environment import kept_objects
from evolute.train.equipment import require_device
from evolute.train.planning import choose_plans
from evolute.trial import RETRIED_KINDS, OutcomeKind, Trial

DEFAULT_STORE = "evolute.sqlite"
"""Where searches are remembered unless another place is given."""

DEFAULT_PRESET = "quick"


@dataclass(frozen=True, slots=True)
class BestRule:
    """The best rule that a search found, ready for use.

    Parameters
    ----------
    rule
        The rule.
    learning_rate
        Its best peak learning rate: tuned by the verdict, or from the probes without one.
    fitness
        What the search's own trial scored; higher is better.
    trial
        Digest of that trial.
    """

    rule: Rule
    learning_rate: float
    fitness: float
    trial: str

    def optimizer(
        self,
        params: ParamsT,
        *,
        lr: float | None = None,
        total_steps: int | None = None,
        momentum: float = 0.9,
    ) -> RuleOptimizer:
        """Return a ``torch.optim.Optimizer`` that applies the rule.

        Parameters
        ----------
        params
            Parameters or groups of them.
        lr
            Peak learning rate; the one found by the search unless given.
        total_steps
            T; required by a rule with decays.
        momentum
            Coefficient μ of a rule with momentum.

        Raises
        ------
        InputError
            As :class:`evolute.RuleOptimizer`.
        """
        rate = self.learning_rate if lr is None else lr
        return RuleOptimizer(params, self.rule, lr=rate, total_steps=total_steps, momentum=momentum)

    def to_json(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return {
            "rule": self.rule.to_json(),
            "text": str(self.rule),
            "learning_rate": self.learning_rate,
            "fitness": self.fitness,
            "trial": self.trial,
        }


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    Parameters
    ----------
    name, run
        Name and digest of the run in the store.
    ending
        Why the search phase ended.
    progress
        Its last figures.
    failures
        Kinds of failure among the trained candidates, the commonest first: how often, and the
        sentence of the first.
    leaderboard
        Distinct trained rules, best first.
    best
        The discovered champion of the verdict, or the leaderboard's first without one; None if no
        candidate finished.
    verdict
        Comparison with hand-made optimizers; None if none was asked for or no candidate finished.
    """

    name: str
    run: str
    ending: Ending
    progress: Progress
    failures: tuple[tuple[OutcomeKind, int, str], ...]
    leaderboard: Leaderboard
    best: BestRule | None
    verdict: Verdict | None


@dataclass
class _Counter:
    """Counts trials as they become known, and passes the count on."""

    tell: Any
    expected: int
    done: int = 0

    def __call__(self, _trial: Trial, _trained: bool) -> None:
        self.done += 1
        self.tell(self.done, max(self.expected, self.done))


def search(
    task: str | Task,
    *,
    budget: str | int | None = None,
    seed: int | None = None,
    preset: str = DEFAULT_PRESET,
    algorithm: str | None = None,
    config: Mapping[str, Any] | None = None,
    store: str | Path = DEFAULT_STORE,
    workers: int | None = None,
    executor: str | RayCluster = LOCAL,
    verdict: bool = True,
    listener: Listener | None = None,
) -> SearchResult:
    """Search for an optimizer for a task, and compare what is found with hand-made optimizers.

    Running the same search again resumes it: what the store holds is not trained again. With equal
    arguments the result is the same whatever the number of workers, budgets of time excepted.

    Parameters
    ----------
    task
        Name of a task, ``path/to/file.py:build`` (runs that file), or a :class:`evolute.Task`.
    budget
        Time of the search phase such as ``"10m"``, or a number of candidates to train.
    seed
        Seed of everything random; the preset's (0) unless given.
    preset
        Numbers to begin from: ``quick``, ``standard`` or ``paper``.
    algorithm
        Search algorithm: ``particles``, ``random`` or ``regularized_evolution``.
    config
        Further settings as nested plain data, with the keys of a config file.
    store
        File in which trials are remembered.
    workers
        Processes that train; one per core unless given. A Task object is trained in this process.
    executor
        Where they are: ``"local"``, ``"ray"``, or a :class:`evolute.RayCluster`.
    verdict
        Whether to compare the finalists with hand-made optimizers on the test split.
    listener
        Hears how it goes.

    Raises
    ------
    InputError
        If an argument is not allowed; TaskError if the task is at fault.
    StoreError
        If the store cannot be read or written.
    """
    hear = listener or Listener()
    named = {"seed": seed, "budget": budget, "algorithm": algorithm}
    named["task"] = task.name if isinstance(task, Task) else task
    settings = resolve(preset, config or {}, named)
    with ExitStack() as stack:
        begun = stack.enter_context(begin_workers(task, workers=workers, where=executor))
        loaded = task if isinstance(task, Task) else load_task(task)
        check_task(loaded)
        opened = stack.enter_context(open_store(store))
        trainers = stack.enter_context(
            open_executor(
                task, loaded, settings=settings, workers=workers, where=executor, begun=begun,
                listener=hear,
            )
        )  # fmt: skip
        run_config = _named_config(settings, loaded)
        run = Run(
            config=run_config,
            search=run_config.new_search(),
            evaluator=Evaluator(loaded, opened, trainers),
            budget=settings.parsed_budget(),
            observe=hear.progress,
        )
        stack.callback(run.close)
        stack.enter_context(kept_objects())
        baselines = _score_hand_made(settings, run, hear)
        hear.forecast(_forecast(settings, run, baselines, with_verdict=verdict))
        ending = run.execute()
        record = find_run(opened, run.digest)
        rows = read_leaderboard(opened, record, within=run.settled)
        judged = _judge(settings, rows, run.evaluator, hear) if verdict and rows else None
        best = _best(rows, judged)
        opened.put_document(run.digest, "verdict", None if judged is None else judged.to_json())
        opened.put_document(run.digest, "best", None if best is None else best.to_json())
    return SearchResult(
        name=record.name,
        run=run.digest,
        ending=ending,
        progress=run.progress,
        failures=run.failures,
        leaderboard=rows,
        best=best,
        verdict=judged,
    )


def _named_config(settings: Settings, task: Task) -> RunConfig:
    """Return the run's config; where it is not the preset's own, its name says so by a digest."""
    config = settings.run_config(task.name)
    plain = resolve(settings.preset, {"task": settings.task, "seed": settings.seed})
    if config.identity() == plain.run_config(task.name).identity():
        return config
    return replace(config, name=f"{config.name}-{run_digest(config, task.version)[:6]}")


def open_executor(
    task: str | Task,
    loaded: Task,
    *,
    settings: Settings,
    workers: int | None,
    where: str | RayCluster = LOCAL,
    begun: BegunWorkers | None = None,
    listener: Listener | None = None,
) -> Executor:
    """Make the executor that fits the task, as :func:`evolute.runs.executors.make.make_executor`.

    Parameters
    ----------
    task, loaded
        The task as the user gave it, and the task itself.
    settings
        Say how long a trial may take, and what with.
    workers, where
        Processes that train, and where they are.
    begun
        What :func:`evolute.runs.executors.make.begin_workers` returned for the same; the executor's
        from now on. None: workers begin now.
    listener
        Hears when plans are chosen.

    Raises
    ------
    InputError
        If the workers are on this machine and it has no such device.
    """
    equipment = settings.equipment()
    if where == LOCAL:
        require_device(equipment.device)
    with ExitStack() as stack:
        begun = stack.enter_context(begun or begin_workers(task, workers=workers, where=where))
        if isinstance(task, str):  # for workers; this process finds a plan when it needs one
            (listener or Listener()).choosing()
            protocols = (settings.initial, settings.main)
            equipment = choose_plans(loaded, protocols, equipment=equipment)
        executor = make_executor(
            task,
            loaded,
            workers=workers,
            timeout_seconds=settings.timeout_seconds,
            equipment=equipment,
            where=where,
            begun=begun,
        )
        stack.pop_all()
    return executor


def _score_hand_made(settings: Settings, run: Run, hear: Listener) -> list[Trial]:
    """Score the hand-made optimizers like any candidate: the verdict looks these trials up.

    While workers begin and train them, the run screens its first proposals; workers that have none
    of them train those.

    Raises
    ------
    TaskError
        If every one of them ends its worker or takes too long: so would every candidate.
    """
    requests = [
        TrialRequest(rule.canonical(), settings.main, settings.seed)
        for rule in zoo.HAND_MADE.values()
    ]
    beside, count = run.evaluator.executor.beside(), _Counter(hear.baselines, len(requests))
    evaluator = replace(run.evaluator, executor=beside, on_trial=count)
    trials = evaluator(requests, meanwhile=run.begin)
    if all(trial.outcome.kind in RETRIED_KINDS for trial in trials):
        raise TaskError(
            f"task {evaluator.task.name!r}: no hand-made optimizer could be scored: "
            f"{trials[0].outcome.sentence}; mend the task, or raise timeout_seconds"
        )
    return trials


def _forecast(
    settings: Settings, run: Run, baselines: Sequence[Trial], *, with_verdict: bool
) -> Forecast:
    """Estimate the cost from the median hand-made trial."""
    workers = run.evaluator.executor.workers
    scored = [trial for trial in baselines if trial.score is not None] or baselines
    seconds = statistics.median(trial.provenance.seconds for trial in scored)
    limits = [run.search.expected_evaluations, run.budget.evaluations]
    candidates = min((limit for limit in limits if limit is not None), default=None)
    times = [run.budget.seconds]
    if candidates is not None:
        times.append(candidates * seconds / workers)
    trials = expected_trials(settings.verdict, len(zoo.HAND_MADE)) if with_verdict else 0
    protocol = settings.main
    training = protocol.training.steps / protocol.most_steps
    return Forecast(
        workers=workers,
        seconds_per_candidate=seconds,
        candidates=candidates,
        search_seconds=min((time for time in times if time is not None), default=None),
        verdict_trials=trials,
        verdict_seconds=trials * training * seconds / workers,
    )


def _judge(settings: Settings, rows: Leaderboard, evaluator: Evaluator, hear: Listener) -> Verdict:
    """Compare the best of the leaderboard with hand-made optimizers."""
    count = expected_trials(settings.verdict, len(zoo.HAND_MADE))
    finalists = [
        Candidate(f"discovered #{row.rank}", Rule.parse(row.rule), row.fitness, row.learning_rate)
        for row in rows[: max(settings.verdict.candidates, settings.verdict.finalists)]
    ]
    return judge(
        finalists,
        zoo.HAND_MADE,
        evaluate=replace(evaluator, on_trial=_Counter(hear.verdict, count)),
        protocol=settings.main,
        seed=settings.seed,
        metric=evaluator.task.metric,
        config=settings.verdict,
    )


def _best(rows: Leaderboard, verdict: Verdict | None) -> BestRule | None:
    """Return the verdict's discovered champion, else the first of the leaderboard."""
    champion = None if verdict is None else verdict.champion(Side.DISCOVERED)
    for row in rows:
        if champion is None or row.rule == champion.rule:
            tuned = None if champion is None else champion.tuning.best
            rate = row.learning_rate if tuned is None else tuned.learning_rate
            return BestRule(Rule.parse(row.rule), rate, row.fitness, row.trial)
    return None
