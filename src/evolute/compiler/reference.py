"""The reference: a rule followed in float64, tree walked node by node, with no trick at all.

It is the judge of every fast path, so it is written to be compared with the published method by
eye (sections 1.1 to 1.4), not to be fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from evolute.compiler.execute import RATE_WHERE_INFINITE, uniform_noise
from evolute.lang.curve import curve
from evolute.lang.expand import expand
from evolute.lang.expression import Call, Constant, Expression, OperandRef, Scaled
from evolute.lang.registry import FUNCTIONS, Kind
from evolute.lang.rule import Momentum, Rule
from evolute.lang.text import print_expression

Gradient = Callable[[int, list[Tensor]], Sequence[Tensor]]
"""Gives the gradient of each weight tensor from the step and the weights."""


def reference_trajectory(
    rule: Rule,
    weights: Sequence[Tensor],
    *,
    gradient: Gradient,
    rates: Sequence[float],
    momenta: Sequence[float],
    total_steps: int | None = None,
    seed: int = 0,
) -> list[list[Tensor]]:
    """Follow a rule from the given weights, slowly and obviously.

    Parameters
    ----------
    rule
        The rule.
    weights
        Where it starts; computed in float64 whatever their dtype.
    gradient
        The gradients at a step t and the weights then.
    rates, momenta
        Learning rate and momentum coefficient at each step; one step is made for each.
    total_steps
        T of the decays, by default as many steps as are made.
    seed
        Seed of the noise.

    Returns
    -------
    list of list of Tensor
        The weights after each step.

    Examples
    --------
    >>> start = [torch.tensor([1.0])]
    >>> path = reference_trajectory(
    ...     Rule.parse("none: g"), start, gradient=lambda t, w: [2 * w[0]], rates=[0.25, 0.25],
    ...     momenta=[0.9, 0.9])
    >>> [float(weights[0]) for weights in path]
    [0.5, 0.25]
    """
    walkers = [_Walker(rule, at, seed, total_steps or len(rates)) for at in range(len(weights))]
    present = [weight.double().clone() for weight in weights]
    path = []
    for step, (rate, coefficient) in enumerate(zip(rates, momenta, strict=True)):
        gradients = [each.double() for each in gradient(step, [each.clone() for each in present])]
        present = [
            walker.move(weight, of_weight, step=step, rate=rate, coefficient=coefficient)
            for walker, weight, of_weight in zip(walkers, present, gradients, strict=True)
        ]
        path.append([each.clone() for each in present])
    return path


class _Walker:
    """Applies a rule to one weight tensor; keeps the states of its nodes and its momentum."""

    def __init__(self, rule: Rule, parameter: int, seed: int, total_steps: int) -> None:
        self.rule, self.update = rule, expand(rule.update)
        self.parameter, self.seed, self.total_steps = parameter, seed, total_steps
        self.states: dict[Expression, Tensor] = {}
        self.buffer: Tensor | None = None

    def move(self, w: Tensor, g: Tensor, *, step: int, rate: float, coefficient: float) -> Tensor:
        """Return the weight after this step."""
        u = self.value(self.update, w, g, step, {})
        lr = rate
        if self.rule.schedule is not None:
            factor = self.decay(self.rule.schedule, step)
            lr = RATE_WHERE_INFINITE if step == 0 and math.isinf(factor) else rate * factor
        change = self.rule.sign * lr * u
        if self.rule.momentum is Momentum.NONE:
            return w - change
        m = torch.zeros_like(w) if self.buffer is None else self.buffer
        m = coefficient * m - change
        self.buffer = m
        match self.rule.momentum:
            case Momentum.MOMENTUM:
                return w + m
            case Momentum.NESTEROV:
                return w + coefficient * m - change
            case Momentum.NESTEROV_PUBLISHED:
                return w + m - change

    def value(
        self, node: Expression, w: Tensor, g: Tensor, step: int, known: dict[Expression, Tensor]
    ) -> Tensor:
        """Return the value of a node at this step; equal nodes are one node, evaluated once."""
        if node not in known:
            match node:
                case Constant(constant):
                    known[node] = torch.full_like(w, constant)
                case OperandRef("g"):
                    known[node] = g
                case OperandRef("w"):
                    known[node] = w
                case Scaled(decay, scaled):
                    known[node] = self.value(scaled, w, g, step, known) * self.decay(decay, step)
                case Call(_, parts, _):
                    arguments = [self.value(part, w, g, step, known) for part in parts]
                    known[node] = self.call(node, arguments, step)
                case _:
                    raise TypeError(f"{node} is no tensor expression in primitive operands")
        return known[node]

    def call(self, node: Call, arguments: list[Tensor], step: int) -> Tensor:
        """Return the value of a function, its state or noise being this node's own."""
        row = FUNCTIONS[node.function]
        inputs = (*arguments, *node.parameters)
        match row.kind:
            case Kind.ELEMENTWISE:
                result = row.compute(*inputs)
            case Kind.PER_TENSOR:
                result = row.compute(*inputs, dims=tuple(range(arguments[0].dim())))
            case Kind.RANDOM:
                uniform = uniform_noise(
                    self.seed, self.parameter, step, node=print_expression(node), like=arguments[0]
                )
                result = row.compute(*inputs, uniform=uniform)
            case Kind.STATEFUL:
                state = self.states.get(node, torch.zeros_like(arguments[0]))
                result, self.states[node] = row.compute(  # type: ignore[misc]
                    *inputs, state=state, step=step
                )
        assert isinstance(result, Tensor)
        return result

    def decay(self, schedule: Expression, step: int) -> float:
        """Return the value of a schedule at this step; its last value after T."""
        return float(curve(schedule, self.total_steps)[min(step, self.total_steps - 1)])
