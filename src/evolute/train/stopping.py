"""Thresholds: which trainings are hopeless and are stopped early."""

from __future__ import annotations

from dataclasses import dataclass

from evolute.train.protocol import Threshold


@dataclass(frozen=True, slots=True)
class EpochMeans:
    """Means over the training batches of one epoch, both finite.

    Parameters
    ----------
    loss
        Training loss.
    metric
        The task's metric on training batches; None for a task that has none.
    """

    loss: float
    metric: float | None


def shortfall(
    threshold: Threshold, epoch: EpochMeans, *, first_loss: float, has_accuracy: bool
) -> str | None:
    """Say how an epoch falls short of a threshold; None if it does not.

    Parameters
    ----------
    threshold
        What must have been reached.
    epoch
        What was reached.
    first_loss
        L₀, the loss of the first batch, before any step.
    has_accuracy
        Whether the metric is accuracy; else the loss decides.

    Examples
    --------
    >>> threshold = Threshold(accuracy=0.25, loss_fraction=0.9)
    >>> shortfall(threshold, EpochMeans(2.2, 0.1), first_loss=2.3, has_accuracy=True)
    'training accuracy 0.1 is under 0.25'
    >>> shortfall(threshold, EpochMeans(2.2, None), first_loss=2.3, has_accuracy=False)
    'training loss 2.2 is above 2.07'
    """
    if has_accuracy and threshold.accuracy is not None and epoch.metric is not None:
        if epoch.metric >= threshold.accuracy:
            return None
        return f"training accuracy {epoch.metric:.3g} is under {threshold.accuracy:g}"
    highest = first_loss - (1 - threshold.loss_fraction) * abs(first_loss)
    if epoch.loss <= highest:
        return None
    return f"training loss {epoch.loss:.3g} is above {highest:.3g}"
