"""A batch cut short, on which a slow network is tried in less time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from evolute.lanes.base import Batch
from evolute.lanes.check import Subject

EXAMPLES = 8
"""Examples of a batch cut short: enough for batch normalisation."""


def trimmed(subject: Subject) -> Subject | None:
    """Return a subject with the first examples of each batch; None where that saves nothing.

    Examples
    --------
    >>> import torch
    >>> from evolute.lanes.criterion import LaneCriterion
    >>> batch = (torch.zeros(64, 3), torch.zeros(64))
    >>> criterion = LaneCriterion(torch.nn.functional.mse_loss)
    >>> subject = Subject((), (batch, batch), criterion, "float32", torch.device("cpu"))
    >>> [len(part) for part in trimmed(subject).batches[0]]
    [8, 8]
    """
    count = examples_of(subject.batches[0])
    if count < 2 * EXAMPLES:
        return None
    first, second = (_cut(batch) for batch in subject.batches)
    return replace(subject, batches=(first, second))


def examples_of(batch: Batch) -> int:
    """Return the number of examples of a batch of two tensors; 0 where it cannot be told."""
    counts = {len(part) if isinstance(part, Tensor) and part.ndim else 0 for part in batch}
    return counts.pop() if len(counts) == 1 else 0


def _cut(batch: Batch) -> Batch:
    def cut(part: Any) -> Any:
        return part[:EXAMPLES]

    return cut(batch[0]), cut(batch[1])
