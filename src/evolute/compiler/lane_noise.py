"""The noise of random nodes for many lanes: drawn once for all that share it, and remembered.

The probes of a rule draw the same numbers at the same steps, its training draws those of its probes
again, and its children often hold the same random node.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from evolute.compiler.execute import uniform_noise

REMEMBERED_BYTES = 64 * 2**20
"""Noise that is kept: 17 random nodes at the 200 steps of the quick preset's training on a network
of 2,400 weights; of networks of a million weights no more than the present steps."""


class RememberedNoise:
    """Noise of all parameters of a network, as ``uniform_noise`` draws it.

    Parameters
    ----------
    indices
        Index of each parameter in the optimizer of one model.
    shapes
        Their shapes.
    budget_bytes
        How much is remembered; what was used last always is.

    Examples
    --------
    >>> noise = RememberedNoise([0, 1], [(2, 3), (4,)])
    >>> [each.shape for each in noise.parts(noise.at(0, 5, node="dropout(g, 0.5)")[None], 1)]
    [torch.Size([4])]
    """

    def __init__(
        self,
        indices: Sequence[int],
        shapes: Sequence[Sequence[int]],
        *,
        budget_bytes: int = REMEMBERED_BYTES,
    ) -> None:
        self._indices = list(indices)
        self._counts = [math.prod(shape) for shape in shapes]
        self._starts = [sum(self._counts[:at]) for at in range(len(self._counts))]
        self._count = sum(self._counts)
        self._most = budget_bytes // (8 * max(1, self._count))
        self._drawn: OrderedDict[tuple[int, int, str], Tensor] = OrderedDict()

    def room(self, nodes: int) -> Tensor:
        """Return room for the noise of so many random nodes, float64 of shape [nodes, numbers]."""
        return torch.zeros(nodes, self._count, dtype=torch.float64)

    def parts(self, room: Tensor, parameter: int) -> list[Tensor]:
        """Return what belongs to one parameter in each row of a room: views."""
        start = self._starts[parameter]
        return [row[start : start + self._counts[parameter]] for row in room]

    def at(self, seed: int, step: int, *, node: str) -> Tensor:
        """Return the noise of a node at a step, float64: of one parameter after the other."""
        key = seed, step, node
        found = self._drawn.get(key)
        if found is None:
            found = self._drawn[key] = self._draw(seed, step, node)
            while len(self._drawn) > max(1, self._most):
                self._drawn.popitem(last=False)
        else:
            self._drawn.move_to_end(key)
        return found

    def _draw(self, seed: int, step: int, node: str) -> Tensor:
        pairs = zip(self._indices, self._counts, strict=True)
        return torch.cat(
            [
                uniform_noise(seed, index, step, node=node, like=torch.empty(count))
                for index, count in pairs
            ]
        )
