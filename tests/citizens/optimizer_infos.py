"""``OptimizerInfo`` entries for rules, as torch's own optimizers have them.

That interface takes a class whose rule is settled, so each entry binds one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import Parameter
from torch.optim.lr_scheduler import ExponentialLR, LinearLR, ReduceLROnPlateau, StepLR
from torch.testing._internal.common_optimizers import (
    ErrorOptimizerInput,
    OptimizerErrorEnum,
    OptimizerInfo,
    OptimizerInput,
)

from evolute import zoo
from evolute.compiler.optimizer import RuleOptimizer
from evolute.errors import InputError

TOTAL_STEPS = 200


def bound_class(name: str) -> type[RuleOptimizer]:
    """Return a class of optimizers that apply one rule of the zoo."""

    class Bound(RuleOptimizer):
        def __init__(self, params: Any, lr: Any = 0.01, **options: Any) -> None:
            options.setdefault("total_steps", TOTAL_STEPS)
            super().__init__(params, zoo.load(name).rule, lr=lr, **options)

    Bound.__name__ = f"Rule_{name}"
    return Bound


def inputs(device: object, dtype: torch.dtype | None = None) -> list[OptimizerInput]:
    """Return the settings to be tested."""
    return [
        _input("default"),
        _input("non-default lr", lr=0.02),
        _input("Tensor lr", lr=torch.tensor(0.01)),
        _input("nonzero weight_decay", weight_decay=0.1),
        _input("maximize, nonzero weight_decay", weight_decay=0.1, maximize=True),
        _input("momentum", momentum=0.5),
    ]


def _input(description: str, **options: Any) -> OptimizerInput:
    parameters: Any = None  # each test has its own
    return OptimizerInput(params=parameters, kwargs=options, desc=description)


def error_inputs(device: object, dtype: torch.dtype) -> list[ErrorOptimizerInput]:
    """Return settings that must be refused, with the sentence that says so."""
    weight = Parameter(torch.randn(1, 1, dtype=dtype))
    sparse = Parameter(torch.randn(2, 2, dtype=dtype))
    sparse.grad = torch.eye(2, dtype=dtype).to_sparse()

    def refused(regex: str, **kwargs: Any) -> ErrorOptimizerInput:
        given = OptimizerInput(params=[weight], kwargs=kwargs, desc=regex)
        return ErrorOptimizerInput(given, error_type=InputError, error_regex=regex)

    return [
        refused("lr is -0.1: give a learning rate", lr=-0.1),
        refused(r"lr is a tensor of shape \(2,\)", lr=torch.tensor([0.001, 0.001])),
        refused(r"lr is a tensor of shape \(\) and torch.int64", lr=torch.tensor(1)),
        refused("momentum is 1.5: give a coefficient", momentum=1.5),
        refused("weight_decay is -1: give a number", weight_decay=-1),
        refused("total_steps is 0: give a whole number", total_steps=0),
        refused("fused=True and foreach=True exclude", fused=True, foreach=True),
        refused("fused=True and differentiable=True exclude", fused=True, differentiable=True),
        refused("capturable=True is not supported", capturable=True),
        refused("foreach=True and differentiable=True exclude", foreach=True, differentiable=True),
        ErrorOptimizerInput(
            OptimizerInput(params=[sparse], kwargs={}, desc="sparse"),
            error_on=OptimizerErrorEnum.STEP_ERROR,
            error_type=InputError,
            error_regex=r"parameter 0 of its group \(shape \(2, 2\)\) is sparse",
        ),
    ]


def info(name: str) -> OptimizerInfo:
    """Return the entry of one rule of the zoo."""
    bound: Any = bound_class(name)  # a class, though declared an optimizer
    return OptimizerInfo(
        bound,
        optim_inputs_func=inputs,
        optim_error_inputs_func=error_inputs,
        scheduler_inputs=(
            [lambda optimizer: StepLR(optimizer, gamma=0.9, step_size=10)],
            [
                lambda optimizer: LinearLR(optimizer, start_factor=0.4, total_iters=4),
                lambda optimizer: ExponentialLR(optimizer, gamma=0.99),
            ],
            [
                lambda optimizer: StepLR(optimizer, gamma=0.9, step_size=10),
                lambda optimizer: ReduceLROnPlateau(optimizer),
            ],
        ),
        supported_impls=("foreach", "differentiable"),
        has_capturable_arg=True,
    )


INFOS = tuple(info(name) for name in zoo.names())
