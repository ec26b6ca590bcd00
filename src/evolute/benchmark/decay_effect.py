"""The combined effect of a rule's decays, drawn like a learning rate over t/T."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evolute.benchmark.entrants import without_decays
from evolute.compiler.execute import execute, uniform_noise
from evolute.compiler.program import compile_rule
from evolute.lang.curve import curve
from evolute.lang.rule import Rule
from evolute.train.fingerprint import Recording

POINTS = 100
"""Steps at which the effect is computed."""


@torch.no_grad()
def decay_effect(rule: Rule, recording: Recording) -> tuple[float, ...]:
    """Return by how much schedule and inner decays together scale the update, step by step.

    With u(t) the update at step t and u′(t) that of the rule without its inner decays, both on the
    same weights and gradients::

        effect(t) = schedule(t/T) · ‖u(t)‖₂ / ‖u′(t)‖₂

    Parameters
    ----------
    rule
        The rule.
    recording
        Weights and gradients of a task, held in turn for equal parts of the steps.

    Returns
    -------
    tuple of float
        One value for each of 100 steps of a training; 0 where one is not finite.
    """
    schedule = [1.0] * POINTS
    if rule.schedule is not None:
        schedule = curve(rule.schedule, POINTS).tolist()
    with_decays = _norms(rule, recording)
    without = _norms(without_decays(rule), recording)
    values = [
        factor * (own / bare if bare > 0.0 else 0.0)
        for factor, own, bare in zip(schedule, with_decays, without, strict=True)
    ]
    return tuple(value if math.isfinite(value) else 0.0 for value in values)


def _norms(rule: Rule, recording: Recording) -> list[float]:
    """Return the L2 norm of the update over all tensors at each step."""
    program = compile_rule(rule)
    curves = [curve(decay, POINTS).tolist() for decay in program.decays]
    states = [
        [torch.zeros_like(weight) for _ in program.state_slots] for weight in recording.weights[0]
    ]
    norms = []
    for step in range(POINTS):
        at = step * len(recording.weights) // POINTS
        squares = 0.0
        for index, state in enumerate(states):
            weight = recording.weights[at][index]
            update = execute(
                program,
                weight,
                gradient=recording.gradients[at][index],
                state=state,
                step=step,
                decays=[values[step] for values in curves],
                uniform=_Noise(index, step, weight),
            )
            squares += float(update.expand_as(weight).square().sum())
        norms.append(math.sqrt(squares) if squares >= 0.0 else math.nan)
    return norms


class _Noise:
    """The noise of random nodes at one step: that of seed 0."""

    def __init__(self, index: int, step: int, weight: Tensor) -> None:
        self._index, self._step, self._weight = index, step, weight

    def __call__(self, node: str) -> Tensor:
        return uniform_noise(0, self._index, self._step, node=node, like=self._weight)
