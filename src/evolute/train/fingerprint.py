"""Fingerprints: rules that do the same to a task are trained once.

The fingerprint of a rule is its update on weights and gradients recorded from the task itself. In
a pilot search 15 of the 16 best rules were one rule dressed up with terms that vanish at real
gradient sizes: no canonical form can see that, a relative difference of updates does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evolute.compiler.execute import Uniform, execute, scheduled_rate, uniform_noise
from evolute.compiler.program import compile_rule
from evolute.lang.curve import curve
from evolute.lang.registry import Kind
from evolute.lang.rule import Momentum, Rule
from evolute.seeds import derive, torch_generator
from evolute.seeds.streams import seeded
from evolute.tasks.base import Task
from evolute.tasks.faults import calling
from evolute.train.environment import fixed_environment

RECORDED_STEPS = 8
"""Steps at which weights and gradients are recorded; they stand for t/T = 0, 1/8, … 7/8."""

STEPS_BETWEEN = 5
"""Optimizer steps from one recorded step to the next, so that gradients have time to change."""

LARGEST_SAMPLE = 4_096
"""Entries recorded of one tensor; functions of a whole tensor, such as its norm, need most."""

COMPARED = 128
"""Entries of one tensor's update that are compared: 10,000 rules on a network of 4 tensors then
take about 100 MB."""

BATCH_SIZE = 128
LEARNING_RATE = 1e-3
BETAS = (0.9, 0.999)
EPSILON = 1e-8
"""Of the Adam (Kingma and Ba, 2015) that the weights move by while they are recorded."""
TOLERANCE = 1e-3
"""Largest relative difference, in the L2 norm, of updates that count as equal."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Weights and gradients of a few steps of a task.

    Parameters
    ----------
    weights, gradients
        For each step one flat float64 tensor per parameter of the model: a sample of its entries in
        random order, the same at every step.
    """

    weights: tuple[tuple[Tensor, ...], ...]
    gradients: tuple[tuple[Tensor, ...], ...]


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What a rule does on a recording.

    Parameters
    ----------
    momentum
        How the update is applied; rules of two momentum types never match.
    values
        The updates with sign and schedule, one step after the other; of each tensor the first
        :data:`COMPARED` entries recorded.
    sizes
        Length of each block of ``values``, at least 1: one block for each step and tensor.
    """

    momentum: Momentum
    values: Values
    sizes: tuple[int, ...]

    @cached_property
    def norms(self) -> Values:
        """L2 norm of each block."""
        return block_norms(self.values, self.sizes)

    @property
    def is_finite(self) -> bool:
        """Whether every norm is finite; a fingerprint that is not matches none."""
        return bool(np.isfinite(self.norms).all())


def block_norms(values: Values, sizes: tuple[int, ...]) -> Values:
    """Return the L2 norm of each block of these sizes along the last axis."""
    starts = np.cumsum((0, *sizes[:-1]))
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by its norm
        norms: Values = np.sqrt(np.add.reduceat(np.square(values), starts, axis=-1))
    return norms


def record(task: Task, seed: int) -> Recording:
    """Train a task's model for a few steps and record them; a function of its arguments alone.

    Parameters
    ----------
    task
        The task.
    seed
        Seed of weights and batches: the same that trials of this seed begin with.

    Raises
    ------
    TaskError
        If the user's code raises.
    """
    with fixed_environment():
        with seeded(derive(seed, "weights")):
            model = task.model()
        model.train()
        parameters = [weight for weight in model.parameters() if weight.requires_grad]
        samples = [_sample(weight, seed, at) for at, weight in enumerate(parameters)]
        moments = [(torch.zeros_like(each), torch.zeros_like(each)) for each in parameters]
        batches = task.batches(torch_generator(seed, "batches"), BATCH_SIZE)
        weights, gradients = [], []
        with seeded(derive(seed, "recording")):
            for step in range((RECORDED_STEPS - 1) * STEPS_BETWEEN + 1):
                for weight in parameters:
                    weight.grad = None
                loss = task.measure(model, next(batches), with_metric=False).loss
                with calling(task.name, "the backward pass of its loss", advice="mend the model"):
                    loss.backward()
                if step % STEPS_BETWEEN == 0:
                    pairs = list(zip(parameters, samples, strict=True))
                    weights.append(tuple(_taken(weight, at) for weight, at in pairs))
                    gradients.append(tuple(_taken(_gradient(weight), at) for weight, at in pairs))
                for weight, own in zip(parameters, moments, strict=True):
                    _move(weight, own, step)
    return Recording(tuple(weights), tuple(gradients))


@torch.no_grad()
def _move(weight: Tensor, moments: tuple[Tensor, Tensor], step: int) -> None:
    """Make a step of Adam; torch's own imports its compiler first, which takes 1.4 s."""
    first, second = moments
    gradient = _gradient(weight)
    first.lerp_(gradient, 1 - BETAS[0])
    second.lerp_(gradient.square(), 1 - BETAS[1])
    scale = (second / (1 - BETAS[1] ** (step + 1))).sqrt_().add_(EPSILON)
    weight.addcdiv_(first, scale, value=-LEARNING_RATE / (1 - BETAS[0] ** (step + 1)))


def _sample(weight: Tensor, seed: int, index: int) -> Tensor:
    """Return which entries of a parameter are recorded."""
    generator = torch_generator(seed, "fingerprint sample", index)
    return torch.randperm(weight.numel(), generator=generator)[:LARGEST_SAMPLE]


def _gradient(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad.to_dense()


def _taken(tensor: Tensor, entries: Tensor) -> Tensor:
    return tensor.detach().flatten()[entries].double()


@torch.no_grad()
def fingerprint(rule: Rule, recording: Recording) -> Fingerprint:
    """Return what a rule does on a recording.

    State runs from one recorded step to the next; decays and schedule are read at the fraction of
    the training that a recorded step stands for; noise is that of seed 0.
    """
    program = compile_rule(rule)
    by_tensor = any(each.function.kind is Kind.PER_TENSOR for each in program.instructions)
    used = recording if by_tensor else _joined(recording)
    total = len(recording.weights)
    factors = [1.0] * total if program.schedule is None else curve(program.schedule, total).tolist()
    curves = [curve(decay, total).tolist() for decay in program.decays]
    states = [[torch.zeros_like(weight) for _ in program.state_slots] for weight in used.weights[0]]
    blocks = []
    for step, factor in enumerate(factors):
        joined_noise = _joined_noise(recording, step)
        rate = rule.sign * scheduled_rate(1.0, factor, step=step)
        decays = [values[step] for values in curves]
        for index, state in enumerate(states):
            weight, gradient = used.weights[step][index], used.gradients[step][index]
            update = execute(
                program,
                weight,
                gradient=gradient,
                state=state,
                step=step,
                decays=decays,
                uniform=_noise(index, step, weight) if by_tensor else joined_noise,
            )
            whole = rate * update.expand_as(weight)
            blocks.append(whole[:COMPARED] if by_tensor else whole)
    sizes = tuple(filter(None, (min(len(each), COMPARED) for each in recording.weights[0])))
    return Fingerprint(rule.momentum, torch.cat(blocks).numpy(), total * sizes)


@lru_cache(maxsize=4)
def _joined(recording: Recording) -> Recording:
    """Return the entries that are compared, those of all parameters in one tensor for each step.

    Where no function looks at a whole tensor, nothing else is needed.
    """

    def join(steps: tuple[tuple[Tensor, ...], ...]) -> tuple[tuple[Tensor, ...], ...]:
        return tuple((torch.cat([each[:COMPARED] for each in step]),) for step in steps)

    return Recording(join(recording.weights), join(recording.gradients))


def _noise(index: int, step: int, weight: Tensor) -> Uniform:
    return lambda node: uniform_noise(0, index, step, node=node, like=weight)


def _joined_noise(recording: Recording, step: int) -> Uniform:
    pairs = list(enumerate(recording.weights[step]))
    return lambda node: torch.cat(
        [_noise(index, step, weight)(node)[:COMPARED] for index, weight in pairs]
    )
