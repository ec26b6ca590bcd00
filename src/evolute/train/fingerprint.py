"""Fingerprints: rules that do the same to a task are trained once.

The fingerprint of a rule is its update on weights and gradients recorded from the task itself. In
a pilot search 15 of the 16 best rules were one rule dressed up with terms that vanish at real
gradient sizes: no canonical form can see that, a relative difference of updates does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evolute.compiler.execute import Uniform, execute, scheduled_rate, uniform_noise
from evolute.compiler.program import compile_rule
from evolute.lang.curve import curve
from evolute.lang.rule import Momentum, Rule
from evolute.seeds import derive, torch_generator
from evolute.tasks.base import Task
from evolute.tasks.faults import calling
from evolute.tasks.randomness import seeded
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

COMPARED_AT_ONCE = 64
"""Fingerprints of equal norms that are compared in one piece."""

BATCH_SIZE = 128
LEARNING_RATE = 1e-3
BETAS = (0.9, 0.999)
EPSILON = 1e-8
"""Of the Adam (Kingma and Ba, 2015) that the weights move by while they are recorded."""

TOLERANCE = 1e-3
"""Largest relative difference, in the L2 norm, of updates that count as equal."""


Values = npt.NDArray[np.float64]

Recall = Callable[[str], "Fingerprint"]
"""Makes the fingerprint of a name anew."""


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
        return _block_norms(self.values, self.sizes)

    @property
    def is_finite(self) -> bool:
        """Whether every norm is finite; a fingerprint that is not matches none."""
        return bool(np.isfinite(self.norms).all())


def _block_norms(values: Values, sizes: tuple[int, ...]) -> Values:
    """Return the L2 norm of each block along the last axis."""
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
    total = len(recording.weights)
    factors = [1.0] * total if program.schedule is None else curve(program.schedule, total).tolist()
    curves = [curve(decay, total).tolist() for decay in program.decays]
    states = [
        [torch.zeros_like(weight) for _ in program.state_slots] for weight in recording.weights[0]
    ]
    blocks = []
    for step, factor in enumerate(factors):
        rate = rule.sign * scheduled_rate(1.0, factor, step=step)
        decays = [values[step] for values in curves]
        for index, state in enumerate(states):
            weight, gradient = recording.weights[step][index], recording.gradients[step][index]
            update = execute(
                program,
                weight,
                gradient=gradient,
                state=state,
                step=step,
                decays=decays,
                uniform=_noise(index, step, weight),
            )
            blocks.append(rate * update.expand_as(weight)[:COMPARED])
    filled = [block for block in blocks if len(block)]
    return Fingerprint(rule.momentum, torch.cat(filled).numpy(), tuple(map(len, filled)))


def _noise(index: int, step: int, weight: Tensor) -> Uniform:
    return lambda node: uniform_noise(0, index, step, node=node, like=weight)


@dataclass
class _Shelf:
    """Fingerprints of one momentum type and one layout, in rows.

    A row holds each block divided by its norm (so that float32 holds blocks of any size) and the
    norms. Norms are compared first: they differ for almost every pair that does not match; so the
    blocks of rows that were taken from elsewhere are made only when they are wanted. Arrays are
    NumPy's, which starts no threads: beside busy workers those of torch cost milliseconds.
    """

    sizes: tuple[int, ...]
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._norms = np.empty((0, len(self.sizes)))
        self._directions: list[npt.NDArray[np.float32] | None] = []

    @property
    def norms(self) -> Values:
        """Norms of the blocks, a row for each name."""
        return self._norms[: len(self.names)]

    def add(self, name: str, added: Fingerprint) -> None:
        count = len(self.names)
        if count == len(self._norms):  # full: double it, so that adding costs the same on average
            self._norms = _doubled(self._norms)
        self._norms[count] = added.norms
        self._directions.append(_directions(added))
        self.names.append(name)

    def load(self, names: list[str], norms: Values) -> None:
        """Hold rows whose blocks are not at hand, in place of what was there."""
        self.names, self._norms, self._directions = names, norms, [None] * len(names)

    def find(self, wanted: Fingerprint, tolerance: float, recall: Recall) -> str | None:
        norms = self._norms[: len(self.names)]
        allowed = tolerance * np.maximum(norms, wanted.norms)
        near = np.flatnonzero((np.abs(norms - wanted.norms) <= allowed).all(axis=1))
        for first in range(0, len(near), COMPARED_AT_ONCE):
            rows = near[first : first + COMPARED_AT_ONCE]
            directions = np.stack([self._direction(int(row), recall) for row in rows])
            values = directions * np.repeat(norms[rows], self.sizes, axis=1)
            distances = _block_norms(values - wanted.values, self.sizes)
            matches = np.flatnonzero((distances <= allowed[rows]).all(axis=1))
            if len(matches):
                return self.names[int(rows[matches[0]])]
        return None

    def _direction(self, row: int, recall: Recall) -> npt.NDArray[np.float32]:
        held = self._directions[row]
        if held is None:
            held = self._directions[row] = _directions(recall(self.names[row]))
        return held


def _directions(of: Fingerprint) -> npt.NDArray[np.float32]:
    """Return each block divided by its norm."""
    scale = np.where(of.norms > 0, of.norms, 1.0)
    directions: npt.NDArray[np.float32] = (of.values / np.repeat(scale, of.sizes)).astype(
        np.float32
    )
    return directions


def _doubled(table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a table with as many rows again, 64 at least."""
    more = np.zeros((max(64, len(table)), table.shape[1]), dtype=table.dtype)
    return np.concatenate([table, more])


class FingerprintIndex:
    """Fingerprints by name; finds one that does the same.

    Two fingerprints match if they are of one momentum type, and in every block ‖a − b‖ is at most
    ``tolerance`` times the larger of ‖a‖ and ‖b‖. One thread may use an index at a time.

    Parameters
    ----------
    tolerance
        Largest relative difference.
    recall
        Makes the fingerprint of a name anew; needed once rows were taken from elsewhere.

    Examples
    --------
    >>> ones = Recording(((torch.ones(3),),), ((torch.ones(3),),))
    >>> index = FingerprintIndex()
    >>> index.add("first", fingerprint(Rule.parse("none: g"), ones))
    >>> index.find(fingerprint(Rule.parse("none: g + 1e-09*w"), ones))
    'first'
    >>> index.find(fingerprint(Rule.parse("none: 2*g"), ones)) is None
    True
    """

    def __init__(self, tolerance: float = TOLERANCE, *, recall: Recall | None = None) -> None:
        self.tolerance = tolerance
        self._recall = recall or _forgotten
        self._shelves: dict[tuple[Momentum, tuple[int, ...]], _Shelf] = {}

    def find(self, wanted: Fingerprint) -> str | None:
        """Return the name of the first one added that matches; None if none does."""
        shelf = self._shelves.get((wanted.momentum, wanted.sizes))
        if shelf is None or not wanted.is_finite:
            return None
        return shelf.find(wanted, self.tolerance, self._recall)

    def add(self, name: str, added: Fingerprint) -> None:
        """Remember a fingerprint; one that is not finite matches none and is not kept."""
        if added.is_finite:
            key = (added.momentum, added.sizes)
            self._shelves.setdefault(key, _Shelf(added.sizes)).add(name, added)

    def rows(self) -> list[tuple[Momentum, tuple[int, ...], list[str], Values]]:
        """Return momentum type, layout, names and norms of what it holds; :meth:`load` reverses."""
        return [
            (momentum, sizes, shelf.names, shelf.norms)
            for (momentum, sizes), shelf in self._shelves.items()
        ]

    def load(
        self, momentum: Momentum, sizes: tuple[int, ...], *, names: list[str], norms: Values
    ) -> None:
        """Hold what an index had of one momentum type and layout; ``recall`` makes the rest anew.

        Raises
        ------
        ValueError
            If there is not one row of norms, one for each block, for each name.
        """
        if norms.shape != (len(names), len(sizes)):
            raise ValueError(f"{len(names)} names of {len(sizes)} norms each, not {norms.shape}")
        shelf = self._shelves[momentum, sizes] = _Shelf(sizes)
        shelf.load(names, norms)


def _forgotten(name: str) -> Fingerprint:
    raise ValueError(f"nothing is known of {name!r} but its norms: give the index a recall")
