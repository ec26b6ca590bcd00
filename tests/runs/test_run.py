"""Runs: deterministic, resumable, within their budget, and never training the same rule twice."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w
from tiny import TINY_CONFIG, TINY_TASK, build

import evolute
from evolute.discover import SearchResult
from evolute.errors import InputError, TaskError
from evolute.lang.rule import Rule
from evolute.leaderboard import find_run
from evolute.presets import resolve
from evolute.runs.budget import Budget
from evolute.runs.evaluate import Evaluator
from evolute.runs.executors.base import TrialRequest, never_stop
from evolute.runs.executors.in_process import InProcessExecutor
from evolute.runs.run import Ending, Progress, Run
from evolute.search.base import Proposal, ProposalKind, Result, Search, Stage
from evolute.store.sql import open_store
from evolute.train.trainer import run_trial
from evolute.trial import OutcomeKind, Provenance, Trial


def search(store: Path, *, task: str | evolute.Task = TINY_TASK, **options: object) -> SearchResult:
    given = {"verdict": False, **options}
    return evolute.search(task, config=TINY_CONFIG, store=store, **given)  # type: ignore[arg-type]


def everything_stored(store: Path) -> list[object]:
    """Return proposals and trials of the newest run in order, without times and machines."""
    with open_store(store, create=False) as opened:
        run = find_run(opened, None)
        entries = opened.run_entries(run.digest)
        trials = opened.get_many([entry.trial for entry in entries])
        return [
            (entry, replace(trials[entry.trial], provenance=Provenance(0.0))) for entry in entries
        ]


def test_the_result_is_the_same_whatever_the_workers(tmp_path: Path) -> None:
    here = search(tmp_path / "here.sqlite", task=build())
    two = search(tmp_path / "two.sqlite", workers=2)
    assert everything_stored(tmp_path / "here.sqlite") == everything_stored(tmp_path / "two.sqlite")
    assert list(here.leaderboard) == list(two.leaderboard)
    assert here.best == two.best
    assert here.ending is Ending.COMPLETE
    assert len(here.leaderboard) > 3


def test_the_same_command_again_trains_nothing_and_finds_the_same(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    first, second = search(store, task=build()), search(store, task=build())
    assert second.progress.reused == second.progress.trained == first.progress.trained
    assert (second.leaderboard, second.best) == (first.leaderboard, first.best)


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    first, second = search(store, task=build()), search(store, task=build(), seed=1)
    assert first.run != second.run
    assert [row.rule for row in first.leaderboard] != [row.rule for row in second.leaderboard]


def test_a_budget_of_evaluations_is_kept_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    small = search(store, task=build(), budget="5")
    assert small.progress.trained == 5
    assert small.ending is Ending.BUDGET
    grown = search(store, task=build(), budget="12")
    assert (grown.progress.trained, grown.progress.reused) == (12, 5)
    at_once = tmp_path / "at_once.sqlite"
    search(at_once, task=build(), budget="12")
    assert everything_stored(store) == everything_stored(at_once)


def test_the_result_of_a_small_budget_ignores_what_a_larger_one_left_in_the_store(
    tmp_path: Path,
) -> None:
    alone = search(tmp_path / "alone.sqlite", task=build(), budget="6")
    search(tmp_path / "store.sqlite", task=build(), budget="14")
    after = search(tmp_path / "store.sqlite", task=build(), budget="6")
    assert (after.leaderboard, after.best) == (alone.leaderboard, alone.best)


def test_runs_that_differ_in_more_than_the_seed_have_different_names(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    names = [search(store, task=build(), budget="2", seed=seed).name for seed in (0, 1)]
    names.append(
        evolute.search(
            build(),
            config={**TINY_CONFIG, "search": {}},
            algorithm="random",
            budget="2",
            store=store,
            verdict=False,
        ).name
    )
    assert len(set(names)) == 3
    with open_store(store) as opened:
        assert [find_run(opened, name).name for name in names] == names


def test_a_trial_that_timed_out_is_tried_again_under_a_longer_limit(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    hasty = tiny_run(store, budget=Budget(evaluations=3), timeout_seconds=1e-9)
    hasty.execute()
    assert [kind for kind, _, _ in hasty.failures] == [OutcomeKind.TIMED_OUT]
    patient = tiny_run(store, budget=Budget(evaluations=3))
    patient.execute()
    assert patient.progress.reused == 0
    assert patient.progress.failed < 3
    kept = patient.evaluator.store.trials(outcomes=[OutcomeKind.TIMED_OUT])
    assert not kept


class HastyExecutor(InProcessExecutor):
    """Lets the first trials time out that it is asked for, whatever they are."""

    def __init__(self, task: evolute.Task, *, hasty: int) -> None:
        super().__init__(task)
        self._hasty = hasty

    def submit(self, request: TrialRequest) -> int:
        self._timeout_seconds = 1e-9 if self._hasty else None
        self._hasty = max(self._hasty - 1, 0)
        return super().submit(request)


def test_a_run_whose_timed_out_trials_finish_at_last_takes_the_path_of_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    hurried, undisturbed = tmp_path / "hurried.sqlite", tmp_path / "undisturbed.sqlite"
    first = tiny_run(hurried)
    first.evaluator = replace(first.evaluator, executor=HastyExecutor(build(), hasty=5))
    first.execute()
    assert next(kind for kind, _, _ in first.failures) is OutcomeKind.TIMED_OUT
    for path in (hurried, undisturbed):
        tiny_run(path).execute()
    assert everything_stored(hurried) == everything_stored(undisturbed)


class ShuffledExecutor(InProcessExecutor):
    """Hands trials out in an order of its own, as late as a seed says."""

    def __init__(self, task: evolute.Task, *, seed: int) -> None:
        super().__init__(task)
        self._shuffler = random.Random(seed)
        self._held: list[tuple[int, Trial]] = []

    @property
    def ended(self) -> int:
        return 0

    def next(self, stop: Callable[[], bool] = never_stop) -> tuple[int, Trial] | None:
        while self._shuffler.random() < 0.7 and (answer := super().next(stop)) is not None:
            self._held.append(answer)
        if not self._held:
            return super().next(stop)
        return self._held.pop(self._shuffler.randrange(len(self._held)))


@pytest.mark.parametrize("seed", range(3))
def test_the_path_of_a_search_is_the_same_at_any_pace(tmp_path: Path, seed: int) -> None:
    steady, shuffled = tmp_path / "steady.sqlite", tmp_path / "shuffled.sqlite"
    tiny_run(steady).execute()
    run = tiny_run(shuffled)
    executor = ShuffledExecutor(build(), seed=seed)
    run.evaluator = replace(run.evaluator, executor=executor)
    run.execute()
    assert everything_stored(shuffled) == everything_stored(steady)


@pytest.mark.parametrize("sitting", [3, 11])
def test_a_search_resumed_at_another_pace_takes_the_same_path(tmp_path: Path, sitting: int) -> None:
    steady, resumed = tmp_path / "steady.sqlite", tmp_path / "resumed.sqlite"
    tiny_run(steady).execute()
    first = tiny_run(resumed, budget=Budget(evaluations=sitting))
    first.evaluator = replace(first.evaluator, executor=ShuffledExecutor(build(), seed=sitting))
    first.execute()
    tiny_run(resumed).execute()
    assert everything_stored(resumed) == everything_stored(steady)


def test_a_trial_that_another_search_trains_is_waited_for(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    run = tiny_run(store, ListSearch(["none: g", "none: v"]))
    protocol = run.config.main
    elsewhere = TrialRequest(Rule.parse("none: g"), protocol, run.config.seed)
    digest = run.evaluator.digest(elsewhere)
    other = open_store(store)
    assert other.claim([digest], owner="another", seconds=600)
    trial = run_trial(elsewhere.rule, build(), protocol, seed=elsewhere.seed)
    threading.Timer(1.0, lambda: other.put(replace(trial, curve=()))).start()
    run.execute()
    assert run.progress.reused == 1
    stored = run.evaluator.store.get(digest)
    assert stored is not None
    assert stored.curve == ()


def test_a_task_that_no_hand_made_optimizer_survives_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no hand-made optimizer could be scored: timed out"):
        evolute.search(
            build(),
            config={**TINY_CONFIG, "timeout_seconds": 1e-9},
            store=tmp_path / "store.sqlite",
        )


def test_workers_for_a_task_object_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 workers cannot share a Task object"):
        search(tmp_path / "store.sqlite", task=build(), workers=2)


def test_a_budget_of_time_counts_the_time_of_earlier_sittings(tmp_path: Path) -> None:
    ticks = iter(range(10**6))
    run = tiny_run(tmp_path / "store.sqlite", budget=Budget(seconds=40), clock=lambda: next(ticks))
    assert run.execute() is Ending.BUDGET
    assert 0 < run.progress.trained < 20
    again = tiny_run(tmp_path / "store.sqlite", budget=Budget(seconds=1e-9))
    assert again.execute() is Ending.BUDGET
    assert again.progress.trained == again.progress.reused
    assert again.progress.seconds > 0


@pytest.mark.parametrize("stored", [1, 9, 20])
def test_a_search_killed_at_any_moment_resumes_to_the_same_result(
    tmp_path: Path, stored: int
) -> None:
    undisturbed, killed = tmp_path / "undisturbed.sqlite", tmp_path / "killed.sqlite"
    search(undisturbed, task=build())
    config = tmp_path / "tiny.toml"
    config.write_text(tomli_w.dumps(TINY_CONFIG))
    command = [sys.executable, "-m", "evolute", "search", "--task", TINY_TASK, "--workers", "1"]
    command += ["--config", str(config), "--store", str(killed), "--no-verdict"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while trials_in(killed) < stored and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = trials_in(killed)
    assert before >= stored
    search(killed, task=build())
    assert everything_stored(killed) == everything_stored(undisturbed)


def trials_in(path: Path) -> int:
    """Count the trials of a store that another process is writing."""
    if not path.exists():
        return 0
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return int(connection.execute("SELECT count(*) FROM trials").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.OperationalError:  # not yet created
        return 0


class ListSearch(Search):
    """Proposes given rules, one after another, and keeps what it is told."""

    def __init__(self, rules: Sequence[str], *, at_once: bool = True) -> None:
        self._waiting = list(enumerate(rules))
        self._at_once = at_once
        self.told: dict[int, Result] = {}

    def ask(self) -> tuple[Proposal, ...]:
        count = len(self._waiting) if self._at_once else 1
        asked, self._waiting = self._waiting[:count], self._waiting[count:]
        return tuple(
            Proposal(number, Rule.parse(text), Stage.MAIN, ProposalKind.RANDOM)
            for number, text in asked
        )

    def tell(self, number: int, result: Result) -> None:
        assert number not in self.told
        self.told[number] = result

    @property
    def finished(self) -> bool:
        return not self._waiting

    @property
    def best(self) -> None:
        return None

    @property
    def phase(self) -> str:
        return "a list"

    @property
    def progress(self) -> float | None:
        return None

    @property
    def proposed(self) -> int:
        return 0

    @property
    def expected_evaluations(self) -> int | None:
        return None


def tiny_run(
    store: Path,
    search: Search | None = None,
    timeout_seconds: float | None = None,
    **options: object,
) -> Run:
    config = resolve("quick", TINY_CONFIG, {"task": "tiny"}).run_config("tiny")
    task = build()
    evaluator = Evaluator(
        task, open_store(store), InProcessExecutor(task, timeout_seconds=timeout_seconds)
    )
    given: Mapping[str, object] = {"config": config, "evaluator": evaluator, **options}
    return Run(search=search or config.new_search(), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("at_once", [True, False])
def test_an_equivalent_rule_is_never_trained_twice(tmp_path: Path, at_once: bool) -> None:
    dressed_up = "none: v+[a3]*(1e-08*w)"
    search = ListSearch(
        ["none: v", dressed_up, "none: sign_v", "none: identity(v)"], at_once=at_once
    )
    run = tiny_run(tmp_path / "store.sqlite", search)
    run.execute()
    kinds = [search.told[number].kind for number in range(4)]
    assert kinds[0] is not OutcomeKind.DUPLICATE
    assert kinds[1] is OutcomeKind.DUPLICATE
    assert search.told[1].fitness == search.told[0].fitness
    assert kinds[2] is not OutcomeKind.DUPLICATE
    assert search.told[3].fitness == search.told[0].fitness
    assert (run.progress.trained, run.progress.duplicate) == (2, 1)


def test_a_degenerate_rule_costs_no_training_and_is_stored_with_its_reason(tmp_path: Path) -> None:
    search = ListSearch(["none: 1", "none: v"])
    run = tiny_run(tmp_path / "store.sqlite", search)
    run.execute()
    assert search.told[0] == Result(OutcomeKind.DEGENERATE, None)
    assert (run.progress.degenerate, run.progress.trained) == (1, 1)
    (degenerate,) = run.evaluator.store.trials(outcomes=[OutcomeKind.DEGENERATE])
    assert degenerate.trial.outcome.sentence


def test_a_rule_that_climbs_is_trained_with_its_sign_turned(tmp_path: Path) -> None:
    search = ListSearch(["none: -v"])
    run = tiny_run(tmp_path / "store.sqlite", search)
    run.execute()
    (stored,) = run.evaluator.store.trials()
    assert stored.trial.key.rule == "none: v"


def test_the_observer_sees_every_figure_of_the_progress(tmp_path: Path) -> None:
    seen: list[Progress] = []
    run = tiny_run(tmp_path / "store.sqlite", observe=seen.append)
    run.execute()
    last = seen[-1]
    assert last.sampled >= last.trained + last.degenerate
    assert last.trained > 10
    assert last.best_rule is not None
    assert last.fraction is not None
    assert [progress.trained for progress in seen] == sorted(progress.trained for progress in seen)
    assert last.phase == str(Ending.COMPLETE)
