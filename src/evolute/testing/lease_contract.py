"""What every Store promises of leases, as tests to inherit beside the store's contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evolute.errors import InputError
from evolute.store import leases
from evolute.store.base import Store
from evolute.testing.store_examples import example_trial
from evolute.trial import Outcome, OutcomeKind, Trial

TRIALS = [example_trial(number, fitness=0.5) for number in range(4)]
DIGESTS = [trial.key.digest for trial in TRIALS]
ELSEWHERE = "another machine:1:2:3"
LONG = 1000.0


class LeaseContract(ABC):
    """Guarantees on leases of every store."""

    @abstractmethod
    def open(self, folder: Path) -> Store:
        """Open the store of this folder, an empty one the first time."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        """Return an empty store, closed after the test."""
        with self.open(tmp_path) as opened:
            yield opened

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
        """Return a function that lets the steady clock of stores opened from now on advance."""
        now = [0.0]

        class Watch(leases.Watch):
            """Watch by the clock of the test."""

            def __init__(self) -> None:
                super().__init__(clock=lambda: now[0])

        monkeypatch.setattr(leases, "Watch", Watch)

        def advance(seconds: float) -> None:
            now[0] += seconds

        return advance

    def test_what_nobody_holds_can_be_claimed_by_one(self, store: Store) -> None:
        assert store.claim(DIGESTS[:2], owner="a", seconds=LONG) == set(DIGESTS[:2])
        assert store.claim(DIGESTS[1:3], owner="b", seconds=LONG) == {DIGESTS[2]}
        assert store.held(DIGESTS) == dict(zip(DIGESTS, ["a", "a", "b"], strict=False))

    def test_claiming_again_what_one_holds_changes_nothing(self, store: Store) -> None:
        store.claim(DIGESTS, owner="a", seconds=LONG)
        assert store.claim(DIGESTS, owner="a", seconds=LONG) == set(DIGESTS)
        assert store.claim(DIGESTS, owner="b", seconds=LONG) == set()

    def test_nothing_is_claimed_where_nothing_is_given(self, store: Store) -> None:
        assert store.claim([], owner="a", seconds=LONG) == set()
        assert store.renew([], owner="a", seconds=LONG) == set()
        assert store.held([]) == {}
        store.release([], owner="a")

    @pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
    def test_a_lease_of_no_length_is_refused(self, store: Store, seconds: float) -> None:
        for ask in (store.claim, store.renew):
            with pytest.raises(InputError, match="seconds cannot be: give a number above 0"):
                ask(DIGESTS, owner="a", seconds=seconds)
        assert store.held(DIGESTS) == {}

    def test_what_was_given_back_is_free_and_what_others_hold_stays(self, store: Store) -> None:
        store.claim(DIGESTS[:1], owner="a", seconds=LONG)
        store.claim(DIGESTS[1:2], owner="b", seconds=LONG)
        store.release(DIGESTS, owner="a")
        assert store.held(DIGESTS) == {DIGESTS[1]: "b"}

    def test_a_lease_ends_when_its_trial_is_put_whoever_puts_it(self, store: Store) -> None:
        store.claim(DIGESTS, owner="a", seconds=LONG)
        store.put(TRIALS[0])
        assert set(store.held(DIGESTS)) == set(DIGESTS[1:])

    def test_what_is_stored_for_good_is_never_claimed(self, store: Store) -> None:
        store.put(TRIALS[0])
        assert store.claim(DIGESTS, owner="a", seconds=LONG) == set(DIGESTS[1:])
        assert DIGESTS[0] not in store.held(DIGESTS)

    @pytest.mark.parametrize("kind", [OutcomeKind.TIMED_OUT, OutcomeKind.CRASHED])
    def test_what_the_machine_ended_can_be_claimed(self, store: Store, kind: OutcomeKind) -> None:
        store.put(Trial(TRIALS[0].key, Outcome(kind, "ended"), None))
        assert store.claim(DIGESTS[:1], owner="a", seconds=LONG) == {DIGESTS[0]}

    def test_a_lease_that_is_not_renewed_is_taken_over_after_its_time(
        self, tmp_path: Path, clock: Callable[[float], None]
    ) -> None:
        with self.open(tmp_path) as store:
            store.claim(DIGESTS[:1], owner=ELSEWHERE, seconds=60)
            assert store.claim(DIGESTS[:1], owner="b", seconds=60) == set()
            clock(59)
            assert store.claim(DIGESTS[:1], owner="b", seconds=60) == set()
            clock(1)
            assert store.claim(DIGESTS[:1], owner="b", seconds=60) == {DIGESTS[0]}
            assert store.renew(DIGESTS[:1], owner=ELSEWHERE, seconds=60) == set()

    def test_a_lease_that_is_renewed_is_never_taken_over(
        self, tmp_path: Path, clock: Callable[[float], None]
    ) -> None:
        with self.open(tmp_path) as store:
            store.claim(DIGESTS[:1], owner=ELSEWHERE, seconds=60)
            for _ in range(5):
                assert store.claim(DIGESTS[:1], owner="b", seconds=60) == set()
                clock(50)
                assert store.renew(DIGESTS[:1], owner=ELSEWHERE, seconds=60) == {DIGESTS[0]}

    def test_a_lease_given_back_and_taken_again_is_watched_anew(
        self, tmp_path: Path, clock: Callable[[float], None]
    ) -> None:
        with self.open(tmp_path) as store:
            store.claim(DIGESTS[:1], owner=ELSEWHERE, seconds=60)
            store.claim(DIGESTS[:1], owner="b", seconds=60)
            store.release(DIGESTS[:1], owner=ELSEWHERE)
            store.claim(DIGESTS[:1], owner=ELSEWHERE, seconds=60)
            clock(60)
            assert store.claim(DIGESTS[:1], owner="b", seconds=60) == set()

    def test_the_time_of_day_plays_no_part(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.claim(DIGESTS[:1], owner=ELSEWHERE, seconds=60)
        for time_of_day in (4e9, 0.0, -1e6):
            monkeypatch.setattr("time.time", lambda now=time_of_day: now)
            assert store.claim(DIGESTS[:1], owner="b", seconds=60) == set()
            assert store.renew(DIGESTS[:1], owner=ELSEWHERE, seconds=60) == {DIGESTS[0]}
