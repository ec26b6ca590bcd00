"""A chain on images, one native call for a convolutional network, equals the plain module."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lanes.networks import CLASSES
from torch import Tensor, nn
from torch.nn import functional

from evolute.lanes.base import LaneMeasurement
from evolute.lanes.image_chains import LaneImageChain
from evolute.lanes.native_layers import layers
from evolute.lanes.stacked.image_chain import lowered_images
from evolute.lanes.stacked.network import StackedNetwork
from evolute.lanes.stacked.trace import trace
from evolute.seeds.streams import Stream
from evolute.tasks.networks import published_convnet, residual_network

pytestmark = pytest.mark.skipif(
    layers() is None and not os.environ.get("CI"),
    reason="the native layers are not built (no CMake or compiler when this was installed)",
)

Build = Callable[[], nn.Module]


class Bare(nn.Module):
    """Biases, activations without normalisation, in place too, a mean of few pixels, two masks."""

    def __init__(self, *, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 7, (2, 3), stride=(2, 1), padding=(0, 2)),
            nn.SiLU(),
        )
        self.norm = nn.BatchNorm2d(7, track_running_stats=False)
        self.head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(7 * 10, 20), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(20, 10, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Any:
        x = self.norm(self.body(x))
        return self.head(x.view(x.shape[0], -1))


class Branches(nn.Module):
    """Values that several layers read: sums of a sum, an input that is added, means that are."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))
        self.third = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.pool, self.left, self.right = (
            nn.AdaptiveAvgPool2d(1),
            nn.Linear(3, 10),
            nn.Linear(3, 10),
        )

    def forward(self, x: Tensor) -> Any:
        y = x + self.first(x)
        z = functional.silu(self.second(y) + y)
        w = self.norm(self.third(z)) + z + y
        left = self.left(self.pool(functional.relu(w)).flatten(1))
        return left + self.right(self.pool(self.norm_of(w)).flatten(1))

    def norm_of(self, w: Tensor) -> Tensor:
        return functional.relu(w + functional.silu(w))


def drawn(*shape: int, classes: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    if classes:
        return torch.randint(classes, shape, generator=generator)
    return torch.randn(*shape, generator=generator)


def batch_of(*shape: int) -> tuple[Tensor, Tensor]:
    return drawn(*shape), drawn(shape[0], classes=10)


convnet = partial(published_convnet, classes=10)
NETWORKS: dict[str, tuple[Build, tuple[Tensor, Tensor]]] = {
    "published": (partial(convnet, channels=1, width=8, dropout=0.0), batch_of(64, 1, 8, 8)),
    "odd sizes": (partial(convnet, channels=3, width=5, dropout=0.0), batch_of(37, 3, 11, 6)),
    "residual": (partial(residual_network, channels=3, classes=10, width=4), batch_of(9, 3, 8, 8)),
    "bare": (partial(Bare, dropout=0.0), batch_of(33, 3, 6, 5)),
    "branches": (Branches, batch_of(21, 3, 5, 4)),
}


def models_of(build: Build, count: int) -> list[nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return [build() for _ in range(count)]


def network_of(models: list[nn.Module], together: int = 64) -> StackedNetwork:
    network = StackedNetwork(models[0], len(models), together=together)
    for slot, model in enumerate(models):
        network.put(slot, copy.deepcopy(model))
    return network


def is_chained(network: StackedNetwork) -> bool:
    chains = network._chains.values()
    return bool(chains) and all(isinstance(each, LaneImageChain) for each in chains)


def near(found: Tensor, wanted: Tensor, *, beside: float = 0.0) -> bool:
    """Say whether two tensors are equal to rounding; beside numbers of this size, if both are 0."""
    return bool(
        (found.double() - wanted.double()).norm() <= 1e-5 * (wanted.double().norm() + beside)
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_loss_metric_gradients_and_buffers_equal_the_plain_modules_in_double(name: str) -> None:
    build, (inputs, targets) = NETWORKS[name]
    models = models_of(build, 3)
    network = network_of(models)
    for gradient in network.gradients:
        gradient.fill_(float("nan"))
    found = network.train_step([(inputs, targets)] * 2, [2, 0], CLASSES)
    assert is_chained(network)
    assert found.metrics is not None
    for place, slot in enumerate((2, 0)):
        model = copy.deepcopy(models[slot]).double().train()
        scores = model(inputs.double())
        loss = CLASSES.loss(scores, targets)
        right = (scores.argmax(1) == targets).double().mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        assert near(found.losses[place], loss.detach())
        assert near(found.metrics[place], right)
        pairs = zip(network.names, network.gradients, gradients, strict=True)
        assert [n for n, own, wanted in pairs if not near(own[slot], wanted, beside=0.01)] == []
        state = network.take(slot)
        assert all(near(state[key], value.detach()) for key, value in model.named_buffers())
    assert all(gradient[1].isnan().all() for gradient in network.gradients)


@pytest.mark.parametrize("together", [1, 64])
def test_masks_are_what_the_plain_module_draws(together: int) -> None:
    inputs, targets = NETWORKS["bare"][1]
    models = models_of(partial(Bare, dropout=0.5), 1) * 3
    network = network_of(models, together)
    streams, own = [Stream(1), Stream(2)], [Stream(1), Stream(2)]
    for _ in range(2):
        noise = [streams[0], streams[1], streams[0]]
        found = network.train_step([(inputs, targets)] * 3, range(3), CLASSES, noise)
        wanted = []
        for stream in own:
            with stream.active():
                wanted.append(CLASSES.loss(models[0].train()(inputs), targets).detach())
        torch.testing.assert_close(found.losses, torch.stack([*wanted, wanted[0]]))
    assert is_chained(network)


def step_bits(
    network: StackedNetwork, slots: list[int], batches: list[Any], seeds: list[int]
) -> dict[int, list[bytes]]:
    noise = [Stream(seed) for seed in seeds]
    found = network.train_step(batches, slots, CLASSES, noise)
    assert is_chained(network)
    return {
        slot: [
            each.contiguous().numpy().tobytes()
            for each in (
                *(gradient[slot] for gradient in network.gradients),
                *(held[slot] for held in network.state.held.values()),
                found.losses[place],
            )
        ]
        for place, slot in enumerate(slots)
    }


@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_lane_has_the_same_bits_in_any_company_and_order(data: st.DataObject) -> None:
    build = partial(published_convnet, channels=1, classes=10, width=3)
    models = models_of(build, 4)
    examples = data.draw(st.sampled_from([5, 16, 40]))
    kinds = [batch_of(examples, 1, 6, 6), batch_of(examples + 1, 1, 6, 6), batch_of(7, 1, 5, 5)]
    of_lane = data.draw(st.lists(st.integers(0, 2), min_size=4, max_size=4))
    slots = data.draw(st.permutations(range(4)))
    together = data.draw(st.sampled_from([1, 4, 64]))
    batches = [kinds[of_lane[slot]] for slot in slots]
    whole = step_bits(network_of(models, together), slots, batches, slots)
    for slot in slots:
        alone = step_bits(network_of(models), [slot], [kinds[of_lane[slot]]], [slot])
        assert alone[slot] == whole[slot]


class Twice(nn.Module):
    """One convolution that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 3, 1), nn.Linear(3 * 16, 10)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.convolution(self.convolution(x)).flatten(1))


class Overwritten(nn.Module):
    """A value that is read after it was written over."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 3, 1), nn.Linear(3 * 16, 10)

    def forward(self, x: Tensor) -> Any:
        y = self.convolution(x)
        z = functional.relu(y, inplace=True)
        return self.head((y + z).flatten(1))


def frozen() -> nn.Module:
    model = published_convnet(channels=3, classes=10, width=2, dropout=0.0)
    next(model.parameters()).requires_grad_(False)
    return model


def whole_masks() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 4, 10))


UNKNOWN: dict[str, Build] = {
    "a weight used twice": Twice,
    "a frozen weight": frozen,
    "masks of images": whole_masks,
    "groups": lambda: nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Flatten(), nn.Linear(12, 10)),
    "a mean of the input": lambda: nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10)
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_chains_do_not_know_is_left_to_the_table_and_right(name: str) -> None:
    (model,) = models_of(UNKNOWN[name], 1)
    inputs, targets = batch_of(6, 3, 4, 4)
    network = network_of([model])
    stream, own = Stream(1), Stream(1)
    found: LaneMeasurement = network.train_step([(inputs, targets)], [0], CLASSES, [stream])
    assert not is_chained(network)
    with own.active():
        wanted = CLASSES.loss(model.train()(inputs), targets).detach()
    torch.testing.assert_close(found.losses[0], wanted)


def test_a_value_that_is_read_after_it_was_written_over_is_no_value_of_a_chain() -> None:
    (model,) = models_of(Overwritten, 1)
    inputs, _ = batch_of(6, 3, 4, 4)
    tensors = {name: each.detach()[None] for name, each in model.named_parameters()}
    found = trace(model, inputs)
    form = lowered_images(found, inputs, tensors=tensors, trained=frozenset(tensors))
    assert form is None


def test_lanes_of_a_chain_share_the_memory_of_images() -> None:
    build, (inputs, targets) = NETWORKS["published"]
    sizes = []
    for count in (1, 8):
        network = network_of(models_of(build, count))
        network.train_step([(inputs, targets)] * count, range(count), CLASSES)
        (chain,) = network._chains.values()
        assert isinstance(chain, LaneImageChain)
        sizes.append(chain._scratch.numel())
    images = 64 * (1 * 64 + 2 * (8 * 64 + 16 * 16 + 32 * 4))  # all that forward makes
    assert sizes[0] == sizes[1] < 1.2 * images


def test_a_target_that_is_no_class_is_told() -> None:
    build, (inputs, targets) = NETWORKS["published"]
    network = network_of(models_of(build, 1))
    with pytest.raises(IndexError, match="no class"):
        network.train_step([(inputs, targets + 10)], [0], CLASSES)
