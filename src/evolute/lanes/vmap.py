"""The vmap plan: ``torch.func`` runs the module itself over the lane axis.

It follows any forward without branches on values or random draws; it is slower than the stacked
plan (measured on digits: 506 lane-steps per second against 867), so it is second in line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from evolute.lanes.attributes import held_by, require_unchanged
from evolute.lanes.batched import BatchedNetwork, Found, Lot, all_same, kind_of
from evolute.lanes.criterion import LaneCriterion


class VmapNetwork(BatchedNetwork):
    """One module, mapped over the lane axis by ``torch.func.vmap``.

    Parameters
    ----------
    template, size, device, precision, without, together
        As in :class:`~evolute.lanes.batched.BatchedNetwork`.

    Raises
    ------
    CannotStackError
        From the first step on, if the module keeps Python state, which lanes would share.
    """

    plan = "vmap"

    def __init__(self, template: nn.Module, size: int, **options: Any) -> None:
        super().__init__(template, size, **options)
        self._seen: set[Any] = set()

    @contextmanager
    def _watched(self, inputs: Any, *, training: bool) -> Iterator[None]:
        """Look, when inputs of a shape come first, that the module is left as it was."""
        self._module.train(training)
        key = (training, kind_of(inputs))
        if key in self._seen:
            yield
            return
        before = held_by(self._module)
        yield
        require_unchanged(before, self._module)
        self._seen.add(key)

    def _train(self, lot: Lot, criterion: LaneCriterion) -> Found:
        def measure(
            weights: dict[str, Tensor], held: dict[str, Tensor], inputs: Any, targets: Any
        ) -> tuple[Tensor, Any]:
            output = self._call(weights, held, inputs)
            return criterion.loss(output, targets), output

        step = grad_and_value(measure, has_aux=True)
        inputs, one = _along(lot.inputs)
        targets, two = _along(lot.targets)
        mapped: Any = vmap(step, in_dims=(0, 0, one, two), randomness="error")
        with self._watched(lot.inputs[0], training=True):
            gradients, (losses, outputs) = mapped(lot.weights, lot.held, inputs, targets)
        return Found(losses.detach(), outputs, [gradients[name] for name in lot.weights])

    def _outputs(self, lot: Lot) -> Any:
        inputs, one = _along(lot.inputs)
        mapped: Any = vmap(self._call, in_dims=(0, 0, one), randomness="error")
        with self._watched(lot.inputs[0], training=False):
            return mapped(lot.weights, lot.held, inputs)

    def _call(self, weights: dict[str, Tensor], held: dict[str, Tensor], inputs: Any) -> Any:
        with self._autocast():
            output = functional_call(self._module, {**weights, **held}, (inputs,))
        return self._in_float32(output)


def _along(values: list[Any]) -> tuple[Any, int | None]:
    """Return what all lanes share and None, or the values stacked and the axis 0."""
    if all_same(values):
        return values[0], None
    return torch.stack(values), 0
