"""Values of a schedule over a run: the only place where decay functions are computed."""

from __future__ import annotations

import torch
from torch import Tensor

from evolute.lang.expression import Call, Constant, DecayRef, Expression
from evolute.lang.registry import BASE_DECAYS, FUNCTIONS


def curve(schedule: Expression, total_steps: int) -> Tensor:
    """Return the values of a schedule at t = 0 … T−1.

    Parameters
    ----------
    schedule
        An expression of sort schedule.
    total_steps
        T, at least 1.

    Returns
    -------
    Tensor
        float64 of shape [T]; NaN or infinite where the schedule is.
    """
    t = torch.arange(total_steps, dtype=torch.float64)
    return _values(schedule, t, total_steps)


def _values(schedule: Expression, t: Tensor, total_steps: int) -> Tensor:
    match schedule:
        case Constant(value):
            return torch.full_like(t, value)
        case DecayRef(name):
            return BASE_DECAYS[name].compute(t, total_steps).to(t.dtype).expand_as(t)
        case Call(function, arguments, parameters):
            parts = [_values(argument, t, total_steps) for argument in arguments]
            result = FUNCTIONS[function].compute(*parts, *parameters)
            assert isinstance(result, Tensor)
            return result
        case _:
            raise TypeError(f"{schedule} is no schedule")
