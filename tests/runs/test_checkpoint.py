"""A run that goes on from its checkpoint ends as one that asked its search from the beginning."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from tiny import TINY_CONFIG, build

from evolute.presets import resolve
from evolute.runs import run as runs
from evolute.runs.budget import Budget
from evolute.runs.evaluate import Evaluator
from evolute.runs.executors.base import never_stop
from evolute.runs.executors.in_process import InProcessExecutor
from evolute.runs.progress import Ending, Progress
from evolute.runs.run import Run
from evolute.runs.settled import DIGEST_BYTES, Settled
from evolute.search.base import Proposal, Result
from evolute.search.digests import SortedDigests
from evolute.store.sql import open_store
from evolute.testing.store_examples import example_trial
from evolute.train.equipment import Equipment
from evolute.trial import Outcome, OutcomeKind, Trial, canonical_json

CONFIG = {
    **TINY_CONFIG,
    "search": {
        "initial_candidates": 8,
        "particles": 3,
        "time_steps": 2,
        "children": 2,
        "tries": 2,
    },
}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "particles": CONFIG["search"],
    "random": {"candidates": 14, "batch": 4},
    "regularized_evolution": {"candidates": 14, "population": 4, "sample": 2, "batch": 3},
}


def open_run(
    path: Path, algorithm: str = "particles", evaluations: int | None = None, **options: Any
) -> Run:
    settings = CONFIG | {"search": ALGORITHMS[algorithm]}
    config = resolve("quick", settings, {"task": "tiny", "algorithm": algorithm}).run_config("tiny")
    task = build()
    executor = InProcessExecutor(task, equipment=Equipment(lanes=2, plan="loop"))
    return Run(
        config=config,
        search=config.new_search(),
        evaluator=Evaluator(task, open_store(path), executor),
        budget=Budget(evaluations=evaluations),
        **options,
    )


def sat(run: Run) -> dict[str, Any]:
    """Let a run go on to its end; return all that it came to."""
    ending = run.execute()
    assert ending is Ending.COMPLETE
    store = run.evaluator.store
    entries = [
        (each.position, each.trial, dict(each.facts)) for each in store.run_entries(run.digest)
    ]
    figures = replace(run.progress, seconds=0.0, reused=0)
    best = run.search.best
    failures = sorted((kind.value, count) for kind, count, _ in run.failures)
    store.close()
    return {"entries": entries, "figures": figures, "best": best, "failures": failures,
            "settled": run.settled, "proposed": run.search.proposed}  # fmt: skip


class Interrupting:
    """Interrupts a run once it has seen so many trials."""

    def __init__(self, trained: int) -> None:
        self.trained = trained

    def __call__(self, progress: Progress) -> None:
        if progress.trained >= self.trained:
            raise KeyboardInterrupt


def without_checkpoint(path: Path, copy: Path) -> Path:
    shutil.copy(path, copy)
    with closing(sqlite3.connect(copy)) as connection, connection:
        assert connection.execute("DELETE FROM checkpoints").rowcount > 0
    return copy


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save a checkpoint whenever there is something new."""
    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(runs, "SHARE_OF_CHECKPOINTS", float("inf"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_with_and_without_its_checkpoint_an_interrupted_run_ends_as_undisturbed(
    tmp_path: Path, always: None, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    undisturbed = sat(open_run(tmp_path / "undisturbed.sqlite", algorithm))
    path = tmp_path / "interrupted.sqlite"
    for trained in (2, 5, 9):
        run = open_run(path, algorithm, observe=Interrupting(trained))
        with pytest.raises(KeyboardInterrupt):
            run.execute()
        run.evaluator.store.close()
    asked_anew = without_checkpoint(path, tmp_path / "anew.sqlite")
    resumed = open_run(path, algorithm)
    asked: list[int] = []

    def ask() -> tuple[Proposal, ...]:
        asked.append(1)
        return ()

    monkeypatch.setattr(resumed.search, "ask", ask)
    assert sat(resumed) == undisturbed
    assert not asked  # the search went on from its state
    assert sat(open_run(asked_anew, algorithm)) == undisturbed


def test_a_run_that_ended_is_looked_up_without_asking_anything(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    first = sat(open_run(path))
    again = open_run(path)
    assert sat(again) == first
    assert again.progress.reused == again.progress.trained > 0


def test_a_larger_budget_goes_on_and_a_smaller_one_ignores_what_it_came_to(tmp_path: Path) -> None:
    undisturbed = sat(open_run(tmp_path / "undisturbed.sqlite"))
    small = open_run(tmp_path / "small.sqlite", evaluations=3)
    assert small.execute() is Ending.BUDGET
    path = tmp_path / "store.sqlite"
    held = []
    for evaluations in (3, 8, 3):
        run = open_run(path, evaluations=evaluations)
        assert run.execute() is Ending.BUDGET
        assert run.progress.trained == evaluations
        held.append(run.evaluator.store.checkpoint(run.digest))
    assert held[0] != held[1] == held[2]  # the one that has come further is kept
    assert run.settled == small.settled
    assert run.search.best == small.search.best
    assert sat(open_run(path)) == undisturbed


def test_a_checkpoint_that_took_longer_than_the_budget_is_kept_and_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.sqlite"
    first = open_run(path, evaluations=5)
    first.execute()
    held = first.evaluator.store.checkpoint(first.digest)
    first.evaluator.store.close()
    again = open_run(path)
    again.budget = Budget(seconds=1e-9)
    begun = again.search
    assert again.execute() is Ending.BUDGET
    assert again.search is begun
    assert again.evaluator.store.checkpoint(again.digest) == held
    assert not caplog.records


class CrashingOnce(InProcessExecutor):
    """Its first trial crashes; before the second ends, the user interrupts."""

    def next(self, stop: Callable[[], bool] = never_stop) -> tuple[int, Trial] | None:
        if self.__dict__.setdefault("crashed", False):
            raise KeyboardInterrupt
        self.__dict__["crashed"] = True
        answer = super().next(stop)
        assert answer is not None
        self._ended.clear()
        return answer[0], Trial(answer[1].key, Outcome(OutcomeKind.CRASHED, "killed"), None)


@pytest.mark.parametrize("saved_before", [False, True])
def test_a_trial_that_crashed_in_a_group_not_yet_told_is_tried_again(
    tmp_path: Path, undisturbed: dict[str, Any], request: pytest.FixtureRequest, *,
    saved_before: bool,
) -> None:  # fmt: skip
    if saved_before:
        request.getfixturevalue("always")
    path = tmp_path / "store.sqlite"
    run = open_run(path)
    crashing = CrashingOnce(run.evaluator.task, equipment=Equipment(lanes=2, plan="loop"))
    run.evaluator = replace(run.evaluator, executor=crashing)
    with pytest.raises(KeyboardInterrupt):
        run.execute()
    store = run.evaluator.store
    kinds = [each.trial.outcome.kind for each in store.trials()]
    assert kinds.count(OutcomeKind.CRASHED) == 1
    assert store.checkpoint(run.digest) is not None
    store.close()
    assert sat(open_run(path)) == undisturbed


class Crashing(InProcessExecutor):
    """Every second trial crashes, by its digest, as often as it is tried."""

    tried: list[str]

    def next(self, stop: Callable[[], bool] = never_stop) -> tuple[int, Trial] | None:
        answer = super().next(stop)
        if answer is None:
            return None
        digest = answer[1].key.digest
        self.__dict__.setdefault("tried", []).append(digest)
        if int(digest, 16) % 2:
            return answer
        return answer[0], Trial(answer[1].key, Outcome(OutcomeKind.CRASHED, "killed"), None)


def crashing(path: Path, **options: Any) -> Run:
    run = open_run(path, **options)
    executor = Crashing(run.evaluator.task, equipment=Equipment(lanes=2, plan="loop"))
    run.evaluator = replace(run.evaluator, executor=executor)
    return run


def interrupted(run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        run.execute()
    run.evaluator.store.close()


def never_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return the run; its search must go on from a state, and is not asked from the beginning."""

    def ask() -> tuple[Proposal, ...]:
        pytest.fail("asked from the beginning")

    monkeypatch.setattr(run.search, "ask", ask)
    return run


def test_a_run_whose_trials_crash_again_goes_on_from_its_checkpoint(
    tmp_path: Path, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.sqlite"
    undisturbed = sat(crashing(tmp_path / "undisturbed.sqlite"))
    assert undisturbed["failures"]
    interrupted(crashing(path, observe=Interrupting(5)))
    interrupted(crashing(path, observe=Interrupting(9)))
    resumed = never_asked(crashing(path), monkeypatch)
    marked = json.loads((resumed.evaluator.store.checkpoint(resumed.digest) or {})["state"])
    assert sat(resumed) == undisturbed
    tried = vars(resumed.evaluator.executor)["tried"]
    assert set(tried[: len(marked["to_retry"])]) == marked["to_retry"].keys() != set()
    assert len(tried) == len(set(tried)) < len(undisturbed["settled"])


def test_trials_that_crashed_are_tried_again_though_the_time_is_over(
    tmp_path: Path, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.sqlite"
    undisturbed = sat(crashing(tmp_path / "undisturbed.sqlite"))
    interrupted(crashing(path, observe=Interrupting(9)))
    begins = chain([0.0, 0.0], repeat(1e6))  # made and begun, then over at once
    late = crashing(path, clock=lambda: next(begins))
    late.budget = Budget(seconds=3600.0)
    saved = late.evaluator.store.checkpoint(late.digest)
    marked = json.loads((saved or {})["state"])["to_retry"]
    assert late.execute() is Ending.BUDGET
    assert set(vars(late.evaluator.executor)["tried"]) == marked.keys() != set()
    late.evaluator.store.close()
    assert sat(never_asked(crashing(path), monkeypatch)) == undisturbed, "nothing was lost"


def test_a_run_whose_crashed_trials_end_otherwise_is_asked_anew(
    tmp_path: Path, always: None, undisturbed: dict[str, Any]
) -> None:
    path = tmp_path / "store.sqlite"
    interrupted(crashing(path, observe=Interrupting(6)))
    assert sat(open_run(path)) == undisturbed


def test_what_crashed_after_the_checkpoint_is_forgotten_and_the_run_goes_on_from_it(
    tmp_path: Path, always: None, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.sqlite"
    interrupted(open_run(path, observe=Interrupting(4)))
    killed = crashing(path)
    monkeypatch.setattr(killed, "_save", lambda: None)
    killed.execute()
    assert killed.evaluator.store.unsettled(killed.digest)
    killed.evaluator.store.close()
    assert sat(never_asked(open_run(path), monkeypatch)) == undisturbed


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Return what changes the state in a checkpoint, checksum and all."""

    def apply(path: Path) -> None:
        with open_store(path) as store:
            (run,) = store.runs()
            columns = dict(store.checkpoint(run.digest) or {})
            plain = json.loads(columns["state"])
            change(plain)
            columns["state"] = json.dumps(plain).encode()
            store.put_checkpoint(run.digest, columns, entries=0)

    return apply


def flip(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE checkpoints SET content = x'7b7d' WHERE part = 0")


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        changed(lambda plain: plain.update(format=0)),
        changed(lambda plain: plain.update(run="ef" * 32)),
        changed(lambda plain: plain.update(search={})),
        changed(lambda plain: plain["search"].update(particles=[3])),
        changed(lambda plain: plain.update(pending=[[1]])),
        changed(lambda plain: plain.update(shelves=[["{}", "none", [1], []]])),
        changed(lambda plain: plain.update(progress={"unheard": 1})),
        changed(lambda plain: plain.update(to_retry={"ef" * 32: "crashed"})),
        changed(lambda plain: plain.update(to_retry={"ef" * 32: "finished"})),
        changed(dict.clear),
    ],
)
def test_what_is_no_checkpoint_of_this_run_is_ignored(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "store.sqlite"
    first = sat(open_run(path))
    damage(path)
    assert sat(open_run(path)) == first


def of_search(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda plain: plain["search"]["ledger"].update(changes)


def of_progress(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda plain: plain["progress"].update(changes)


def unknown_trials(path: Path, undisturbed: dict[str, Any]) -> None:
    """Say of trials that none has trained that they are settled."""
    digests = b"".join(bytes.fromhex(digest) for digest in sorted(undisturbed["settled"]))
    replace_columns(path, lambda name, held: digests if name == "settled" else held)


def unsettled_twins(path: Path, _undisturbed: dict[str, Any]) -> None:
    """Name trials that are not settled as those of the fingerprints."""

    def change(name: str, held: bytes) -> bytes:
        return b"\x0f\0\0\0" * (len(held) // 4) if name.startswith("twins") else held

    replace_columns(path, change)


def unknown_twins(path: Path, _undisturbed: dict[str, Any]) -> None:
    """Name trials that nobody has asked for, in place of those that are waited for."""

    def change(plain: dict[str, Any]) -> None:
        for shelf in plain["shelves"]:
            shelf[3] = ["ef" * 32 for _ in shelf[3]]

    changed(change)(path)


def replace_columns(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    with open_store(path) as store:
        (run,) = store.runs()
        columns = store.checkpoint(run.digest) or {}
        changed_columns = {name: change(name, held) for name, held in columns.items()}
        assert changed_columns != columns
        store.put_checkpoint(run.digest, changed_columns, entries=0)


def settled_for_good(path: Path, undisturbed: dict[str, Any]) -> None:
    """Say of trials that ended for good that they crashed."""

    def change(plain: dict[str, Any]) -> None:
        with open_store(path) as store:
            held = [each.trial.key.digest for each in store.trials()]
        plain["to_retry"] = dict.fromkeys(held[:1], "crashed")

    assert undisturbed["settled"]
    changed(change)(path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return sat(open_run(tmp_path_factory.mktemp("undisturbed") / "store.sqlite"))


@pytest.fixture(scope="module")
def ended_early(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a checkpoint in the middle of the run."""
    path = tmp_path_factory.mktemp("early") / "store.sqlite"
    run = open_run(path, evaluations=5)
    assert run.execute() is Ending.BUDGET
    run.evaluator.store.close()
    return path


@pytest.mark.parametrize(
    ("damage", "noticed"),
    [
        (of_progress(sampled="x"), True),
        (of_progress(sampled=True), True),
        (of_progress(best_fitness="x"), True),
        (of_progress(best_fitness=float("nan")), True),
        (of_search(awaited=[]), True),
        (of_search(proposed=1), True),
        (lambda plain: plain.update(pending=[]), True),
        (lambda plain: plain["pending"][0].pop(), True),
        (lambda plain: plain["pending"].append(plain["pending"][0]), True),
        (lambda plain: plain.update(asked="x"), True),
        (lambda plain: plain.update(seconds=float("inf")), True),
        (lambda plain: plain.update(failures=[["crashed", "x", 1]]), True),
        (unknown_trials, True),
        (unsettled_twins, True),
        (unknown_twins, None),
        (settled_for_good, None),
    ],
)
def test_a_checkpoint_that_no_run_has_written_is_ignored_however_late_it_shows(
    tmp_path: Path, undisturbed: dict[str, Any], ended_early: Path,
    caplog: pytest.LogCaptureFixture, damage: Callable[..., object], *, noticed: bool | None,
) -> None:  # fmt: skip
    path = Path(shutil.copy(ended_early, tmp_path / "store.sqlite"))
    if damage in (unknown_trials, unsettled_twins, unknown_twins, settled_for_good):
        damage(path, undisturbed)
    else:
        changed(damage)(path)
    assert sat(open_run(path)) == undisturbed
    lines = [each.getMessage() for each in caplog.records]
    assert len(lines) == noticed or (noticed is None and len(lines) <= 1)
    assert all("is ignored" in line and "\n" not in line for line in lines)


def test_trials_of_earlier_sittings_are_known_by_their_digests_and_looked_up() -> None:
    with open_store(":memory:") as store:
        trials = store.put_many([example_trial(n, fitness=n / 7) for n in range(40)])
        first = Settled(store)
        for trial in trials[:30]:
            first.add(trial)
        later = Settled(store, first.all_digests())
        for trial in trials[30:35]:
            later.add(trial)
        digests = [trial.key.digest for trial in trials]
        assert len(later) == 35
        assert [digest in later for digest in digests] == [True] * 35 + [False] * 5
        assert later[digests[3]] == Result(OutcomeKind.FINISHED, 3 / 7)
        assert later.digests == frozenset(digests[:35])
        assert Settled(store, later.all_digests()).digests == later.digests
        with pytest.raises(KeyError):
            later[digests[36]]


@pytest.mark.parametrize("earlier", [b"x", bytes(DIGEST_BYTES - 1), b"\2" * 32 + b"\1" * 32])
def test_what_are_no_rising_digests_is_refused(earlier: bytes) -> None:
    with pytest.raises(ValueError, match=r"size|reshape|rise"):
        SortedDigests(earlier, size=DIGEST_BYTES)


def test_plain_data_of_a_state_is_what_json_can_hold() -> None:
    config = resolve("quick", CONFIG, {"task": "tiny"}).run_config("tiny")
    search = config.new_search()
    search.ask()
    assert json.loads(canonical_json(search.state())) == search.state()
