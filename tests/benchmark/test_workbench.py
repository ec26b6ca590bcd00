"""A benchmark on a real, tiny task: what is trained, what is stored, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tiny import TINY_CONFIG, build

from evolute.benchmark.result import BenchResult
from evolute.errors import ConfigError, InputError, StoreError, UnknownNameError
from evolute.lang.rule import Rule
from evolute.leaderboard import find_run
from evolute.store.base import RunRecord
from evolute.store.sql import open_store
from evolute.trial import PROGRAM_VERSION
from evolute.workbench.bench import WorkListener, bench

CONFIG: dict[str, Any] = {
    "main": TINY_CONFIG["main"],
    "bench": {
        "tuning_seeds": 1,
        "sensitivity_seeds": 1,
        "sensitivity_half_width": 1,
        "grid_half_width": 1,
        "widenings": 0,
        "resamples": 100,
    },
}
TANH = Rule.parse("none: [a3]*tanh(g)")


class StoppedError(Exception):
    """What interrupts a benchmark."""


class Counter(WorkListener):
    """Counts what it hears, and interrupts after so many."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.heard: list[tuple[str, int, int]] = []

    def trained(self, phase: str, done: int, expected: int) -> None:
        self.heard.append((phase, done, expected))
        if self.stop_after is not None and len(self.heard) >= self.stop_after:
            raise StoppedError


def run(store: Path, *optimizers: str | Rule, **changes: Any) -> BenchResult:
    arguments: dict[str, Any] = {"budget": 2, "seeds": 2, "config": CONFIG, "store": store}
    return bench([*optimizers], [build()], **{**arguments, **changes})


def stored(store: Path) -> set[str]:
    with open_store(store) as opened:
        return {row.trial.key.digest for row in opened.trials()}


def untimed(result: BenchResult) -> dict[str, Any]:
    """What a benchmark found, but for what a clock measured."""

    def clean(data: object) -> object:
        if isinstance(data, dict):
            return {key: clean(value) for key, value in data.items() if "second" not in key}
        return [clean(value) for value in data] if isinstance(data, list) else data

    cleaned = clean(result.to_dict())
    assert isinstance(cleaned, dict)
    return cleaned


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BenchResult]:
    """A store in which a benchmark of two optimizers has been run."""
    store = tmp_path_factory.mktemp("bench") / "store.sqlite"
    return store, run(store, TANH, "adamw")


def test_a_benchmark_run_again_trains_nothing_and_finds_the_same(
    first: tuple[Path, BenchResult],
) -> None:
    store, result = first
    before = stored(store)
    again = run(store, TANH, "adamw")
    assert stored(store) == before
    assert untimed(again) == untimed(result)


def test_an_interrupted_benchmark_resumes_and_finds_what_an_uninterrupted_one_does(
    first: tuple[Path, BenchResult], tmp_path: Path
) -> None:
    whole, result = first
    store = tmp_path / "store.sqlite"
    with pytest.raises(StoppedError):
        run(store, TANH, "adamw", listener=Counter(stop_after=20))
    begun = stored(store)
    assert 0 < len(begun) < len(stored(whole))
    resumed = run(store, TANH, "adamw")
    assert begun <= stored(store)
    assert untimed(resumed) == untimed(result)


def test_adding_an_optimizer_trains_its_own_trials_alone(first: tuple[Path, BenchResult]) -> None:
    store, _ = first
    before = stored(store)
    run(store, TANH, "adamw", "signsgd")
    with open_store(store) as opened:
        added = [
            row.trial.key.rule for row in opened.trials() if row.trial.key.digest not in before
        ]
    assert added
    assert all("sign_g" in rule for rule in added)


def test_the_result_is_stored_as_a_run_of_its_own_kind_that_no_search_meets(
    first: tuple[Path, BenchResult],
) -> None:
    store, result = first
    with open_store(store) as opened:
        record = find_run(opened, result.name, kind="benchmark")
        kept = BenchResult.from_dict(opened.document(record.digest, "benchmark"))
        assert untimed(kept) == untimed(result)
        with pytest.raises(StoreError, match="holds no run yet"):
            find_run(opened, None)


def test_progress_counts_up_to_what_was_expected(tmp_path: Path) -> None:
    counter = Counter()
    run(tmp_path / "store.sqlite", "adamw", listener=counter)
    phases = {phase for phase, _, _ in counter.heard}
    assert phases == {"benchmark on tiny"}
    assert [done for _, done, _ in counter.heard] == list(range(1, len(counter.heard) + 1))
    assert all(done <= expected for _, done, expected in counter.heard)


def test_settings_of_one_task_lie_over_those_of_all(tmp_path: Path) -> None:
    own = {"tiny": {"main": {"training": {"steps": 6, "epoch_steps": 3}}}}
    config = {**CONFIG, "per_task": own}
    result = run(tmp_path / "store.sqlite", "adamw", config=config)
    assert result.tasks[0].steps == 6


@pytest.mark.parametrize(
    ("optimizers", "changes", "kind", "message"),
    [
        (["adamv"], {}, UnknownNameError, "unknown rule .adamv.: did you mean .adam."),
        (["adamw", "adamw"], {}, InputError, "'adamw' is given twice"),
        ([], {}, InputError, "no optimizer is given"),
        (["adamw"], {"seeds": 1}, InputError, "one fresh seed shows no difference"),
        (["adamw"], {"config": {"bench": {"budgt": 3}}}, ConfigError, "did you mean 'budget'"),
        (["adamw"], {"config": {"bnch": {}}}, ConfigError, "did you mean 'bench'"),
        (["adamw"], {"budget": 0}, ConfigError, "bench.budget"),
        (["adamw"], {"preset": "quik"}, UnknownNameError, "did you mean 'quick'"),
        (["best:nothing"], {}, StoreError, "the store holds no run yet"),
    ],
)
def test_bad_input_is_refused_in_one_line_before_anything_is_trained(
    optimizers: list[str],
    changes: dict[str, Any],
    kind: type[Exception],
    message: str,
    tmp_path: Path,
) -> None:
    store = tmp_path / "store.sqlite"
    with pytest.raises(kind, match=message) as caught:
        run(store, *optimizers, **changes)
    assert "\n" not in str(caught.value)
    assert not store.exists() or not stored(store)


def test_no_task_and_one_task_twice_are_refused(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    with pytest.raises(InputError, match="no task is given"):
        bench(["adamw"], [], store=store)
    with pytest.raises(InputError, match="the task 'tiny' is given twice"):
        bench(["adamw"], [build(), build()], store=store)


def test_two_runs_of_one_name_are_told_apart_by_their_digests(tmp_path: Path) -> None:
    record = RunRecord("a" * 64, "twin", "{}", PROGRAM_VERSION)
    with open_store(tmp_path / "store.sqlite") as opened:
        opened.open_run(record)
        opened.open_run(dataclasses.replace(record, digest="b" * 64))
        with pytest.raises(InputError, match="2 runs are called 'twin': give the first digits"):
            find_run(opened, "twin")
        assert find_run(opened, "bbbb").digest == "b" * 64
