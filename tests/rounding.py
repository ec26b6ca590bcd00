"""How far rounding may lead a rule from the reference, and whether a path in float32 is as near."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from evolute.compiler.execute import scheduled_rate, uniform_noise
from evolute.compiler.program import Program, compile_rule
from evolute.compiler.reference import reference_trajectory
from evolute.lang.curve import curve
from evolute.lang.registry import Kind
from evolute.lang.rule import Momentum, Rule

STEPS, SEED, COEFFICIENT, RATE = 3, 5, 0.9, 0.05
SAMPLES = 6
EPSILON = 2.0**-24


def numbers_at(program: Program, step: int) -> tuple[float, tuple[float, ...]]:
    """Rate and decays at a step."""
    factor = 1.0 if program.schedule is None else float(curve(program.schedule, STEPS)[step])
    values = tuple(float(curve(each, STEPS)[step]) for each in program.decays)
    return scheduled_rate(RATE, factor, step=step), values


def gradients(count: int, *, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, generator=generator) for _ in range(STEPS)]


def rounded_path(rule: Rule, weight: Tensor, given: list[Tensor], sample: int) -> list[Tensor]:
    """The path in float32 with every result off by up to three units in the last place, at random.

    Samples of it show how far rounding may lead (Monte Carlo arithmetic, Parker 1997).
    """
    program, random = compile_rule(rule), torch.Generator().manual_seed(sample)

    def off(exact: Tensor) -> Tensor:
        noise = 1 + 6 * EPSILON * (2 * torch.rand(weight.shape, generator=random) - 1).double()
        return (exact.expand_as(weight).double() * noise).float().double()

    w, path = weight.double(), []
    state = [torch.zeros_like(w) for _ in program.state_slots]
    buffer = torch.zeros_like(w)
    for step, gradient in enumerate(given):
        rate, values = numbers_at(program, step)
        registers = [gradient.double(), w]
        registers += [
            torch.tensor(each).float().double().expand_as(w) for each in program.constants
        ]
        registers += [torch.full_like(w, each).float().double() for each in values]
        for each in program.instructions:
            inputs = (*(registers[at] for at in each.arguments), *each.parameters)
            compute = each.function.compute
            match each.function.kind:
                case Kind.ELEMENTWISE:
                    # What is added to an argument first, as ε of the logarithm, is rounded too.
                    arguments = (off(registers[at]) for at in each.arguments)
                    value = compute(*arguments, *each.parameters)
                case Kind.PER_TENSOR:
                    value = compute(*inputs, dims=(0,))
                case Kind.RANDOM:
                    assert each.noise is not None
                    uniform = uniform_noise(SEED, 0, step, node=each.noise, like=w)
                    value = compute(*inputs, uniform=uniform)
                case Kind.STATEFUL:
                    assert each.slot is not None
                    pair: Any = compute(*inputs, state=state[each.slot], step=step)
                    value, state[each.slot] = pair[0], off(pair[1])
            assert isinstance(value, Tensor)
            registers.append(off(value))
        change = off(rate * program.sign * registers[program.output])
        buffer = off(COEFFICIENT * buffer - change)
        w = off(
            {
                Momentum.NONE: w - change,
                Momentum.MOMENTUM: w + buffer,
                Momentum.NESTEROV: w + COEFFICIENT * buffer - change,
                Momentum.NESTEROV_PUBLISHED: w + buffer - change,
            }[program.momentum]
        )
        path.append(w)
    return path


def assert_equal_to_rounding(
    rule: Rule, weight: Tensor, given: list[Tensor], path: Sequence[Tensor]
) -> None:
    """Hold a path of a rule in float32 against the reference."""
    exact = reference_trajectory(
        rule,
        [weight],
        gradient=lambda t, _: [given[t]],
        rates=[RATE] * STEPS,
        momenta=[COEFFICIENT] * STEPS,
        seed=SEED,
    )
    samples = [rounded_path(rule, weight, given, each) for each in range(SAMPLES)]
    for step, found in enumerate(path):
        truth = exact[step][0]
        away = torch.stack([(each[step] - truth).abs() for each in samples])
        # Where a sample is no number, or far away, float32 says nothing of the true value.
        allowed = 4 * away.max(0).values + 8 * EPSILON * (truth.abs() + weight.abs())
        sure = allowed.isfinite() & (truth.abs() < 1e30)
        wrong = sure & ~((found - truth).abs() <= allowed)
        assert not wrong.any(), (step, found[wrong], truth[wrong], allowed[wrong])
