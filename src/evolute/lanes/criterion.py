"""LaneCriterion: loss and metric of many lanes, in one call where the loss is a known one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from evolute.lanes import losses

IGNORED = -100
"""The class index that cross-entropy leaves out of its mean (torch's default)."""


class Measured(Protocol):
    """What a task's ``measure`` returns."""

    @property
    def loss(self) -> Tensor:
        """Scalar tensor with its graph."""
        ...

    @property
    def metric(self) -> float | None:
        """The metric's value, or None."""
        ...


@dataclass(frozen=True, slots=True)
class LaneCriterion:
    """How lanes are measured.

    Parameters
    ----------
    loss
        (output, target) -> scalar tensor, of one plain module.
    metric
        (output, target) -> number, or None.
    named_loss
        ``"cross_entropy"`` or ``"mse"`` where ``loss`` is that function: then all lanes are
        measured in one call. None for one call per lane.
    named_metric
        ``"accuracy"`` where ``metric`` is that function.
    measure
        (model, batch) -> Measured, for a task that measures in a way of its own: then only the
        loop plan may serve it. None where loss and metric say everything.

    Examples
    --------
    >>> criterion = LaneCriterion(functional.cross_entropy, named_loss="cross_entropy")
    >>> criterion.losses(torch.zeros(3, 5, 10), [torch.zeros(5, dtype=torch.int64)] * 3)
    tensor([2.3026, 2.3026, 2.3026])
    """

    loss: Callable[[Any, Any], Tensor]
    metric: Callable[[Any, Any], Tensor | float] | None = None
    named_loss: str | None = None
    named_metric: str | None = None
    measure: Callable[[nn.Module, Any], Measured] | None = None

    @property
    def is_classes(self) -> bool:
        """Whether the loss is cross-entropy, and the metric, if there is one, accuracy."""
        known = self.metric is None or self.named_metric == "accuracy"
        return known and self.named_loss == "cross_entropy"

    def losses(self, outputs: Any, targets: Sequence[Any]) -> Tensor:
        """Return the losses [l] of l lanes.

        Parameters
        ----------
        outputs
            [l, *shape], lane by lane; or a list of l outputs.
        targets
            One per lane; the same object where lanes share it.
        """
        row = _LOSSES.get(self.named_loss or "")
        if row is not None and isinstance(outputs, Tensor):
            together = _together(targets)
            if together is not None:
                return row(outputs, together)
        pairs = zip(outputs, targets, strict=True)
        return torch.stack([self.loss(output, target) for output, target in pairs])

    def metrics(self, outputs: Any, targets: Sequence[Any]) -> Tensor | None:
        """Return the metrics [l] of l lanes; None where there is no metric."""
        if self.metric is None:
            return None
        with torch.no_grad():
            together = _together(targets)
            known = self.named_metric == "accuracy" and isinstance(outputs, Tensor)
            if known and together is not None and losses.serves_classes(outputs, together):
                return losses.accuracies(outputs, together)
            if known and together is not None:
                classes = outputs.argmax(dim=2)
                if classes.shape[1:] == together.shape[1:]:
                    right: Tensor = (classes == together).to(torch.float32)
                    return right.flatten(1).mean(dim=1)
            pairs = zip(outputs, targets, strict=True)
            return torch.tensor([float(self.metric(output, target)) for output, target in pairs])


def _together(targets: Sequence[Any]) -> Tensor | None:
    """Return the targets of all lanes, [l, …] or [1, …] where they share them."""
    first = targets[0]
    if not isinstance(first, Tensor):
        return None
    if all(target is first for target in targets):
        return first.unsqueeze(0)
    if any(target.shape != first.shape or target.dtype != first.dtype for target in targets):
        return None
    return torch.stack(list(targets))


def _cross_entropies(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of each lane, −log softmax(output)[target].

    As :func:`torch.nn.functional.cross_entropy` with its defaults, over the examples of one lane.
    """
    if losses.serves_classes(outputs, targets):
        return losses.cross_entropies(outputs, targets, ignored=IGNORED)
    lanes = len(outputs)
    targets = targets.expand(lanes, *targets.shape[1:])
    if outputs.ndim == 3 and not targets.is_floating_point():
        # Examples last: rows of ten classes would be slow, rows of examples are not.
        each = functional.cross_entropy(outputs.transpose(1, 2), targets, reduction="none")
    else:
        each = functional.cross_entropy(
            outputs.flatten(0, 1), targets.flatten(0, 1), reduction="none"
        ).reshape(lanes, -1)
    if targets.is_floating_point():
        return each.mean(dim=1)
    counted = (targets != IGNORED).reshape(lanes, -1).sum(dim=1)
    return each.sum(dim=1) / counted


def _squared_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error of each lane."""
    if outputs.shape[1:] != targets.shape[1:]:
        raise ValueError(
            f"the output has shape {tuple(outputs.shape[1:])} and the target "
            f"{tuple(targets.shape[1:])}: mse needs equal shapes"
        )
    return (outputs - targets).square().flatten(1).mean(dim=1)


_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": _cross_entropies,
    "mse": _squared_errors,
}
