"""Means over the examples of several batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Means:
    """Running means of loss and metric, each batch weighted by its number of examples.

    >>> means = Means()
    >>> means.add(1.0, None, (None, 0))
    >>> means.result()
    (1.0, None)
    """

    losses: float = 0.0
    metrics: float = 0.0
    count: int = 0
    measured: bool = field(default=False)

    def add(self, loss: float, metric: float | None, batch: Any) -> None:
        """Add what was measured on a batch."""
        targets = batch[1]
        examples = len(targets) if isinstance(targets, Tensor) and targets.ndim else 1
        self.count += examples
        self.losses += loss * examples
        if metric is not None:
            self.measured = True
            self.metrics += metric * examples

    def result(self) -> tuple[float, float | None]:
        """Return the means so far; the metric's is None if there was none."""
        metric = self.metrics / self.count if self.measured else None
        return self.losses / self.count, metric
