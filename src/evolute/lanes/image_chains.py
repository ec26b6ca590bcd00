"""Chains on images: a whole convolutional network, forward and backward, in one native call.

``native/core/layers_image_chain.cpp`` runs one lane after the other through all layers and back, in
the same memory: no graph, no Python between the layers, no fresh pages, and images of one lane in
the cache instead of those of many beyond it.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from evolute.lanes.image_places import ImageForm, ImageLayer, ImagePlaces, placed
from evolute.lanes.native_layers import Held, ImageChain, ImageOperation, ImageValue, layers
from evolute.lanes.noise import Draws
from evolute.lanes.stacked.functions import drawn_mask

KINDS = {
    "convolve": 0, "normalise": 1, "activate": 2, "add": 3, "average": 4, "rows": 5, "drop": 6,
    "linear": 7, "count": 8,
}  # fmt: skip
"""Numbers of the layers, as in ``layers_image_chain.h``."""


class LaneImageChain:
    """A chain on images, bound to the weights of a network's slots.

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
        self, form: ImageForm, tensors: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
    ) -> None:
        self._form = form
        places = placed(form)
        self._scratch = _memory(4 * places.size)
        self._output_slope = places.output
        names = dict.fromkeys(name for each in form.layers for name in each.held if name)
        self._tensors = {name: (tensors[name], gradients.get(name)) for name in names}
        order = {name: at for at, name in enumerate(names)}
        held = [_held(*each) for each in self._tensors.values()]
        operations = [_operation(layer, order, places, at) for at, layer in enumerate(form.layers)]
        values = [
            ImageValue(each.channels, each.height, each.width, places.values[at])
            for at, each in enumerate(form.values)
        ]
        self._held = (Held * len(held))(*held)
        self._operations = (ImageOperation * len(operations))(*operations)
        self._values = (ImageValue * len(values))(*values)

    def serves(self, targets: Tensor) -> bool:
        """Say whether targets are classes, one for each row of scores."""
        return targets.dtype == torch.int64 and tuple(targets.shape) == (self._form.examples,)

    def run(
        self,
        batches: Sequence[tuple[Tensor, Tensor]],
        slots: Sequence[int],
        *,
        ignored: int,
        noise: Sequence[Any] | None,
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
            What each lane draws its masks from; None for the global generators.

        Raises
        ------
        IndexError
            If a target is no class.
        """
        form, count = self._form, len(slots)
        losses, right = torch.empty(count), torch.empty(count)
        classes = form.values[form.output].channels
        laid = {
            id(each): (each[0].contiguous(), each[1].contiguous())
            for each in {id(each): each for each in batches}.values()
        }
        masks, kept = self._masks(noise, count)
        addresses = ctypes.c_void_p * count
        tables: list[ctypes.Array[Any]] = [
            self._operations, self._values, self._held, (ctypes.c_int64 * count)(*slots),
            addresses(*(laid[id(each)][0].data_ptr() for each in batches)),
            addresses(*(laid[id(each)][1].data_ptr() for each in batches)),
            masks,
        ]  # fmt: skip
        work = ImageChain(
            count, form.examples, classes, ignored, len(self._operations), form.output,
            self._output_slope, len(form.masks), *(ctypes.addressof(each) for each in tables),
            losses.data_ptr(), right.data_ptr(), self._scratch.data_ptr(),
        )  # fmt: skip
        fault = layers().evolute_image_chain(ctypes.byref(work))  # type: ignore[union-attr]
        del kept
        if fault:
            raise IndexError(f"a target is no class: {classes} scores allow 0 to {classes - 1}")
        return losses, right

    def _masks(
        self, noise: Sequence[Any] | None, count: int
    ) -> tuple[ctypes.Array[Any], list[Tensor]]:
        """Return the addresses of the masks, of one lane after the other, and the masks."""
        form = self._form
        draws = Draws(noise, count)
        like = {"dtype": torch.float32, "device": torch.device("cpu"), "requires_grad": True}
        found = [
            draws.draw(partial(drawn_mask, functional.dropout, p, (form.examples, features), like))
            for p, features in form.masks
        ]
        kept = [each.contiguous() for each, _ in found]
        addresses = [
            each.data_ptr() if shared else each[lane].data_ptr()
            for lane in range(count)
            for each, (_, shared) in zip(kept, found, strict=True)
        ]
        return (ctypes.c_void_p * max(1, len(addresses)))(*addresses), kept


def _memory(size: int) -> Tensor:
    """Return memory of so many bytes, in large pages where the system has them.

    A step walks through all of it, several times; with small pages the processor waits to be told
    where they lie.
    """
    flags = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)
    if not flags or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(size // 4 + 16)
    pages = mmap.mmap(-1, max(size, mmap.PAGESIZE), flags=flags)
    pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=torch.float32)


def _held(tensor: Tensor, gradient: Tensor | None) -> Held:
    at = None if gradient is None else gradient.data_ptr()
    return Held(tensor.data_ptr(), at, tensor[0].numel())


def _operation(
    layer: ImageLayer, order: Mapping[str, int], places: ImagePlaces, at: int
) -> ImageOperation:
    inputs = (*layer.inputs, *[-1] * (2 - len(layer.inputs)))
    held = [-1 if name is None else order[name] for name in layer.held]
    return ImageOperation(
        KINDS[layer.kind], inputs, layer.out, *held, layer.number, *layer.window,
        places.extras[at], places.slopes[at], places.passes[at], places.sums[at],
        int(at in places.spread), layer.epsilon, layer.momentum,
    )  # fmt: skip
