"""Values of a schedule over a run: the only place where decay functions are computed."""

from __future__ import annotations

import torch
from torch import Tensor

from evolute.lang.expression import Call, Constant, DecayRef, Expression, Scaled, walk
from evolute.lang.registry import BASE_DECAYS, FUNCTIONS
from evolute.lang.rule import Rule
from evolute.lang.text import print_expression

LONGEST_KEPT = 128
"""Steps of a run whose base decays are kept: those of the checks before a training."""


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
    return _values(schedule, t, total_steps).clone()  # which may be one that is kept


def decays_of(rule: Rule) -> dict[str, Expression]:
    """Return a rule's schedule factor and inner decays by their text, each once.

    >>> list(decays_of(Rule.parse("momentum: [a3]*(v-[a2*a8]*tanh(g))")))
    ['a3', 'a2*a8']
    """
    found = [] if rule.schedule is None else [rule.schedule]
    found += [node.decay for node in walk(rule.update) if isinstance(node, Scaled)]
    return {print_expression(schedule): schedule for schedule in found}


_kept: dict[tuple[str, int, torch.device], Tensor] = {}
"""Values of base decays over short runs: every decay function is made of the same few."""


def _base_decay(name: str, t: Tensor, total_steps: int) -> Tensor:
    """Return the values of a base decay, not to be changed."""
    key = name, total_steps, t.device
    values = _kept.get(key)
    if values is None:
        values = BASE_DECAYS[name].compute(t, total_steps).to(t.dtype).expand_as(t)
        if total_steps <= LONGEST_KEPT:
            _kept[key] = values
    return values


def _values(schedule: Expression, t: Tensor, total_steps: int) -> Tensor:
    match schedule:
        case Constant(value):
            return torch.full_like(t, value)
        case DecayRef(name):
            return _base_decay(name, t, total_steps)
        case Call(function, arguments, parameters):
            parts = [_values(argument, t, total_steps) for argument in arguments]
            result = FUNCTIONS[function].compute(*parts, *parameters)
            assert isinstance(result, Tensor)
            return result
        case _:
            raise TypeError(f"{schedule} is no schedule")
