"""RuleOptimizer: a rule as a ``torch.optim.Optimizer``.

The bookkeeping of torch is here; the mathematics is in :mod:`evolute.compiler.execute`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT, StateDict

from evolute.compiler.execute import execute, scheduled_rate, uniform_noise
from evolute.compiler.program import Program, compile_rule
from evolute.errors import InputError, shorten
from evolute.lang.curve import curve
from evolute.lang.expression import Expression
from evolute.lang.rule import Momentum, Rule


class RuleOptimizer(Optimizer):
    """Apply a rule to the parameters of a model; the equation is :class:`evolute.lang.rule.Rule`'s.

    It applies the rule alone: update, inner decays, its own schedule factor, sign and momentum
    type. The base schedule of a training is :class:`evolute.schedules.WarmupHoldCosine`.

    Parameters
    ----------
    params
        Parameters, or groups with their own ``lr``, ``momentum``, ``total_steps`` and ``seed``.
    rule
        A rule, or its text.
    lr
        Learning rate, finite and at least 0.
    total_steps
        T, the number of steps of the whole training; required by a rule with decays or a schedule,
        which are functions of t/T. After T steps they keep their last value.
    momentum
        Coefficient μ, 0 ≤ μ < 1; without effect on a rule of type ``none``.
    seed
        Seed of the noise of a rule with dropout.

    Raises
    ------
    InputError
        If a value is out of its range, ``total_steps`` is missing where the rule needs it, a
        gradient is sparse or complex, or a loaded state is another rule's.
    RuleSyntaxError
        If the text is no rule.

    Examples
    --------
    >>> import torch
    >>> weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    >>> optimizer = RuleOptimizer([weight], "momentum: [a1]*sign(g)", lr=0.5, total_steps=2)
    >>> weight.square().sum().backward()
    >>> optimizer.step()
    >>> weight.tolist()
    [0.5, -1.5]
    """

    def __init__(
        self,
        params: ParamsT,
        rule: Rule | str,
        *,
        lr: float,
        total_steps: int | None = None,
        momentum: float = 0.9,
        seed: int = 0,
    ) -> None:
        self.rule = Rule.parse(rule) if isinstance(rule, str) else rule
        self._program = compile_rule(self.rule)
        options = {"lr": lr, "momentum": momentum, "total_steps": total_steps}
        # The groups carry rule and seed, as they are all that every way of saving a state keeps.
        super().__init__(params, {**options, "rule": str(self.rule), "seed": seed})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; those not given are the optimizer's.

        Raises
        ------
        InputError
            As the constructor.
        """
        options = {**self.defaults, **param_group}
        _require_rule(options["rule"], self.rule, of="the group")
        _require_options(options, self._program, self.rule)
        super().add_param_group(param_group)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "rule": self.rule}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._program = compile_rule(self.rule)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient.

        Parameters
        ----------
        closure
            Evaluates the model anew and returns the loss, which is then returned.

        Raises
        ------
        InputError
            If a gradient is sparse or complex.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        first = 0
        for group in self.param_groups:
            for position, weight in enumerate(group["params"]):
                gradient = weight.grad
                if gradient is None:
                    continue
                if gradient.is_sparse or gradient.is_complex():
                    raise InputError(_refused_gradient(gradient, group, position))
                self._update(weight, gradient, group=group, index=first + position)
            first += len(group["params"])
        return loss

    def _update(
        self, weight: Tensor, gradient: Tensor, *, group: dict[str, Any], index: int
    ) -> None:
        """Make one step of one parameter, the one with this index among all of the optimizer."""
        program, slots = self._program, self.state[weight]
        if not slots:
            slots.update(_initial_state(program, weight))
        step: int = slots["step"]
        state = [slots[name] for name in program.state_slots]
        factor: float = 1.0
        decays: tuple[float, ...] = ()
        if program.needs_total_steps:
            factor, decays = _values_at(program, group["total_steps"])[
                min(step, group["total_steps"] - 1)
            ]
        update = execute(
            program,
            weight,
            gradient=gradient,
            state=state,
            step=step,
            decays=decays,
            uniform=lambda node: uniform_noise(group["seed"], index, step, node=node, like=weight),
        )
        slots.update(zip(program.state_slots, state, strict=True))
        slots["step"] = step + 1
        rate = program.sign * scheduled_rate(group["lr"], factor, step=step)
        _apply(program.momentum, weight, update, rate, group["momentum"], slots)

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Continue from a state; steps made from then on are bit-identical.

        Raises
        ------
        InputError
            If the state belongs to another rule.
        """
        for group in state_dict["param_groups"]:
            _require_rule(group.get("rule"), self.rule, of="the state loaded")
        super().load_state_dict(state_dict)


def _apply(
    momentum: Momentum,
    weight: Tensor,
    update: Tensor,
    rate: float,
    coefficient: float,
    slots: dict[str, Any],
) -> None:
    """Move a weight along its update, in place: the four equations of :class:`Momentum`."""
    if momentum is Momentum.NONE:
        weight.add_(update, alpha=-rate)
        return
    buffer = slots["momentum_buffer"].mul_(coefficient).add_(update, alpha=-rate)
    if momentum is Momentum.MOMENTUM:
        weight.add_(buffer)
    elif momentum is Momentum.NESTEROV:
        weight.add_(buffer, alpha=coefficient).add_(update, alpha=-rate)
    else:
        weight.add_(buffer).add_(update, alpha=-rate)


def _initial_state(program: Program, weight: Tensor) -> dict[str, Any]:
    state: dict[str, Any] = {"step": 0}
    names = list(program.state_slots)
    if program.momentum is not Momentum.NONE:
        names.append("momentum_buffer")
    for name in names:
        state[name] = torch.zeros_like(weight, memory_format=torch.preserve_format)
    return state


@lru_cache(maxsize=16)
def _values_at(program: Program, total_steps: int) -> tuple[tuple[float, tuple[float, ...]], ...]:
    """Return the schedule factor and the inner decays at each step."""
    factors = (
        [1.0] * total_steps if program.schedule is None else _curve(program.schedule, total_steps)
    )
    curves = [_curve(decay, total_steps) for decay in program.decays]
    decays = zip(*curves, strict=True) if curves else [()] * total_steps
    return tuple(zip(factors, decays, strict=True))


def _curve(schedule: Expression, total_steps: int) -> Sequence[float]:
    values: list[float] = curve(schedule, total_steps).tolist()
    return values


def _require_rule(given: object, rule: Rule, *, of: str) -> None:
    if given != str(rule):
        raise InputError(
            f"{of} belongs to the rule {given!r}, this optimizer applies {str(rule)!r}: make an "
            "optimizer with the other rule"
        )


def _require_options(options: dict[str, Any], program: Program, rule: Rule) -> None:
    """Raise InputError unless the options of a group are usable by the rule."""
    rate, momentum, total_steps = options["lr"], options["momentum"], options["total_steps"]
    if not _is_number(rate) or not 0 <= rate < math.inf:
        raise InputError(f"lr is {rate!r}: give a learning rate that is finite and at least 0")
    if not _is_number(momentum) or not 0 <= momentum < 1:
        raise InputError(f"momentum is {momentum!r}: give a coefficient at least 0 and less than 1")
    if total_steps is None:
        if program.needs_total_steps:
            raise InputError(
                f"total_steps is missing: the rule {shorten(str(rule))!r} has decays, which are "
                "functions of t/T; give total_steps=…, the number of steps of the whole training"
            )
    elif isinstance(total_steps, bool) or not isinstance(total_steps, int) or total_steps < 1:
        raise InputError(f"total_steps is {total_steps!r}: give a whole number of at least 1")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refused_gradient(gradient: Tensor, group: dict[str, Any], position: int) -> str:
    """Say which gradient is refused; ``position`` is the parameter's place in its group."""
    names = group.get("param_names")
    name = repr(names[position]) if names else f"{position} of its group"
    kind, advice = (
        ("sparse", "make its layer with sparse=False")
        if gradient.is_sparse
        else ("complex", "use real parameters")
    )
    return (
        f"the gradient of parameter {name} (shape {tuple(gradient.shape)}) is {kind}: a rule is "
        f"defined for dense real gradients, {advice}"
    )
