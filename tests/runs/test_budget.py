"""Budgets of time and of evaluations."""

from __future__ import annotations

import pytest

from evolute.errors import InputError
from evolute.runs.budget import Budget


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0), (" 2 d ", 172_800.0)]
)
def test_a_time_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert Budget.parse(text) == Budget(seconds=seconds)


def test_a_bare_number_is_a_number_of_evaluations() -> None:
    assert Budget.parse("500") == Budget(evaluations=500)


@pytest.mark.parametrize(
    "text", ["", "0", "0m", "-5", "ten", "10 parsecs", "1e3", "5m3s", "9" * 13]
)
def test_a_malformed_budget_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(InputError, match="give a time such as 90s, 10m or 2h, or a number"):
        Budget.parse(text)
