"""What every Store promises, as tests to inherit.

A test file of a store holds no more than how it is opened::

    class TestMyStore(DurableStoreContract):
        def open(self, folder: Path) -> Store:
            return MyStore(folder / "trials")
"""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from evolute.errors import InputError, StoreError
from evolute.store.base import Store, StoredTrial
from evolute.testing.run_contract import RunContract
from evolute.testing.store_examples import (
    AWKWARD_FLOATS,
    RUN,
    example_entry,
    example_trial,
    without_time,
)
from evolute.trial import (
    RETRIED_KINDS,
    EpochRecord,
    Outcome,
    OutcomeKind,
    Provenance,
    Score,
    Trial,
    TrialKey,
)


class StoreContract(RunContract):
    """Guarantees of every store; one that outlives its process inherits the durable ones."""

    # Trials

    def test_a_trial_is_read_as_it_was_written(self, store: Store) -> None:
        trial = replace(
            example_trial(1, fitness=-0.25),
            curve=(
                EpochRecord(200, 0.5, None, 0.75, None),
                EpochRecord(400, 1 / 3, 0.5, 0.25, 0.75),
            ),
            provenance=Provenance(1.5, "2026-01-02T03:04:05+00:00", "a processor, torch 2"),
        )
        assert store.put(trial) == trial
        assert store.get(trial.key.digest) == trial

    def test_a_trial_without_a_score_is_read_without_one(self, store: Store) -> None:
        trial = example_trial(1)
        store.put(trial)
        held = store.get(trial.key.digest)
        assert held is not None
        assert held.score is None
        assert held.outcome == trial.outcome

    @pytest.mark.parametrize("value", AWKWARD_FLOATS)
    def test_a_float_keeps_its_last_bit(self, store: Store, value: float) -> None:
        score = Score(value, value, loss=value, metric=value, train_loss=value, steps=2**40)
        trial = replace(
            example_trial(1, fitness=0.0),
            score=score,
            curve=(EpochRecord(1, value, value, value, None),),
            provenance=Provenance(seconds=value),
        )
        store.put(trial)
        held = store.get(trial.key.digest)
        assert held is not None
        assert held.score == score
        assert held.curve == trial.curve
        assert held.provenance.seconds == value

    def test_a_curve_may_end_in_nan_and_infinity(self, store: Store) -> None:
        curve = (EpochRecord(1, math.inf, None, -math.inf, math.nan),)
        trial = replace(example_trial(1), curve=curve)
        store.put(trial)
        held = store.get(trial.key.digest)
        assert held is not None
        assert str(held.curve) == str(curve)

    def test_texts_and_seeds_of_any_kind_are_kept(self, store: Store) -> None:
        text = '\'; DROP TABLE trials; -- é ∇ 𝛃 \n\t"%s" :name ?'
        key = TrialKey(text, text, text, text, seed=2**63 - 1, program_version=text)
        trial = Trial(key, Outcome(OutcomeKind.CRASHED, text), None)
        assert without_time(store.put(trial)) == trial
        assert len(store.trials(task=text)) == 1

    def test_the_first_write_wins(self, store: Store) -> None:
        first = store.put(example_trial(1, fitness=0.5))
        other = replace(first, outcome=Outcome(OutcomeKind.TIMED_OUT, "too slow"), score=None)
        assert store.put(other) == first
        assert store.get(first.key.digest) == first
        assert len(store.trials()) == 1

    def test_what_the_machine_ended_gives_way_to_the_next(self, store: Store) -> None:
        curve = (EpochRecord(200, 0.5, None, 0.75, None),)
        measured = Provenance(1.5, "2026-01-02T03:04:05+00:00", "another processor")
        later = replace(example_trial(1, fitness=0.5), curve=curve, provenance=measured)
        for kind in sorted(RETRIED_KINDS):
            ended = Trial(later.key, Outcome(kind, f"ended as {kind}"), None)
            assert without_time(store.put(ended)) == ended
        store.open_run(RUN)
        entry = example_entry(0, ended)
        store.record_many(RUN.digest, [entry])
        assert [store.put(later), store.put(ended), store.get(later.key.digest)] == [later] * 3
        assert store.trials(run=RUN.digest) == (StoredTrial(later, entry),)

    def test_within_one_call_too_what_the_machine_ended_gives_way(self, store: Store) -> None:
        finished = example_trial(1, fitness=0.5)
        ended = Trial(finished.key, Outcome(OutcomeKind.TIMED_OUT, "too slow"), None)
        held = store.put_many([ended, finished, ended])
        assert [without_time(trial) for trial in held] == [finished] * 3

    @pytest.mark.parametrize("kind", sorted(set(OutcomeKind) - RETRIED_KINDS))
    def test_what_the_rule_decided_stays(self, store: Store, kind: OutcomeKind) -> None:
        first = store.put(replace(example_trial(1), outcome=Outcome(kind, "decided by the rule")))
        assert store.put(example_trial(1, fitness=0.5)) == first

    def test_a_trial_given_twice_in_one_call_is_stored_once(self, store: Store) -> None:
        first = example_trial(1, fitness=0.5)
        held = store.put_many(
            [first, example_trial(2), replace(first, curve=(EpochRecord(1, 0.5, None, 0.5, None),))]
        )
        assert [without_time(trial) for trial in held] == [first, example_trial(2), first]
        assert len(store.trials()) == 2

    def test_a_trial_is_stamped_when_it_is_stored(self, store: Store) -> None:
        held = store.put(example_trial(1))
        assert held.provenance.created_at.endswith("+00:00")

    def test_many_are_read_by_digest_and_the_unknown_left_out(self, store: Store) -> None:
        trials = store.put_many([example_trial(number) for number in range(1200)])
        digests = [trial.key.digest for trial in trials]
        assert store.get_many([*digests, "cd" * 32]) == dict(zip(digests, trials, strict=True))

    def test_nothing_is_written_or_read_where_nothing_is_given(self, store: Store) -> None:
        assert store.put_many([]) == []
        assert store.get_many([]) == {}
        assert store.get("cd" * 32) is None

    def test_a_trial_is_found_by_the_beginning_of_its_digest(self, store: Store) -> None:
        trials = store.put_many([example_trial(number) for number in range(20)])
        for trial in trials:
            assert store.find_trial(trial.key.digest[:12]) == trial
            assert store.find_trial(trial.key.digest.upper()) == trial

    def test_a_beginning_of_several_digests_names_them(self, store: Store) -> None:
        digests = [trial.key.digest for trial in store.put_many([*map(example_trial, range(20))])]
        first = next(digest[0] for digest in digests if sum(d[0] == digest[0] for d in digests) > 1)
        with pytest.raises(InputError, match="give more digits"):
            store.find_trial(first)

    @pytest.mark.parametrize("prefix", ["", "xyz", "%", "ab_", "a" * 65, "ab cd", "ab\n"])
    def test_what_is_no_beginning_of_a_digest_is_refused(self, store: Store, prefix: str) -> None:
        store.put(example_trial(1))
        with pytest.raises(InputError, match="hexadecimal digits"):
            store.find_trial(prefix)

    def test_a_beginning_of_no_digest_is_refused(self, store: Store) -> None:
        with pytest.raises(InputError, match=r"no trial in store .* begins with 'abc'"):
            store.find_trial("abc")

    # Listings

    def test_the_best_come_first_and_the_unscored_last(self, store: Store) -> None:
        fitnesses = (0.5, None, 0.75, -1.0, 0.75, None)
        for number, fitness in enumerate(fitnesses):
            store.put(example_trial(number, fitness=fitness))
        listed = [stored.trial.key.seed for stored in store.trials()]
        assert listed == [2, 4, 0, 3, 1, 5]
        assert [stored.trial.key.seed for stored in store.trials(limit=2)] == [2, 4]
        assert store.trials(limit=0) == ()

    def test_trials_are_listed_in_the_order_of_storing(self, store: Store) -> None:
        for number in (2, 0, 1):
            store.put(example_trial(number, fitness=float(number)))
        assert [stored.trial.key.seed for stored in store.trials(order="stored")] == [2, 0, 1]

    def test_a_listing_keeps_to_its_task_and_outcomes(self, store: Store) -> None:
        store.put_many([example_trial(1, fitness=0.5), example_trial(2), example_trial(3)])
        store.put(example_trial(1, fitness=0.5, task="other"))
        assert len(store.trials(task="digits")) == 3
        assert len(store.trials(task="digits", outcomes=[OutcomeKind.FINISHED])) == 1
        assert len(store.trials(outcomes=[OutcomeKind.FINISHED, OutcomeKind.DIVERGED])) == 4
        assert store.trials(outcomes=[]) == ()
        assert store.trials(task="none such") == ()

    def test_a_listing_is_read_in_pages(self, store: Store) -> None:
        store.open_run(RUN)
        fitnesses = (0.5, None, 0.75, -1.0, 0.75, None)
        trials = store.put_many(
            [example_trial(number, fitness=fitness) for number, fitness in enumerate(fitnesses)]
        )
        store.record_many(RUN.digest, [example_entry(n, trial) for n, trial in enumerate(trials)])
        for run in (None, RUN.digest):
            whole = store.trials(run=run)
            assert [stored.trial.key.seed for stored in whole] == [2, 4, 0, 3, 1, 5]
            for size in (1, 2, 4):
                pages = [store.trials(run=run, limit=size, skip=skip) for skip in range(0, 8, size)]
                assert tuple(stored for page in pages for stored in page) == whole
            assert (
                store.trials(run=run, order="stored", skip=4)
                == store.trials(run=run, order="stored")[4:]
            )

    def test_a_listing_keeps_to_its_protocol(self, store: Store) -> None:
        store.open_run(RUN)
        first = store.put(example_trial(1, fitness=0.5))
        second = store.put(replace(first, key=replace(first.key, protocol="{}")))
        store.record_many(RUN.digest, [example_entry(0, first), example_entry(1, second)])
        for run in (None, RUN.digest):
            (listed,) = store.trials(run=run, protocol="{}")
            assert listed.trial == second
            assert store.trials(run=run, protocol="none such") == ()
            assert store.trials(run=run, protocol="{}", outcomes=[OutcomeKind.DIVERGED]) == ()

    def test_a_listing_that_cannot_be_is_refused(self, store: Store) -> None:
        with pytest.raises(InputError, match="limit of -1"):
            store.trials(limit=-1)
        with pytest.raises(InputError, match="skip of -1"):
            store.trials(skip=-1)
        with pytest.raises(InputError, match="name the run"):
            store.trials(order="position")
        with pytest.raises(InputError, match="did you mean 'fitness'"):
            store.trials(order="fitnes")  # type: ignore[arg-type]  # as a command line may give it

    # Use

    def test_many_threads_may_share_a_store(self, store: Store) -> None:
        faults: list[Exception] = []

        def work(start: int) -> None:
            try:
                for number in range(start, start + 30):
                    held = store.put(example_trial(number, fitness=float(number)))
                    assert store.get(held.key.digest) == held
            except Exception as fault:  # noqa: BLE001  # whatever a thread raises, the test must see
                faults.append(fault)

        threads = [threading.Thread(target=work, args=(start,)) for start in (0, 10, 20, 30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        assert [row.trial.key.seed for row in store.trials()] == list(range(59, -1, -1))

    def test_a_closed_store_says_so(self, store: Store) -> None:
        store.close()
        store.close()
        with pytest.raises(StoreError, match="is closed"):
            store.put(example_trial(1))


class DurableStoreContract(StoreContract):
    """Guarantees of a store that outlives its process and may be opened several times at once."""

    def test_what_was_written_is_there_when_opened_again(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as store:
            trial = store.put(example_trial(1, fitness=1 / 3))
            run = store.open_run(RUN)
            store.record_many(RUN.digest, [example_entry(0, trial)])
            store.put_document(RUN.digest, "verdict", [1])
        with self.open(tmp_path) as store:
            assert store.get(trial.key.digest) == trial
            assert store.runs() == (run,)
            assert store.run_entries(RUN.digest) == (example_entry(0, trial),)
            assert store.document(RUN.digest, "verdict") == [1]

    def test_two_open_stores_see_each_other_and_the_first_write_wins(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as one, self.open(tmp_path) as two:
            first = one.put(example_trial(1, fitness=0.5))
            assert two.put(example_trial(1, fitness=0.25)) == first
            assert two.open_run(RUN) == one.open_run(replace(RUN, name="later"))
            two.record_many(RUN.digest, [example_entry(0, first)])
            one.record_many(RUN.digest, [example_entry(0, first)])
            assert one.counts(RUN.digest) == {OutcomeKind.FINISHED: 1}
