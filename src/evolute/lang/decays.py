"""The table of base decays: schedules of t and T only (published method, section 2).

Each row computes its values for a tensor of steps t, 0 ≤ t < T.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from evolute.lang.registry import BASE_DECAYS, BaseDecay

DEMON_BETA = 0.95
"""β₀ of the decaying momentum (Demon) schedules a13 and a14."""

EXPONENTIAL_END = 0.01
"""Value that the exponential decay a11 reaches at t = T."""


def _cosine(fraction: Tensor) -> Tensor:
    """½(1+cos(πx))."""
    return (1 + (math.pi * fraction).cos()) / 2


def _restarted(t: Tensor, total_steps: int) -> Tensor:
    """(2t mod T)/T."""
    return (2 * t).remainder(total_steps) / total_steps


def _demon(t: Tensor, total_steps: int) -> Tensor:
    """β_t/((1−β₀)+β_t), β_t = β₀(1−(t+1)/T)."""
    beta = DEMON_BETA * (1 - (t + 1) / total_steps)
    return beta / ((1 - DEMON_BETA) + beta)


def _rows() -> tuple[BaseDecay, ...]:
    row = BaseDecay
    return (
        row("a1", "a_{1}", lambda t, T: 1 - t / T, formula="1 - t / total_steps"),
        row("a2", "a_{2}", lambda t, T: t / T, formula="t / total_steps"),
        row("a3", "a_{3}", lambda t, T: _cosine(t / T),
            formula="(1 + cos(pi * (t / total_steps))) / 2"),
        row("a4", "a_{4}", lambda t, T: 1 - _cosine(t / T),
            formula="1 - (1 + cos(pi * (t / total_steps))) / 2"),
        row("a5", "a_{5}", lambda t, T: _cosine(2 * t / T),
            formula="(1 + cos(pi * (2 * t / total_steps))) / 2"),
        row("a6", "a_{6}", lambda t, T: 1 - _cosine(2 * t / T),
            formula="1 - (1 + cos(pi * (2 * t / total_steps))) / 2"),
        row("a7", "a_{7}", lambda t, T: _cosine(_restarted(t, T)),
            formula="(1 + cos(pi * (remainder(2 * t, total_steps) / total_steps))) / 2"),
        row("a8", "a_{8}", lambda t, T: 1 - _cosine(_restarted(t, T)),
            formula="1 - (1 + cos(pi * (remainder(2 * t, total_steps) / total_steps))) / 2"),
        row("a9", "a_{9}", lambda t, T: 1 - _restarted(t, T),
            formula="1 - remainder(2 * t, total_steps) / total_steps"),
        row("a10", "a_{10}", _restarted, formula="remainder(2 * t, total_steps) / total_steps"),
        row("a11", "a_{11}", lambda t, T: EXPONENTIAL_END ** (t / T),
            formula="0.01 ** (t / total_steps)"),
        row("a12", "a_{12}", lambda t, T: 1 - EXPONENTIAL_END ** (t / T),
            formula="1 - 0.01 ** (t / total_steps)"),
        row("a13", "a_{13}", _demon,
            formula="0.95 * (1 - (t + 1) / total_steps)"
            " / ((1 - 0.95) + 0.95 * (1 - (t + 1) / total_steps))"),
        row("a14", "a_{14}", lambda t, T: DEMON_BETA - _demon(t, T),
            formula="0.95 - 0.95 * (1 - (t + 1) / total_steps)"
            " / ((1 - 0.95) + 0.95 * (1 - (t + 1) / total_steps))"),
    )  # fmt: skip


for _row in _rows():
    BASE_DECAYS.add(_row)


def base_decay(
    *,
    latex: str,
    name: str | None = None,
    searched: bool = True,
    formula: str | None = None,
) -> Callable[[Callable[[Tensor, int], Tensor]], Callable[[Tensor, int], Tensor]]:
    """Register the decorated function of (t, total_steps) as a base decay.

    Parameters
    ----------
    latex
        As printed in a paper.
    name
        Name in rules; the definition's own name unless given.
    searched
        Whether the search draws it.
    formula
        As in :class:`evolute.lang.registry.BaseDecay`.

    Raises
    ------
    InputError
        If the name is taken.

    Examples
    --------
    >>> import evolute
    >>> @evolute.base_decay(latex=r"(1-t/T)^{2}", searched=False)
    ... def quadratic(t, total_steps):
    ...     return (1 - t / total_steps) ** 2
    >>> str(evolute.Rule.parse("none: [quadratic]*g"))
    'none: [quadratic]*g'
    """

    def register(compute: Callable[[Tensor, int], Tensor]) -> Callable[[Tensor, int], Tensor]:
        BASE_DECAYS.add(BaseDecay(name or compute.__name__, latex, compute, searched, formula))
        return compute

    return register
