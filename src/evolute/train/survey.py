"""Survey: what one step of a plain model tells about how its lanes can be trained."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evolute.compiler.options import refused_gradient
from evolute.errors import TaskError
from evolute.seeds import derive
from evolute.seeds.streams import seeded
from evolute.tasks.base import Task
from evolute.tasks.copies import lost_in_copies
from evolute.tasks.data import Batch
from evolute.tasks.faults import calling

STATES_PER_WEIGHT = 8
"""Copies of a weight that a lane is counted with: itself, its gradient, the states of its rule."""

STEP_SHARE = 2
"""Memory of a step, in multiples of what is kept for the backward pass."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known about a network.

    Parameters
    ----------
    bytes_per_lane
        Memory of one lane: weights and what comes with them, activations.
    is_random
        Whether a training step draws from the global generators (dropout).
    changes_inputs
        Whether it writes into its batch, so that lanes cannot share one.
    trained
        Names of the weights that an optimizer would be given.
    untrained
        Names of the weights that got no gradient.
    lost
        What a copy of the model would lose, in words; None if nothing.
    """

    bytes_per_lane: int
    is_random: bool
    changes_inputs: bool
    trained: tuple[str, ...]
    untrained: frozenset[str] = frozenset()
    lost: str | None = None

    @property
    def why_unchecked(self) -> str | None:
        """Why no plan can be compared with the plain module, so that the loop runs; else None."""
        if self.changes_inputs:
            return "it writes into its inputs, so that no batch lasts for a comparison"
        if self.lost is not None:
            return f"copies of it, to compare with, would lose {self.lost}"
        return None


def survey(task: Task, model: nn.Module, *, batch: Batch, seed: int) -> Survey:
    """Make one training step of a plain model, which is given away, and see what it does.

    Parameters
    ----------
    task, model, batch
        What is tried; the batch is not changed.
    seed
        Seed of the noise that the step draws.

    Raises
    ------
    TaskError
        If the user's code raises, or a gradient is sparse.
    """
    own = copy.deepcopy(batch)
    versions = _versions(own)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.layout is torch.strided:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    with seeded(derive(seed, "survey")):
        before = _generators()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda each: each):
            loss = task.measure(model, own, with_metric=False).loss
        is_random = _generators() != before
        with calling(task.name, "the backward pass of its loss", advice="mend the model"):
            loss.backward()
    _require_dense(task, model)
    for tensor in (*model.parameters(), *tensors_of(own)):
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    weights = dict(model.named_parameters())
    size = sum(weight.numel() * weight.element_size() for weight in weights.values())
    return Survey(
        bytes_per_lane=STATES_PER_WEIGHT * size + STEP_SHARE * sum(kept.values()),
        is_random=is_random,
        changes_inputs=_versions(own) != versions,
        trained=tuple(name for name, weight in weights.items() if weight.requires_grad),
        untrained=frozenset(name for name, weight in weights.items() if weight.grad is None),
        lost=lost_in_copies(model),
    )


def _require_dense(task: Task, model: nn.Module) -> None:
    named = [*model.named_parameters()]
    group = {"param_names": [name for name, _ in named]}
    for position, (_, weight) in enumerate(named):
        if weight.grad is not None and weight.grad.layout is not torch.strided:
            raise TaskError(f"task {task.name!r}: {refused_gradient(weight.grad, group, position)}")


def _generators() -> tuple[bytes, str, object]:
    """Return the state of the global generators, so that it can be compared."""
    torch_state = torch.default_generator.get_state().numpy().tobytes()
    return torch_state, str(np.random.get_state()), random.getstate()


def _versions(batch: Batch) -> list[int]:
    """Return how often each tensor of a batch was written into."""
    return [tensor._version for tensor in tensors_of(batch)]


def tensors_of(given: Any) -> Iterator[Tensor]:
    """Yield all tensors in nested lists, tuples and dicts.

    Examples
    --------
    >>> len(list(tensors_of(({"pixels": torch.zeros(2)}, torch.zeros(2)))))
    2
    """
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, dict | list | tuple):
        for part in given.values() if isinstance(given, dict) else given:
            yield from tensors_of(part)
