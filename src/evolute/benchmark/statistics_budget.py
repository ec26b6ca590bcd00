"""The expected best result against the tuning budget.

After Dodge et al. (2019, Show Your Work: Improved Reporting of Experimental Results, arXiv
1909.03004, equation 7).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def expected_best(values: Sequence[float | None]) -> tuple[float, ...] | None:
    """Return the expected best of n tuning trials, for n = 1 … N.

    With the N values in order, F their empirical distribution, v₍ᵢ₎ the i-th smallest::

        E[max of n] = Σᵢ v₍ᵢ₎ · (F(v₍ᵢ₎)ⁿ − F(v₍ᵢ₋₁₎)ⁿ) = Σᵢ v₍ᵢ₎ · ((i/N)ⁿ − ((i−1)/N)ⁿ)

    Parameters
    ----------
    values
        What each trial scored, higher is better; one without a score counts as the worst that has
        one.

    Returns
    -------
    tuple or None
        None if no trial has a score.

    Examples
    --------
    >>> expected_best([1.0, 2.0])
    (1.5, 1.75)
    """
    scored = [value for value in values if value is not None]
    if not scored:
        return None
    worst = min(scored)
    ordered = np.sort(np.array([worst if value is None else value for value in values]))
    count = ordered.size
    steps = np.arange(count + 1) / count
    return tuple(
        float((ordered * (steps[1:] ** n - steps[:-1] ** n)).sum()) for n in range(1, count + 1)
    )
