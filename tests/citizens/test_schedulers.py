"""Every learning-rate scheduler of torch on top of a rule."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer, lr_scheduler
from torch.optim.swa_utils import SWALR

from evolute import zoo
from evolute.compiler.optimizer import RuleOptimizer
from evolute.schedules import WarmupHoldCosine

STEPS = 12
Make = Callable[[Optimizer], Any]
SCHEDULERS: dict[str, Make] = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda _: 0.95),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 3),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 5]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.5, 4),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=6),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.8),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1), lr_scheduler.ExponentialLR(o, 0.9)], [4]
    ),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(o, 0.1), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=2),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=3),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=STEPS + 1),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, STEPS, 2.0),
    "SWALR": lambda o: SWALR(o, 0.01, anneal_epochs=5),
    "WarmupHoldCosine": lambda o: WarmupHoldCosine(o, STEPS, 3, 2),
}


def test_no_scheduler_of_torch_is_left_out() -> None:
    assert set(lr_scheduler.__all__) - {"LRScheduler"} <= set(SCHEDULERS)


def driven(optimizer: Optimizer, scheduler: Any, weight: nn.Parameter, count: int) -> list[Any]:
    """Make steps; return the learning rate, the momentum and the weight at each."""
    seen = []
    for step in range(count):
        weight.grad = torch.tensor([0.3, -0.2 * step])
        optimizer.step()
        plateau = "metrics" in inspect.signature(scheduler.step).parameters
        scheduler.step(*([1.0] if plateau else []))
        group = optimizer.param_groups[0]
        seen.append((group["lr"], group["momentum"], weight.tolist()))
    return seen


def weight_of() -> nn.Parameter:
    return nn.Parameter(torch.ones(2))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_drives_a_rule_as_it_drives_torch(name: str) -> None:
    """Rates and coefficients are those under SGD with momentum, so the weights are as well."""
    weight, other = weight_of(), weight_of()
    rule = RuleOptimizer([weight], "momentum: g", lr=0.1, momentum=0.9)
    torchs = SGD([other], lr=0.1, momentum=0.9)
    ours = driven(rule, SCHEDULERS[name](rule), weight, STEPS)
    theirs = driven(torchs, SCHEDULERS[name](torchs), other, STEPS)
    assert [each[:2] for each in ours] == [each[:2] for each in theirs]
    assert len({each[0] for each in ours}) > 1
    if name not in ("OneCycleLR", "CyclicLR", "WarmupHoldCosine"):
        # torch's momentum buffer holds gradients, a rule's holds steps with the rate in them.
        plain = RuleOptimizer([weight_of()], "none: g", lr=0.1)
        plain_weight = plain.param_groups[0]["params"][0]
        sgd_weight = weight_of()
        sgd = SGD([sgd_weight], lr=0.1)
        ends = [
            driven(plain, SCHEDULERS[name](plain), plain_weight, STEPS)[-1],
            driven(sgd, SCHEDULERS[name](sgd), sgd_weight, STEPS)[-1],
        ]
        assert ends[0][2] == pytest.approx(ends[1][2])


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_resumes_with_a_rule(name: str) -> None:
    def made() -> tuple[nn.Parameter, RuleOptimizer, Any]:
        weight = weight_of()
        optimizer = zoo.create("opt10", [weight], lr=0.1, total_steps=STEPS)
        return weight, optimizer, SCHEDULERS[name](optimizer)

    weight, optimizer, scheduler = made()
    driven(optimizer, scheduler, weight, 5)
    other_weight, other, other_scheduler = made()
    other_scheduler.load_state_dict(copy.deepcopy(scheduler.state_dict()))
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    with torch.no_grad():
        other_weight.copy_(weight)
    expected = driven(optimizer, scheduler, weight, STEPS - 5)
    assert driven(other, other_scheduler, other_weight, STEPS - 5) == expected


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_drives_a_rate_that_is_a_tensor(name: str) -> None:
    weight, other = weight_of(), weight_of()
    tensor = RuleOptimizer([weight], "momentum: v", lr=torch.tensor(0.1, dtype=torch.float64))
    number = RuleOptimizer([other], "momentum: v", lr=0.1)
    ours = driven(tensor, SCHEDULERS[name](tensor), weight, STEPS)
    theirs = driven(number, SCHEDULERS[name](number), other, STEPS)
    assert ours[-1][2] == pytest.approx(theirs[-1][2], rel=1e-5)
