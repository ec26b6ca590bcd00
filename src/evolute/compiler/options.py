"""The options of a group of parameters: which there are, and which values are allowed."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from evolute.compiler.program import Program
from evolute.errors import InputError, shorten

ADDED_LATER: Mapping[str, Any] = {
    "weight_decay": 0.0,
    "maximize": False,
    "foreach": None,
    "capturable": False,
    "differentiable": False,
    "fused": None,
}
"""Options that a state saved by an earlier version may lack, with their defaults."""


def plain_numbers(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with numbers of other libraries, such as NumPy's, as Python's own.

    Only those are in a saved state that ``torch.load(weights_only=True)`` reads.
    """
    return {name: _plain(value) for name, value in options.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


def require_options(options: Mapping[str, Any], program: Program, text: str) -> None:
    """Raise InputError unless the options of a group are usable by the rule with this text."""
    momentum, decay = options["momentum"], options["weight_decay"]
    _require_rate(options["lr"])
    if not _is_number(momentum) or not 0 <= momentum < 1:
        raise InputError(f"momentum is {momentum!r}: give a coefficient at least 0 and less than 1")
    if not _is_number(decay) or not 0 <= decay < math.inf:
        raise InputError(f"weight_decay is {decay!r}: give a number that is finite and at least 0")
    _require_total_steps(options["total_steps"], program, text)
    _require_switches(options)


def _require_rate(rate: object) -> None:
    if isinstance(rate, Tensor):
        if rate.dim() != 0 or not rate.is_floating_point():
            raise InputError(
                f"lr is a tensor of shape {tuple(rate.shape)} and {rate.dtype}: a learning rate "
                "that is a tensor has no dimensions and a floating-point dtype"
            )
        return  # a value is not read: it may be on a device, and change at any time
    if not _is_number(rate) or not 0 <= rate < math.inf:  # type: ignore[operator]
        raise InputError(f"lr is {rate!r}: give a learning rate that is finite and at least 0")


def _require_total_steps(total_steps: object, program: Program, text: str) -> None:
    if total_steps is None:
        if program.needs_total_steps:
            raise InputError(
                f"total_steps is missing: the rule {shorten(text)!r} has decays, which are "
                "functions of t/T; give total_steps=…, the number of steps of the whole training"
            )
    elif isinstance(total_steps, bool) or not isinstance(total_steps, int) or total_steps < 1:
        raise InputError(f"total_steps is {total_steps!r}: give a whole number of at least 1")


def _require_switches(options: Mapping[str, Any]) -> None:
    for other in ("foreach", "differentiable"):
        if options["fused"] and options[other]:
            raise InputError(
                f"fused=True and {other}=True exclude each other: leave one of them out"
            )
    if options["capturable"] and not torch.compiler.is_compiling():
        raise InputError(
            "capturable=True is not supported: the step of a rule reads its counter on the host; "
            "leave it out, or compile the step with torch.compile"
        )
    if options["foreach"] and options["differentiable"]:
        raise InputError(
            "foreach=True and differentiable=True exclude each other: lists of tensors carry no "
            "gradient, leave foreach out"
        )


def refuse_capture(device: torch.device) -> None:
    """Raise InputError while a CUDA graph is captured: it would keep the numbers of this step."""
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise InputError(
            "a step of a rule cannot be captured in a CUDA graph, as it reads its counter on the "
            "host: make the step outside of the graph, or compile it with torch.compile"
        )


def require_slots(states: Mapping[Any, Mapping[str, Any]], names: Sequence[str]) -> None:
    """Raise InputError unless each state, by parameter, has a counter and these slots of its shape.

    A parameter of which the state is empty has made no step; what is no parameter's is let be.
    """
    known = [
        (weight, slots) for weight, slots in states.items() if slots and isinstance(weight, Tensor)
    ]
    for weight, slots in known:
        shape = tuple(weight.shape)
        lacking = [name for name in ("step", *names) if name not in slots]
        if lacking:
            raise InputError(
                f"the state of a parameter of shape {shape} lacks "
                f"{', '.join(map(repr, lacking))} (it has {', '.join(map(repr, slots))}): give one "
                "that an optimizer of this rule saved"
            )
        for name in names:
            if tuple(slots[name].shape) != shape:
                raise InputError(
                    f"the state {name!r} of a parameter of shape {shape} has the shape "
                    f"{tuple(slots[name].shape)}: give the state of a model of the same shapes"
                )


def refused_gradient(gradient: Tensor, group: Mapping[str, Any], position: int) -> str:
    """Say that a sparse gradient is refused; ``position`` is the parameter's place in its group."""
    names = group.get("param_names")
    name = repr(names[position]) if names else f"{position} of its group"
    return (
        f"the gradient of parameter {name} (shape {tuple(gradient.shape)}) is sparse: a rule is "
        "defined for dense gradients, make its layer with sparse=False"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
