"""Running averages of a batch normalisation."""

from __future__ import annotations

from torch import Tensor


def move_averages(
    running: tuple[Tensor, Tensor] | None,
    mean: Tensor,
    variance: Tensor,
    *,
    momentum: float,
    rows: int,
) -> None:
    """Move running mean and variance in place by ``momentum`` towards those of a batch.

    Parameters
    ----------
    running
        Running mean and variance; None where there are none.
    mean, variance
        Of the batch, the variance a mean over the rows.
    momentum
        Share of the batch.
    rows
        n, the numbers that each mean is of; the variance counts n/(n − 1) times, as torch has it.
    """
    if running is not None:
        running[0].mul_(1 - momentum).add_(mean, alpha=momentum)
        running[1].mul_(1 - momentum).add_(variance, alpha=momentum * rows / max(rows - 1, 1))
