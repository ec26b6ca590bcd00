"""Hostile rules beside others: neither slow to a halt nor poison the lanes of their neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest

from evolute.runs.executors.in_process import InProcessExecutor
from evolute.tasks.user import load_task
from evolute.testing.executor_contract import (
    answers,
    example_requests,
    write_task,
)
from evolute.train.equipment import Equipment

HOSTILE = {
    "huge": "1e30*g",
    "overflowing": "exp(exp(10*sign(g)))",
    "NaN": "sqrt(-1*abs(g))/(g-g)",
    "infinite": "1/(g-g)",
    "denormal": "1e-39*g",
    "denormal state": "none: v*1e-20",
}
"""Rules whose updates, weights or state are what arithmetic is bad at."""


@pytest.mark.parametrize("plan", ["stacked", "vmap", "loop"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_rule_leaves_its_neighbours_as_they_were(
    tmp_path: Path, name: str, plan: str
) -> None:
    task = write_task(tmp_path)
    loaded = load_task(task)
    neighbours = example_requests()
    (hostile,) = example_requests(HOSTILE[name])
    company = [each for request in neighbours for each in (hostile, request)]

    def train(requests: list) -> list:  # type: ignore[type-arg]
        equipment = Equipment(plan=plan, lanes=16)
        return answers(InProcessExecutor(loaded, equipment=equipment), requests)

    assert train(company)[1::2] == train(neighbours)
