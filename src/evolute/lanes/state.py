"""The weights, gradients and buffers of L copies of a module, each stacked along a first axis."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from evolute.errors import TaskError


class LaneState:
    """What L copies of a module hold.

    Parameters
    ----------
    template
        A module of the kind that the slots hold; not changed.
    size
        L.
    device
        Where the tensors live.
    without
        Names of weights that never get a gradient: held, not trained.

    Attributes
    ----------
    names
        Names of the trained weights.
    weights, gradients
        [L, *shape] each, contiguous.
    held
        Frozen weights and buffers by name, [L, *shape] each.
    """

    def __init__(
        self,
        template: nn.Module,
        size: int,
        device: torch.device,
        *,
        without: frozenset[str] = frozenset(),
    ) -> None:
        self.size = size
        self.device = device
        self._scratch = copy.deepcopy(template).to(device)
        parameters = dict(self._scratch.named_parameters())
        self.names = tuple(
            name for name, each in parameters.items() if each.requires_grad and name not in without
        )
        self._held_names = tuple(
            name for name, _ in _tensors(self._scratch) if name not in set(self.names)
        )
        tensors = dict(_tensors(self._scratch))
        self.weights = tuple(self._stacked(tensors[name]) for name in self.names)
        self.gradients = tuple(torch.zeros_like(weight) for weight in self.weights)
        self.held = {name: self._stacked(tensors[name]) for name in self._held_names}

    def _stacked(self, tensor: Tensor) -> Tensor:
        return torch.zeros((self.size, *tensor.shape), dtype=tensor.dtype, device=self.device)

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Yield name and stacked tensor of all weights and buffers."""
        yield from zip(self.names, self.weights, strict=True)
        yield from self.held.items()

    def put(self, slot: int, model: nn.Module) -> None:
        """Copy the weights and buffers of a plain model into a slot; its gradients become 0.

        Raises
        ------
        TaskError
            If names, shapes or types are others than the template's.
        """
        given = dict(_tensors(model))
        for name, stacked in self.named():
            tensor = given.get(name)
            if tensor is None or tensor.shape != stacked.shape[1:] or tensor.dtype != stacked.dtype:
                found = "nothing" if tensor is None else f"{tuple(tensor.shape)} {tensor.dtype}"
                raise TaskError(
                    f"the model has {found} as {name!r} where another had "
                    f"{tuple(stacked.shape[1:])} {stacked.dtype}: model= must always return the "
                    "same kind of network"
                )
            stacked[slot].copy_(tensor.detach())
        for gradient in self.gradients:
            gradient[slot].zero_()

    def module(self, slot: int) -> nn.Module:
        """Return the scratch module, holding copies of a slot's tensors."""
        own = dict(_tensors(self._scratch))
        with torch.no_grad():
            for name, stacked in self.named():
                own[name].copy_(stacked[slot])
        return self._scratch

    def resize(self, size: int, *, keep: Sequence[int]) -> None:
        """Change the number of slots; the slots ``keep`` move to the front."""
        index = torch.tensor(list(keep), dtype=torch.int64, device=self.device)

        def moved(stacked: Tensor) -> Tensor:
            grown = torch.zeros((size, *stacked.shape[1:]), dtype=stacked.dtype, device=self.device)
            grown[: len(keep)] = stacked[index]
            return grown

        self.weights = tuple(map(moved, self.weights))
        self.gradients = tuple(map(moved, self.gradients))
        self.held = {name: moved(stacked) for name, stacked in self.held.items()}
        self.size = size

    def finite(self, slots: Sequence[int]) -> list[bool]:
        """Say for each of these slots whether all its tensors are finite."""
        index = torch.tensor(list(slots), dtype=torch.int64, device=self.device)
        good = torch.ones(len(slots), dtype=torch.bool, device=self.device)
        for _, stacked in self.named():
            if stacked.is_floating_point() or stacked.is_complex():
                good &= torch.isfinite(stacked[index]).unsqueeze(-1).flatten(1).all(dim=1)
        return good.tolist()


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()
