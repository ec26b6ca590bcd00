"""What every Store promises of runs, their entries and documents; part of its contract."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from evolute.errors import StoreError
from evolute.store.base import RunResults, Store
from evolute.testing.store_examples import RUN, example_entry, example_trial
from evolute.trial import Outcome, OutcomeKind, Trial


class RunContract(ABC):
    """Guarantees on runs of every store."""

    @abstractmethod
    def open(self, folder: Path) -> Store:
        """Open the store of this folder, an empty one the first time."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        """Return an empty store, closed after the test."""
        with self.open(tmp_path) as opened:
            yield opened

    def test_a_run_is_opened_once_and_then_found(self, store: Store) -> None:
        first = store.open_run(RUN)
        assert first.created_at
        assert store.open_run(replace(RUN, name="renamed", config_json='{ "seed": 0 }')) == first
        second = store.open_run(replace(RUN, digest="cd" * 32, config_json='{"seed":1}'))
        assert store.runs() == (first, second)

    @pytest.mark.parametrize("change", [{"config_json": '{"seed":1}'}, {"program_version": "2"}])
    def test_one_digest_never_stands_for_two_runs(
        self, store: Store, change: dict[str, str]
    ) -> None:
        first = store.open_run(RUN)
        with pytest.raises(StoreError, match="another configuration or program version"):
            store.open_run(replace(RUN, **change))
        assert store.runs() == (first,)

    def test_a_run_lists_its_own_trials_with_their_first_entry(self, store: Store) -> None:
        store.open_run(RUN)
        trials = store.put_many([example_trial(n, fitness=float(n)) for n in range(4)])
        entries = [example_entry(position, trials[n]) for position, n in ((5, 1), (2, 2), (7, 1))]
        store.record_many(RUN.digest, entries)
        assert [(stored.trial, stored.entry) for stored in store.trials(run=RUN.digest)] == [
            (trials[2], entries[1]),
            (trials[1], entries[0]),
        ]
        by_position = store.trials(run=RUN.digest, order="position", limit=1)
        assert [stored.trial for stored in by_position] == [trials[2]]
        assert store.run_entries(RUN.digest) == (entries[1], entries[0], entries[2])

    def test_equal_trials_of_a_run_are_listed_by_position(self, store: Store) -> None:
        store.open_run(RUN)
        trials = store.put_many([example_trial(n, fitness=0.5) for n in range(3)])
        store.record_many(RUN.digest, [example_entry(2 - n, trials[n]) for n in range(3)])
        assert [stored.trial.key.seed for stored in store.trials(run=RUN.digest)] == [2, 1, 0]

    def test_the_results_of_a_run_say_what_its_entries_and_trials_say(self, store: Store) -> None:
        store.open_run(RUN)
        assert store.results(RUN.digest) == RunResults()
        finished, diverged = store.put_many([example_trial(0, fitness=1 / 3), example_trial(1)])
        order = [finished, diverged, finished]
        store.record_many(RUN.digest, [example_entry(n, trial) for n, trial in enumerate(order)])
        assert store.results(RUN.digest) == RunResults(
            (0, 1, 2),
            (finished.key.digest, diverged.key.digest, finished.key.digest),
            (OutcomeKind.FINISHED, OutcomeKind.DIVERGED, OutcomeKind.FINISHED),
            (1 / 3, None, 1 / 3),
        )

    def test_a_run_is_unsettled_once_it_recorded_what_the_machine_ended(self, store: Store) -> None:
        other = replace(RUN, digest="cd" * 32)
        for run in (RUN, other):
            store.open_run(run)
        later = example_trial(1, fitness=0.5)
        ended = store.put(Trial(later.key, Outcome(OutcomeKind.CRASHED, "killed"), None))
        store.record_many(RUN.digest, [example_entry(0, ended)])
        assert store.unsettled(RUN.digest)
        store.put(later)
        assert store.unsettled(RUN.digest)
        assert store.results(RUN.digest).fitnesses == (0.5,)
        store.record_many(other.digest, [example_entry(0, later)])
        assert not store.unsettled(other.digest)
        store.forget_entries(RUN.digest)
        assert not store.unsettled(RUN.digest)

    def test_recording_the_same_again_changes_nothing(self, store: Store) -> None:
        store.open_run(RUN)
        entries = [example_entry(n, store.put(example_trial(n))) for n in range(3)]
        store.record_many(RUN.digest, entries[:2])
        store.record_many(RUN.digest, entries)
        store.record_many(RUN.digest, [])
        assert store.run_entries(RUN.digest) == tuple(entries)

    @pytest.mark.parametrize("together", [False, True])
    def test_a_position_never_holds_two_proposals(self, store: Store, *, together: bool) -> None:
        store.open_run(RUN)
        first, second, third = (example_entry(0, store.put(example_trial(n))) for n in range(3))
        store.record_many(RUN.digest, [first])
        held = replace(third, position=1)
        conflicting = [held, replace(second, position=1)] if together else [held, second]
        with pytest.raises(StoreError, match="holds another proposal"):
            store.record_many(RUN.digest, conflicting)
        with pytest.raises(StoreError, match="holds another proposal"):
            store.record_many(RUN.digest, [replace(first, facts={"stage": "main"})])
        assert store.run_entries(RUN.digest) == (first,)

    def test_an_entry_names_a_stored_trial(self, store: Store) -> None:
        store.open_run(RUN)
        with pytest.raises(StoreError, match="holds no trial"):
            store.record_many(RUN.digest, [example_entry(0, example_trial(0))])

    def test_forgotten_entries_can_be_recorded_anew_and_trials_stay(self, store: Store) -> None:
        first, second = store.put_many([example_trial(1), example_trial(2)])
        other = replace(RUN, digest="cd" * 32)
        for run in (RUN, other):
            store.open_run(run)
            store.record_many(run.digest, [example_entry(0, first)])
        store.forget_entries(RUN.digest)
        assert store.run_entries(RUN.digest) == ()
        assert store.run_entries(other.digest) == (example_entry(0, first),)
        store.record_many(RUN.digest, [example_entry(0, second)])
        assert store.run_entries(RUN.digest) == (example_entry(0, second),)
        assert store.get(first.key.digest) == first
        with pytest.raises(StoreError):
            store.forget_entries("ef" * 32)

    def test_the_last_entries_of_a_run_and_others_can_be_forgotten(self, store: Store) -> None:
        other = replace(RUN, digest="cd" * 32)
        trials = store.put_many([example_trial(number) for number in range(6)])
        entries = [example_entry(at, trial) for at, trial in enumerate(trials)]
        for run in (RUN, other):
            store.open_run(run)
            store.record_many(run.digest, entries)
        store.put_checkpoint(RUN.digest, {"state": b"{}"}, entries=2)
        store.forget_entries_from(RUN.digest, 4, also=[1, 3])
        assert store.run_entries(RUN.digest) == (entries[0], entries[2])
        assert store.checkpoint(RUN.digest) == {"state": b"{}"}
        store.forget_entries_from(RUN.digest, 2, also=())
        assert store.run_entries(RUN.digest) == (entries[0],)
        assert store.run_entries(other.digest) == tuple(entries)
        with pytest.raises(StoreError):
            store.forget_entries_from("ef" * 32, 0, also=())

    def test_a_checkpoint_is_read_as_it_was_written_last(self, store: Store) -> None:
        store.open_run(RUN)
        assert store.checkpoint(RUN.digest) is None
        large = bytes(range(256)) * 40_000
        for columns in ({"state": b"{}", "large": large, "empty": b""}, {"state": b"[]"}):
            store.put_checkpoint(RUN.digest, columns, entries=0)
            assert store.checkpoint(RUN.digest) == columns
        with pytest.raises(StoreError, match="holds no run"):
            store.checkpoint("ef" * 32)

    def test_a_checkpoint_is_forgotten_with_the_entries_that_it_builds_on(
        self, store: Store
    ) -> None:
        store.open_run(RUN)
        store.put_checkpoint(RUN.digest, {"state": b"{}"}, entries=1)
        assert store.checkpoint(RUN.digest) is None
        store.record_many(RUN.digest, [example_entry(0, store.put(example_trial(1)))])
        assert store.checkpoint(RUN.digest) == {"state": b"{}"}
        store.forget_entries(RUN.digest)
        assert store.checkpoint(RUN.digest) is None
        store.put_checkpoint(RUN.digest, {"state": b"{}"}, entries=0)
        assert store.checkpoint(RUN.digest) == {"state": b"{}"}

    def test_every_position_of_a_run_is_counted_once(self, store: Store) -> None:
        store.open_run(RUN)
        finished = store.put(example_trial(0, fitness=0.5))
        diverged = store.put(example_trial(1))
        unsound = Outcome(OutcomeKind.DEGENERATE, "no gradient reaches the update")
        degenerate = store.put(replace(example_trial(2), outcome=unsound))
        store.put(example_trial(3))
        order = [finished, degenerate, finished, diverged, degenerate, finished]
        entries = [example_entry(position, trial) for position, trial in enumerate(order)]
        store.record_many(RUN.digest, entries)
        assert store.counts(RUN.digest) == {
            OutcomeKind.FINISHED: 1,
            OutcomeKind.DIVERGED: 1,
            OutcomeKind.DEGENERATE: 2,
            OutcomeKind.DUPLICATE: 2,
        }

    def test_a_document_is_kept_until_the_next_of_its_name(self, store: Store) -> None:
        store.open_run(RUN)
        assert store.document(RUN.digest, "verdict") is None
        store.put_document(RUN.digest, "verdict", {"sentence": "none", "gain": [0.1, None]})
        store.put_document(RUN.digest, "other", [1])
        assert store.document(RUN.digest, "verdict") == {"sentence": "none", "gain": [0.1, None]}
        store.put_document(RUN.digest, "verdict", "better")
        assert store.document(RUN.digest, "verdict") == "better"
        assert store.document(RUN.digest, "other") == [1]

    @pytest.mark.parametrize("document", [math.nan, object(), {"a": {1, 2}}])
    def test_what_json_cannot_hold_is_refused(self, store: Store, document: object) -> None:
        store.open_run(RUN)
        with pytest.raises(StoreError, match="must be what JSON can hold"):
            store.put_document(RUN.digest, "verdict", document)
        entry = replace(example_entry(0, store.put(example_trial(0))), facts={"a": document})
        with pytest.raises(StoreError, match="must be what JSON can hold"):
            store.record_many(RUN.digest, [entry])
        with pytest.raises(StoreError, match="must be what JSON can hold"):
            store.open_run(replace(RUN, config_json="{"))

    def test_a_run_that_is_not_stored_is_refused(self, store: Store) -> None:
        asking: tuple[Callable[[str], object], ...] = (
            store.counts,
            store.run_entries,
            store.results,
            store.unsettled,
            lambda run: store.trials(run=run),
        )
        for ask in asking:
            with pytest.raises(StoreError, match="holds no run 'none'"):
                ask("none")
        with pytest.raises(StoreError, match="holds no run"):
            store.record_many("none", [example_entry(0, store.put(example_trial(0)))])
        with pytest.raises(StoreError, match="holds no run"):
            store.put_document("none", "verdict", 1)
        with pytest.raises(StoreError, match="holds no run"):
            store.document("none", "verdict")
