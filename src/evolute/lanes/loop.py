"""The loop: one plain module per lane, forward and backward in turn, activations kept hot.

It serves every module, and tasks that measure in a way of their own. Measured on two cores (Zen 4):
for networks on images of 32×32 pixels it beats grouped convolution and vmap, since the activations
of many lanes leave the cache; channels_last is 1.1 to 1.2 times faster for convolutions.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from evolute.errors import TaskError
from evolute.lanes.base import Batch, LaneMeasurement, LaneNetwork, Noise
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.means import Means
from evolute.lanes.noise import same_draws, seeded_device, shared_draws, way_back
from evolute.lanes.turns import Turns, are_apart, by_place

_EVERY_STEP = (
    "lanes need every weight at every step; freeze it (requires_grad_(False)), use it, or train "
    "one model at a time (--plan plain)"
)


class LoopNetwork(LaneNetwork):
    """One plain module per slot, whose weights lie in the stacked tensors.

    Parameters
    ----------
    template, size, device, precision, without
        As in :class:`~evolute.lanes.base.LaneNetwork`.
    channels_last
        Whether images [N, C, H, W] are laid out with channels last in memory.
    """

    plan = "loop"

    def __init__(
        self,
        template: nn.Module,
        size: int,
        *,
        device: torch.device | str = "cpu",
        precision: str = "float32",
        without: frozenset[str] = frozenset(),
        channels_last: bool = False,
    ) -> None:
        super().__init__(template, size, device=device, precision=precision, without=without)
        self._channels_last = channels_last
        self._turns = Turns()
        self._modules: list[nn.Module] = []
        for slot in range(size):
            self._modules.append(copy.deepcopy(template).to(self.device))
            self._bind(slot)

    def _bind(self, slot: int) -> None:
        """Let a slot's module use the stacked weights."""
        own = dict(self._modules[slot].named_parameters())
        for name, stacked in zip(self.names, self.weights, strict=True):
            own[name].data = stacked[slot]
            own[name].grad = None

    def put(self, slot: int, model: nn.Module) -> None:
        super().put(slot, model)
        self._modules[slot] = model.to(self.device)
        self._bind(slot)

    def module(self, slot: int) -> nn.Module:
        return self._modules[slot]

    def resize(self, size: int, *, keep: Sequence[int]) -> None:
        kept = [self._modules[slot] for slot in keep]
        spare = [each for slot, each in enumerate(self._modules) if slot not in set(keep)]
        super().resize(size, keep=keep)
        while len(kept) < size:
            kept.append(spare.pop() if spare else copy.deepcopy(self._modules[0]))
            kept[-1].zero_grad(set_to_none=True)
        self._modules = kept
        for slot in range(size):
            self._bind(slot)

    def finite(self, slots: Sequence[int]) -> list[bool]:
        return [
            all(
                bool(torch.isfinite(tensor).all())
                for tensor in (*self._modules[slot].parameters(), *self._modules[slot].buffers())
            )
            for slot in slots
        ]

    def train_step(
        self,
        batches: Sequence[Batch],
        slots: Sequence[int],
        criterion: LaneCriterion,
        noise: Sequence[Noise] | None = None,
    ) -> LaneMeasurement:
        losses: list[Tensor] = [torch.empty(0)] * len(slots)
        metrics: list[float | None] = [None] * len(slots)
        laid = self._laid_out(batches)
        if noise is not None and are_apart(noise, self.device):
            with self._turns.over():
                for place in by_place(noise):
                    with self._turns.of(noise[place]):
                        losses[place], metrics[place] = self._step(
                            slots[place], laid[place], criterion
                        )
            return LaneMeasurement(torch.stack(losses), _tensor_of(metrics))
        for stream, places in shared_draws(noise, len(slots)):
            with same_draws(stream, self.device) as back:
                for place in places:
                    if noise is not None:
                        back()
                    losses[place], metrics[place] = self._step(slots[place], laid[place], criterion)
        return LaneMeasurement(torch.stack(losses), _tensor_of(metrics))

    def _step(
        self, slot: int, batch: Batch, criterion: LaneCriterion
    ) -> tuple[Tensor, float | None]:
        module = self._modules[slot]
        module.train()
        loss, metric = self._measure(module, batch, criterion)
        own = dict(module.named_parameters())
        for weight in own.values():
            weight.grad = None
        loss.backward()
        for name, gradients in zip(self.names, self.gradients, strict=True):
            found = own[name].grad
            if found is None:
                raise TaskError(
                    f"the weight {name!r} had a gradient on the first step and has none now: "
                    f"{_EVERY_STEP}"
                )
            gradients[slot].copy_(found)
        self._require_held(own)
        return loss.detach(), metric

    def _require_held(self, own: Mapping[str, nn.Parameter]) -> None:
        """Refuse a gradient of a weight that had none on the first step, and is not trained."""
        for name in sorted(own.keys() - set(self.names)):
            if own[name].grad is not None:
                raise TaskError(
                    f"the weight {name!r} had no gradient on the first step and has one now: "
                    f"{_EVERY_STEP}"
                )

    def _measure(
        self, module: nn.Module, batch: Batch, criterion: LaneCriterion
    ) -> tuple[Tensor, float | None]:
        bf16 = self.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            if criterion.measure is not None:
                measured = criterion.measure(module, batch)
                return measured.loss, measured.metric
            inputs, targets = batch
            output = module(inputs)
            loss = criterion.loss(output, targets)
        if criterion.metric is None:
            return loss, None
        with torch.no_grad():
            return loss, float(criterion.metric(output, targets))

    def evaluate(
        self, batches: Iterable[Batch], slots: Sequence[int], criterion: LaneCriterion
    ) -> list[tuple[float, float | None]]:
        means = [Means() for _ in slots]
        modules = [self._modules[slot].eval() for slot in slots]
        with torch.no_grad(), seeded_device(self.device):
            for batch in batches:  # one at a time: a split may be larger than the memory
                (laid,) = self._laid_out([batch])
                back = way_back(self.device)
                for mean, module in zip(means, modules, strict=True):
                    back()  # what a lane draws does not depend on the lanes before it
                    loss, metric = self._measure(module, laid, criterion)
                    mean.add(loss.item(), metric, batch)
        for module in modules:
            module.train()
        return [mean.result() for mean in means]

    def _laid_out(self, batches: Sequence[Batch]) -> list[Batch]:
        """Return the batches on the device and in the layout of this plan, each object once."""
        done: dict[int, Any] = {}

        def laid(given: Any) -> Any:
            if not isinstance(given, Tensor):
                return given
            if id(given) not in done:
                moved = given.to(self.device)
                images = self._channels_last and given.ndim == 4 and given.is_floating_point()
                done[id(given)] = (
                    moved.contiguous(memory_format=torch.channels_last) if images else moved
                )
            return done[id(given)]

        return [(laid(inputs), laid(targets)) for inputs, targets in batches]


def _tensor_of(metrics: list[float | None]) -> Tensor | None:
    known = [metric for metric in metrics if metric is not None]
    return torch.tensor(known) if len(known) == len(metrics) else None
