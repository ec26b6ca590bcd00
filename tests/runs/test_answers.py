"""Answers: what is stored is looked up, also where nothing was stored so far."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
from tiny import build

from evolute.runs.evaluate import Evaluator
from evolute.runs.executors.in_process import InProcessExecutor
from evolute.store.sql import open_store
from evolute.store.sql_store import SqlStore
from evolute.testing.executor_contract import RULES, example_requests
from evolute.trial import Trial


def test_what_another_search_has_stored_meanwhile_is_found_after_asks_for_what_is_new(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looked: list[int] = []
    get_many = SqlStore.get_many

    def counted(store: SqlStore, digests: Collection[str]) -> Mapping[str, Trial]:
        looked.append(len(digests))
        return get_many(store, digests)

    monkeypatch.setattr(SqlStore, "get_many", counted)
    task = build()
    first, second, third, fourth = example_requests(*RULES)
    with (
        open_store(tmp_path / "store.sqlite") as store,
        open_store(tmp_path / "store.sqlite") as other,
        InProcessExecutor(task) as executor,
        InProcessExecutor(task) as elsewhere,
    ):
        evaluator = Evaluator(task, store, executor)
        known = {}
        (stored,) = Evaluator(task, other, elsewhere)([third])
        looked.clear()
        with evaluator.answers() as answers:
            for requests in ([first], [second], [third, fourth]):
                answers.ask({evaluator.digest(each): each for each in requests})
            while (answer := answers.next()) is not None:
                known[answer[0].key.digest] = answer
    assert looked == [1, 1]  # the first, and of the last two the one that was not free
    assert known[evaluator.digest(third)] == (stored, False)
    assert [known[evaluator.digest(each)][1] for each in (first, second, fourth)] == [True] * 3
