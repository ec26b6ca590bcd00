"""LaneNetwork: L slots, each a copy of one module, stepped together.

Guarantees of every plan
------------------------
* On the CPU a lane's losses, gradients and buffers are bit-identical whichever lanes share the
  step, in whatever slot, at whatever size; :mod:`evolute.lanes.choose` does not offer a plan that
  breaks this for a network.
* A lane draws its noise (dropout) from its own stream, as the plain module would.
* The tensors in ``weights`` and ``gradients`` stay where they are until :meth:`LaneNetwork.resize`.
* Not thread-safe; nothing of the global generators is left changed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.state import LaneState

Batch = tuple[Any, Any]
"""(inputs, targets)."""


class Noise(Protocol):
    """A stream of the global generators, drawn from in turns with other code."""

    def active(self) -> AbstractContextManager[None]:
        """Let the code inside draw from this stream, which goes on where it last stopped."""
        ...


class CannotStackError(Exception):
    """A network cannot be served by a plan; the message is the reason, in words."""


@dataclass(frozen=True, slots=True)
class LaneMeasurement:
    """What some lanes did on one batch each.

    Parameters
    ----------
    losses
        Shape [l], one per lane asked for, in their order.
    metrics
        Shape [l]; None where the task has no metric.
    """

    losses: Tensor
    metrics: Tensor | None


class LaneNetwork(ABC):
    """L slots, each a copy of one module; see the guarantees in the module's docstring.

    Parameters
    ----------
    template
        A model of the kind that will be put into the slots; it is not changed.
    size
        L, the number of slots.
    device
        Where the copies live.
    precision
        ``"float32"``, or ``"bf16"`` for autocast to bfloat16.
    without
        Names of weights that never get a gradient: held, not trained.
    """

    plan: str
    """Name of the plan."""

    def __init__(
        self,
        template: nn.Module,
        size: int,
        *,
        device: torch.device | str = "cpu",
        precision: str = "float32",
        without: frozenset[str] = frozenset(),
    ) -> None:
        self.device = torch.device(device)
        self.precision = precision
        self.state = LaneState(template, size, self.device, without=without)

    @property
    def size(self) -> int:
        """Number of slots."""
        return self.state.size

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the weights that are trained, as ``named_parameters`` gives them."""
        return self.state.names

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """The weights of all slots, each [L, *shape], contiguous, in the order of ``names``."""
        return self.state.weights

    @property
    def gradients(self) -> tuple[Tensor, ...]:
        """The gradients of all slots, in the order and the shapes of ``weights``."""
        return self.state.gradients

    def put(self, slot: int, model: nn.Module) -> None:
        """Begin a slot anew with the weights and buffers of a plain model, which is given away.

        Raises
        ------
        TaskError
            If it is not the same kind of model as the template.
        """
        self.state.put(slot, model)

    def take(self, slot: int) -> dict[str, Any]:
        """Return a copy of a slot's ``state_dict``."""
        return {
            key: value.clone() if isinstance(value, Tensor) else value
            for key, value in self.module(slot).state_dict().items()
        }

    def module(self, slot: int) -> nn.Module:
        """Return a plain module with the weights and buffers of a slot, good until the next call.

        It is for reading and measuring; what is written into it may or may not reach the slot.
        """
        return self.state.module(slot)

    def resize(self, size: int, *, keep: Sequence[int]) -> None:
        """Change the number of slots; the slots ``keep`` move to 0 … len(keep) − 1.

        Tensors handed out before are no longer used.
        """
        self.state.resize(size, keep=keep)

    def finite(self, slots: Sequence[int]) -> list[bool]:
        """Say for each of these slots whether all its weights and buffers are finite."""
        return self.state.finite(slots)

    @abstractmethod
    def train_step(
        self,
        batches: Sequence[Batch],
        slots: Sequence[int],
        criterion: LaneCriterion,
        noise: Sequence[Noise] | None = None,
    ) -> LaneMeasurement:
        """Run forward and backward in training mode; fill the gradients of these slots only.

        Parameters
        ----------
        batches
            ``batches[i]`` belongs to ``slots[i]``. Lanes that share a batch are given the same
            tensor objects; then nothing is copied.
        slots
            Which slots take part, each at most once, in any order.
        criterion
            Loss and metric.
        noise
            ``noise[i]`` is what ``slots[i]`` draws from. Lanes given the same object see the same
            draws, and the stream goes on once. None where the model draws nothing.
        """

    @abstractmethod
    def evaluate(
        self, batches: Iterable[Batch], slots: Sequence[int], criterion: LaneCriterion
    ) -> list[tuple[float, float | None]]:
        """Return (loss, metric) of each slot over these batches, in evaluation mode.

        Both are means over the examples, counted by the first dimension of the targets.
        """
