"""The published learning-rate schedules: their formulas, alone and on top of the base schedule."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from evolute import zoo
from evolute.compiler.optimizer import RuleOptimizer
from evolute.errors import InputError, RuleSyntaxError
from evolute.lang.expression import OperandRef
from evolute.lang.rule import Rule
from evolute.schedules import WarmupHoldCosine
from evolute.zoo.rate_schedule import ScaledWarmupHoldCosine, read_schedule

T = 40
PEAK = 0.2


def cosine(x: float) -> float:
    """The rising cosine: a4 of t/T, a6 of 2t/T, a8 of the restarted t/T."""
    return (1 - math.cos(math.pi * x)) / 2


def restarted(x: float) -> float:
    """a10."""
    return (2 * x) % 1


def dtanh(x: float) -> float:
    return 1 - math.tanh(x) ** 2


def dsoftsign(x: float) -> float:
    return 1 / (1 + abs(x))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def mirror_of_demon(t: int) -> float:
    """a14 as LR3 means it: (β₀−β_t)/((1−β₀)+β_t), β_t = β₀(1−(t+1)/T)."""
    beta = 0.95 * (1 - (t + 1) / T)
    return (0.95 - beta) / ((1 - 0.95) + beta)


def lr8(t: int) -> float:
    value = math.atan(1 - 0.01 ** (t / T))
    return 1 / math.sqrt(value / (1 + value)) if t else math.inf


FORMULAS: dict[str, Callable[[int], float]] = {
    "lr1": lambda t: math.erfc(math.erfc(cosine(t / T))) / dtanh(cosine(restarted(t / T))),
    "lr2": lambda t: (
        math.erfc(math.erfc(cosine(t / T)))
        / (dtanh(cosine(restarted(t / T))) * dtanh(cosine(t / T)))
    ),
    "lr3": lambda t: (
        math.atan(t / T)
        / (dtanh(restarted(t / T)) * math.sqrt(dsoftsign(mirror_of_demon(t))))
    ),
    "lr4": lambda t: sigmoid(t / T) ** 2 / sigmoid(2 * (1 - t / T) / (2 - t / T)),
    "lr5": lambda t: 1 / math.sqrt(math.erf(0.01 ** (t / T))),
    "lr6": lambda t: (
        math.atan(t / T) * math.erfc(cosine(2 * t / T)) / math.sqrt(dsoftsign(cosine(2 * t / T)))
    ),
    "lr7": lambda t: 1 / math.sqrt(dsoftsign(restarted(t / T))),
    "lr8": lr8,
    "lr9": lambda t: math.tanh(max(restarted(t / T), cosine(2 * t / T))),
}  # fmt: skip


def sgd() -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=PEAK)


def rates(optimizer: torch.optim.Optimizer, scheduler: LRScheduler, steps: int = T) -> list[float]:
    """Return the learning rate at each step."""
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("name", zoo.schedule_names())
def test_a_factor_is_its_published_formula(name: str) -> None:
    factor = zoo.schedule(name).factor(T, lr=PEAK)
    expected = [FORMULAS[name](t) for t in range(T)]
    if math.isinf(expected[0]):
        expected[0] = 1e-7 / PEAK
    assert [factor(t) for t in range(T)] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", zoo.schedule_names())
def test_a_factor_drives_any_optimizer_through_lambda_lr(name: str) -> None:
    optimizer = sgd()
    factor = zoo.schedule(name).factor(T, lr=PEAK)
    scheduler = LambdaLR(optimizer, factor)
    expected = [PEAK * factor(t) for t in range(T)]
    assert rates(optimizer, scheduler) == pytest.approx(expected, rel=1e-12)
    assert math.isfinite(scheduler.get_last_lr()[0])
    assert scheduler.state_dict()["lr_lambdas"] == [None]


def test_after_the_last_step_the_last_value_holds() -> None:
    factor = zoo.schedule("lr7").factor(T)
    assert factor(T) == factor(10 * T) == factor(T - 1) > 1.3


def test_an_infinite_start_is_a_rate_of_1e_7_and_needs_the_rate() -> None:
    assert PEAK * zoo.schedule("lr8").factor(T, lr=PEAK)(0) == pytest.approx(1e-7)
    for lr in (None, 0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="lr8 is infinite at t = 0"):
            zoo.schedule("lr8").factor(T, lr=lr)


@pytest.mark.parametrize("total_steps", [0, -1, 2.5, True, None])
def test_a_length_that_is_none_is_refused(total_steps: object) -> None:
    with pytest.raises(InputError, match="total_steps is .*: give a whole number"):
        zoo.schedule("lr1").factor(total_steps)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", zoo.schedule_names())
def test_on_top_of_the_base_schedule_the_rate_is_the_product(name: str) -> None:
    plain, scaled = sgd(), sgd()
    base = rates(plain, WarmupHoldCosine(plain, T, 4, 6))
    scheduler = zoo.schedule(name).scheduler(scaled, total_steps=T, warmup_steps=4, hold_steps=6)
    expected = [rate * FORMULAS[name](t) if t else rate for t, rate in enumerate(base)]
    if name == "lr8":
        expected[0] = 1e-7
    assert rates(scaled, scheduler) == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert scheduler.get_last_lr() == [0.0]


@pytest.mark.parametrize("name", zoo.schedule_names())
def test_a_rule_that_carries_the_factor_takes_the_same_steps(name: str) -> None:
    ours, carried = (torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    rule = Rule(OperandRef("g"), schedule=zoo.schedule(name).expression)
    plain = RuleOptimizer([ours], "none: g", lr=PEAK)
    whole = RuleOptimizer([carried], rule, lr=PEAK, total_steps=T)
    pairs = [
        (ours, plain, zoo.schedule(name).scheduler(plain, total_steps=T, warmup_steps=4)),
        (carried, whole, WarmupHoldCosine(whole, T, 4)),
    ]
    for _ in range(T):
        for weight, optimizer, scheduler in pairs:
            weight.grad = weight.detach().clone()
            optimizer.step()
            scheduler.step()
        torch.testing.assert_close(ours, carried, rtol=1e-12, atol=1e-15)
    assert (ours < 0.9).all()


def test_the_base_schedule_still_drives_the_momentum() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=PEAK, momentum=0.9)
    scheduler = zoo.schedule("lr4").scheduler(optimizer, total_steps=T, warmup_steps=4)
    rates(optimizer, scheduler, steps=4)
    assert optimizer.param_groups[0]["momentum"] == pytest.approx(0.85)


def test_a_scheduler_continues_from_its_state(tmp_path: object) -> None:
    def made() -> tuple[torch.optim.SGD, WarmupHoldCosine]:
        optimizer = sgd()
        schedule = zoo.schedule("lr3")
        return optimizer, schedule.scheduler(optimizer, total_steps=T, warmup_steps=4)

    optimizer, scheduler = made()
    whole = rates(optimizer, scheduler)
    optimizer, scheduler = made()
    rates(optimizer, scheduler, steps=15)
    torch.save(scheduler.state_dict(), f"{tmp_path}/state.pt")
    torch.save(optimizer.state_dict(), f"{tmp_path}/optimizer.pt")
    resumed, again = made()
    again.load_state_dict(torch.load(f"{tmp_path}/state.pt", weights_only=True))
    resumed.load_state_dict(torch.load(f"{tmp_path}/optimizer.pt", weights_only=True))
    assert rates(resumed, again, steps=T - 15) == whole[15:]


@pytest.mark.parametrize("name", ["opt4", "opt5", "opt6"])
def test_the_discoveries_that_the_source_trains_under_lr1_carry_it(name: str) -> None:
    assert zoo.load(name).rule.schedule == zoo.schedule("lr1").expression


def test_the_mended_a14_is_noted() -> None:
    assert any(note.startswith("Mended: ") for note in zoo.schedule("lr3").notes)


def test_a_file_at_fault_is_refused() -> None:
    origin = {"authors": "A", "year": 2024, "reference": "R"}
    good = {"kind": "schedule", "title": "X", "factor": "a3", "origin": origin}
    assert read_schedule("x", good).factor(2)(1) == 0.5
    with pytest.raises(TypeError, match="colour"):
        read_schedule("x", {**good, "colour": "red"})
    with pytest.raises(RuleSyntaxError):
        read_schedule("x", {**good, "factor": "g"})
    with pytest.raises(RuleSyntaxError):
        ScaledWarmupHoldCosine(sgd(), T, 4, factor="g")
