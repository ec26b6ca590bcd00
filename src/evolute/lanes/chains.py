"""Chains: a whole network of known layers, forward, cross-entropy and backward, in one native call.

``native/core/layers_chain.cpp`` runs one lane after the other, some examples at a time, and writes
the gradients where they belong: no graph, no Python between the layers, and activations that stay
in the cache.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from evolute.lanes.native_layers import Chain, Held, Operation, Value, layers
from evolute.lanes.places import Form, Layer, Places, placed

KINDS = {"embed": 0, "take": 1, "add": 2, "norm": 3, "linear": 4, "gelu": 5, "attend": 6}
"""Numbers of the layers, as in ``layers_chain.cpp``."""

ROWS = 256
"""Rows of a matrix that are computed together (measured: best of 64 to 2048 for width 64)."""


class LaneChain:
    """A chain, bound to the weights of a network's slots.

    Parameters
    ----------
    form
        The layers.
    tensors
        Weights and buffers by name, [L, *shape], contiguous; they stay where they are.
    gradients
        Gradients of those that are trained, likewise.

    Raises
    ------
    NoPlacesError
        If its gradients would run in ways that are not known here.
    """

    def __init__(
        self, form: Form, tensors: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
    ) -> None:
        self._form = form
        self._block = max(1, min(form.examples, ROWS // form.places))
        places = placed(form, self._block)
        self._scratch = torch.empty(places.size + 16)
        names = dict.fromkeys(
            name for each in form.layers for name in (each.weight, each.bias, each.index) if name
        )
        self._tensors = {name: (tensors[name], gradients.get(name)) for name in names}
        held = [_held(*each) for each in self._tensors.values()]
        order = {name: at for at, name in enumerate(names)}
        operations = [_operation(layer, order, places, at) for at, layer in enumerate(form.layers)]
        values = [
            Value(each.width, each.shared, places.matrices[at], places.slopes[at])
            for at, each in enumerate(form.matrices)
        ]
        self._held = (Held * len(held))(*held)
        self._operations = (Operation * len(operations))(*operations)
        self._values = (Value * len(values))(*values)

    def serves(self, targets: Tensor) -> bool:
        """Say whether targets are classes, one for each row of scores."""
        form = self._form
        shape = (form.examples,) if form.flat else (form.examples, form.places)
        return targets.dtype == torch.int64 and tuple(targets.shape) == shape

    def run(
        self,
        batches: Sequence[tuple[Tensor, Tensor]],
        slots: Sequence[int],
        *,
        ignored: int,
        noise: Sequence[Any] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Fill the gradients of these slots; return losses and shares of right answers, [l] each.

        Parameters
        ----------
        batches
            Inputs and targets of each lane; the same object where lanes share it.
        slots
            Of each lane.
        ignored
            The class that is left out of the mean.
        noise
            Not read: chains draw nothing.

        Raises
        ------
        IndexError
            If a target is no class, or an index out of range.
        """
        del noise
        form, count = self._form, len(slots)
        losses, right = torch.empty(count), torch.empty(count)
        classes = form.matrices[form.output].width
        scratch = -(-self._scratch.data_ptr() // 64) * 64
        addresses = ctypes.c_void_p * count
        places = (ctypes.c_int64 * count)(*slots)
        laid = {
            key: _contiguous(each) for key, each in {id(each): each for each in batches}.items()
        }
        pointers = {key: (each[0].data_ptr(), each[1].data_ptr()) for key, each in laid.items()}
        each_lane = zip(*[pointers[id(each)] for each in batches], strict=True)
        lanes = [addresses(*some) for some in each_lane]
        tables: list[ctypes.Array[Any]] = [
            self._operations, self._values, self._held, places, *lanes,
        ]  # fmt: skip
        work = Chain(
            count, form.examples, form.places, classes, ignored, self._block,
            len(self._operations), len(self._held), form.output,
            *(ctypes.addressof(each) for each in tables),
            losses.data_ptr(), right.data_ptr(), scratch,
        )  # fmt: skip
        fault = layers().evolute_chain(ctypes.byref(work))  # type: ignore[union-attr]
        if fault == 1:
            raise IndexError(f"a target is no class: {classes} scores allow 0 to {classes - 1}")
        if fault:
            raise IndexError("an index of an embedding is out of range")
        return losses, right


def _contiguous(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return tensors whose numbers stand in their order."""
    return batch[0].contiguous(), batch[1].contiguous()


def _held(tensor: Tensor, gradient: Tensor | None) -> Held:
    at = None if gradient is None else gradient.data_ptr()
    return Held(tensor.data_ptr(), at, tensor[0].numel())


def _operation(layer: Layer, order: Mapping[str, int], places: Places, at: int) -> Operation:
    def three(values: Sequence[int]) -> tuple[int, ...]:
        return (*values, *[0] * (3 - len(values)))

    held = [-1 if name is None else order[name] for name in (layer.weight, layer.bias)]
    number = layer.number
    if layer.kind == "embed":
        number = -1 if layer.index is None else order[layer.index]
    return Operation(
        KINDS[layer.kind], three(layer.inputs), three(layer.columns), three(places.passes[at]),
        layer.out, *held, number, layer.causal, places.extras[at], layer.factor,
    )  # fmt: skip
