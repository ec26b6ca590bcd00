"""Values of a schedule are the caller's own."""

from __future__ import annotations

import pytest
import torch

from evolute.lang.curve import LONGEST_KEPT, curve
from evolute.lang.text import parse_schedule


@pytest.mark.parametrize("steps", [1, 35, LONGEST_KEPT, LONGEST_KEPT + 1])
@pytest.mark.parametrize("text", ["a3", "identity(a3)", "a3*a11", "min(a3, a3)"])
def test_who_changes_a_curve_does_not_change_the_next_one(text: str, steps: int) -> None:
    schedule = parse_schedule(text)
    first = curve(schedule, steps)
    expected = first.clone()
    first.zero_()
    assert torch.equal(curve(schedule, steps), expected)


def test_a_curve_first_computed_without_gradients_takes_part_in_them() -> None:
    schedule = parse_schedule("a7")
    with torch.inference_mode():
        curve(schedule, 21)
    weight = torch.ones(21, dtype=torch.float64, requires_grad=True)
    (weight * curve(schedule, 21)).sum().backward()
    assert torch.equal(weight.grad if weight.grad is not None else weight, curve(schedule, 21))
