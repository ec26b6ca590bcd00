"""Survey: what one step of a plain model tells about how its lanes can be trained."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evolute.compiler.options import refused_gradient
from evolute.errors import TaskError
from evolute.lanes.shortage import is_out_of_memory
from evolute.seeds import derive
from evolute.seeds.streams import seeded
from evolute.tasks.base import Split, Task
from evolute.tasks.copies import lost_in_copies
from evolute.tasks.data import Batch
from evolute.tasks.faults import calling
from evolute.train.live_memory import LiveMemory

STATES_PER_WEIGHT = 8
"""Copies of a weight that a lane is counted with: itself, its gradient, the states of its rule."""

STEP_SHARE = 2
"""Memory of a step, in multiples of what is kept for the backward pass."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known about a network.

    Parameters
    ----------
    bytes_held
        Memory of one lane between its steps: weights and what comes with them.
    bytes_stepped
        What a training step takes besides: activations.
    bytes_evaluated
        What the evaluation of its largest batch takes besides.
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

    bytes_held: int
    bytes_stepped: int
    bytes_evaluated: int
    is_random: bool
    changes_inputs: bool
    trained: tuple[str, ...]
    untrained: frozenset[str] = frozenset()
    lost: str | None = None

    @property
    def bytes_per_lane(self) -> int:
        """Memory of one lane while it makes a step."""
        return self.bytes_held + self.bytes_stepped

    @property
    def bytes_needed(self) -> int:
        """Memory without which not one lane can be trained and evaluated."""
        return self.bytes_held + max(self.bytes_stepped, self.bytes_evaluated)

    @property
    def why_unchecked(self) -> str | None:
        """Why no plan can be compared with the plain module, so that the loop runs; else None."""
        if self.changes_inputs:
            return "it writes into its inputs, so that no batch lasts for a comparison"
        if self.lost is not None:
            return f"copies of it, to compare with, would lose {self.lost}"
        return None


def survey(
    task: Task, model: nn.Module, *, batch: Batch, seed: int, splits: Sequence[Split] = ()
) -> Survey:
    """Make one training step of a plain model, which is given away, and see what it does.

    Parameters
    ----------
    task, model, batch
        What is tried; the batch is not changed.
    seed
        Seed of the noise that the step draws.
    splits
        What it will be evaluated on.

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
    changes_inputs = _versions(own) != versions
    for tensor in (*model.parameters(), *tensors_of(own)):
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    weights = dict(model.named_parameters())
    size = sum(weight.numel() * weight.element_size() for weight in weights.values())
    return Survey(
        bytes_held=STATES_PER_WEIGHT * size,
        bytes_stepped=STEP_SHARE * sum(kept.values()),
        bytes_evaluated=_bytes_evaluated(task, model, copy.deepcopy(batch), splits=splits),
        is_random=is_random,
        changes_inputs=changes_inputs,
        trained=tuple(name for name, weight in weights.items() if weight.requires_grad),
        untrained=frozenset(name for name, weight in weights.items() if weight.grad is None),
        lost=lost_in_copies(model),
    )


def _bytes_evaluated(task: Task, model: nn.Module, batch: Batch, *, splits: Sequence[Split]) -> int:
    """Return what the evaluation of a largest batch takes: of the training batch, in proportion.

    Of the first batch of each split, as the last one may be shorter. A task that measures in a way
    of its own evaluates one model at a time, as it likes.
    """
    if task.measures_itself:
        return 0
    live = LiveMemory([*model.parameters(), *model.buffers(), *tensors_of(batch)])
    model.eval()
    try:
        with torch.no_grad(), seeded(derive(0, "survey")):
            with live:
                task.measure(model, batch)
            sizes = [_size_of(task.first_batch(split)) for split in splits]
    except Exception as fault:
        if is_out_of_memory(fault):
            raise
        return 0  # what the evaluation itself says of it is right
    return math.ceil(live.peak * max(sizes, default=0) / max(1, _size_of(batch)))


def _size_of(batch: Batch) -> int:
    return sum(tensor.numel() for tensor in tensors_of(batch[0]))


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
