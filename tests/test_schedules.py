"""The base schedule: warm-up, hold, cosine for the rate; 0.95 to 0.85 and back for the momentum."""

from __future__ import annotations

import io
import math
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from evolute.errors import InputError, UnknownNameError
from evolute.schedules import BaseSchedule, Shape, WarmupHoldCosine, base_schedule


def driven(
    optimizer: torch.optim.Optimizer, steps: int, **lengths: int
) -> list[tuple[float, float]]:
    scheduler = WarmupHoldCosine(optimizer, **lengths)
    seen = []
    for _ in range(steps):
        group = optimizer.param_groups[0]
        seen.append((group["lr"], group["momentum"]))
        optimizer.step()
        scheduler.step()
    return seen


def sgd(*, lr: float = 2.0, momentum: float = 0.9) -> torch.optim.SGD:
    return torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=lr, momentum=momentum)


def test_rate_warms_up_holds_and_falls_by_a_cosine() -> None:
    rates = [rate for rate, _ in driven(sgd(), 10, total_steps=10, warmup_steps=4, hold_steps=2)]
    cosine = [1 + math.cos(math.pi * part / 4) for part in range(4)]
    assert rates == pytest.approx([0, 0.5, 1, 1.5, 2, 2, *cosine])


def test_momentum_mirrors_the_rate() -> None:
    seen = driven(sgd(), 10, total_steps=10, warmup_steps=4, hold_steps=2)
    expected = [0.95, 0.925, 0.9, 0.875, 0.85, 0.85, 0.85, 0.875, 0.9, 0.925]
    assert [momentum for _, momentum in seen] == pytest.approx(expected)


def test_past_the_end_the_rate_is_zero() -> None:
    seen = driven(sgd(), 6, total_steps=4, warmup_steps=1)
    assert seen[4:] == [(0.0, 0.95), (0.0, 0.95)]


def test_without_warm_up_the_first_step_is_at_the_peak() -> None:
    assert driven(sgd(), 1, total_steps=5, warmup_steps=0)[0] == pytest.approx((2.0, 0.85))


def test_every_group_keeps_its_own_peak() -> None:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": rate} for rate in (1.0, 0.1)]
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    scheduler = WarmupHoldCosine(optimizer, total_steps=10, warmup_steps=2)
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.05])
    assert scheduler.get_last_lr() == pytest.approx([0.5, 0.05])


def test_plain_sgd_gets_no_momentum() -> None:
    assert {momentum for _, momentum in driven(sgd(momentum=0.0), 5, total_steps=5, warmup_steps=1)
            } == {0.0}  # fmt: skip


def test_an_optimizer_without_momentum_is_driven_too() -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.ones(1))], lr=1.0)
    WarmupHoldCosine(optimizer, total_steps=4, warmup_steps=2)
    assert optimizer.param_groups[0]["lr"] == 0.0
    assert "momentum" not in optimizer.param_groups[0]


def test_a_saved_schedule_continues_where_it_was() -> None:
    whole = driven(sgd(), 8, total_steps=8, warmup_steps=2)
    optimizer = sgd()
    scheduler = WarmupHoldCosine(optimizer, total_steps=8, warmup_steps=2)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = sgd()
    resumed = WarmupHoldCosine(again, total_steps=8, warmup_steps=2)
    again.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    seen = []
    for _ in range(5):
        seen.append((again.param_groups[0]["lr"], again.param_groups[0]["momentum"]))
        again.step()
        resumed.step()
    assert seen == whole[3:]


@pytest.mark.parametrize(
    "lengths",
    [
        {"total_steps": 0, "warmup_steps": 0},
        {"total_steps": 5, "warmup_steps": -1},
        {"total_steps": 5, "warmup_steps": 3, "hold_steps": 3},
        {"total_steps": 5.0, "warmup_steps": 1},
    ],
)
def test_lengths_that_cannot_be_are_refused(lengths: dict[str, int]) -> None:
    with pytest.raises(InputError, match="total_steps="):
        WarmupHoldCosine(sgd(), **lengths)


@given(st.data())
def test_fraction_and_momentum_stay_in_range(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 60))
    warmup = data.draw(st.integers(0, total))
    hold = data.draw(st.integers(0, total - warmup))
    pairs = [
        base_schedule(step, total, warmup_steps=warmup, hold_steps=hold)
        for step in range(total + 2)
    ]
    assert all(0 <= fraction <= 1 and 0.85 - 1e-12 <= momentum <= 0.95 + 1e-12
               for fraction, momentum in pairs)  # fmt: skip
    assert pairs[total] == (0.0, 0.95)
    peak = range(warmup, warmup + hold)
    assert all(pairs[step][0] == 1.0 for step in peak)


@pytest.mark.parametrize(
    ("shape", "fractions"),
    [
        ("cosine", [0, 0.5, 1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0]),
        ("linear", [0, 0.5, 1, 0.75, 0.5, 0.25, 0]),
        ("stable", [0, 0.5, 1, 1, 1, 0.25 / 0.3, 0]),
        ("constant", [0, 0.5, 1, 1, 1, 1, 1]),
    ],
)
def test_each_shape_falls_in_its_own_way_after_the_warm_up(
    shape: Shape, fractions: list[float]
) -> None:
    optimizer = sgd(lr=1.0)
    scheduler = BaseSchedule(optimizer, 6, 2, shape=shape)
    seen = []
    for _ in range(7):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert seen == pytest.approx(fractions)


def test_the_momentum_is_the_same_under_every_shape() -> None:
    momenta = {
        tuple(base_schedule(step, 9, warmup_steps=3, shape=shape)[1] for step in range(10))
        for shape in get_args(Shape)
    }
    assert len(momenta) == 1


def test_an_unknown_shape_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="linear"):
        BaseSchedule(sgd(), 5, 1, shape="lineal")  # type: ignore[arg-type]
