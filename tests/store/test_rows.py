"""Any trial is read as it was written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolute.store.sql import open_store
from evolute.store.sql_store import SqlStore
from evolute.trial import EpochRecord, Outcome, OutcomeKind, Provenance, Score, Trial, TrialKey

numbers = st.floats(allow_nan=False, allow_infinity=False)
figures = st.floats(allow_nan=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
seeds = st.integers(0, 2**63 - 1)
steps = st.integers(0, 2**40)

trials = st.builds(
    Trial,
    key=st.builds(TrialKey, texts, texts, texts, texts, seeds, texts),
    outcome=st.builds(Outcome, st.sampled_from(OutcomeKind), texts),
    score=st.none()
    | st.builds(Score, numbers, numbers, numbers, st.none() | numbers, numbers, steps),
    curve=st.lists(
        st.builds(EpochRecord, steps, figures, st.none() | figures, figures, st.none() | figures),
        max_size=3,
    ).map(tuple),
    provenance=st.builds(Provenance, numbers, st.text("0123456789TZ:-", min_size=1), texts),
)


@pytest.fixture(scope="module")
def store() -> Iterator[SqlStore]:
    with open_store(":memory:") as opened:
        yield opened


@settings(deadline=None, derandomize=True, max_examples=100)
@given(trial=trials)
def test_a_trial_is_read_as_it_was_written(store: SqlStore, trial: Trial) -> None:
    if store.get(trial.key.digest) is None:  # a key may be drawn twice
        assert store.put(trial) == trial
        assert store.get(trial.key.digest) == trial
