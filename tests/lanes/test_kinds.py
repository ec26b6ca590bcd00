"""Property: each kind of layer is run with the same bits in any company, or its plan is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lanes.networks import CLASSES
from torch import nn

from evolute.errors import InputError
from evolute.lanes.choose import Choice, choose
from evolute.seeds.streams import Stream

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Linear(9, 7), nn.Linear(7, 9)),
    "linear without bias": lambda: nn.Linear(9, 9, bias=False),
    "batch norm": lambda: nn.BatchNorm1d(9),
    "batch norm without weights": lambda: nn.BatchNorm1d(9, affine=False),
    "layer norm": lambda: nn.LayerNorm(9),
    "layer norm without bias": lambda: nn.LayerNorm(9, bias=False),
    "dropout": lambda: nn.Dropout(0.3),
    **{
        each.__name__.lower(): each
        for each in (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.Mish, nn.Softplus)
    },
}
LINES: dict[str, Callable[[], nn.Module]] = {
    "convolution of lines": lambda: nn.Conv1d(3, 4, 3, padding=1),
    "max pooling of lines": lambda: nn.MaxPool1d(2),
    "average pooling of lines": lambda: nn.AvgPool1d(2),
}
IMAGES: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Conv2d(3, 5, 3, stride=2, padding=1),
    "grouped convolution": lambda: nn.Conv2d(3, 6, 3, groups=3),
    "dilated convolution": lambda: nn.Conv2d(3, 4, 2, dilation=2),
    "batch norm of images": lambda: nn.BatchNorm2d(3),
    "batch norm of images without weights": lambda: nn.BatchNorm2d(3, affine=False),
    "group norm": lambda: nn.GroupNorm(3, 3),
    "max pooling": lambda: nn.MaxPool2d(2),
    "average pooling": lambda: nn.AvgPool2d(2),
    "adaptive pooling": lambda: nn.AdaptiveAvgPool2d(1),
    "padding": lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
}


def _vectors(layer: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(6, 9), layer(), nn.Linear(9, 3))


def _lines(layer: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Conv1d(2, 3, 3), layer(), nn.Flatten(), nn.LazyLinear(3))


def _images(layer: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Conv2d(1, 3, 3), layer(), nn.Flatten(), nn.LazyLinear(3))


KINDS = [
    *((name, _vectors(layer), (6,)) for name, layer in LAYERS.items()),
    *((name, _lines(layer), (2, 8)) for name, layer in LINES.items()),
    *((name, _images(layer), (1, 7, 7)) for name, layer in IMAGES.items()),
]


@pytest.mark.parametrize(
    ("build", "shape"), [kind[1:] for kind in KINDS], ids=[k[0] for k in KINDS]
)
def test_a_layer_has_the_same_bits_in_any_company_or_is_refused(
    build: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(5, *shape, generator=generator)
    batch = inputs, torch.randint(3, (5,), generator=generator)

    def made() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = build()
            model.eval()(inputs)  # gives lazy weights their shape
        return model.train()

    try:
        choice = choose(
            made, batch, CLASSES, name="kind", version="1", plan="stacked", remembering=False
        )
    except InputError:
        return
    first = _first_lane(choice, made, batch, 1)
    for size in (2, 3, 4, 7, 16):
        assert _first_lane(choice, made, batch, size) == first


def _first_lane(
    choice: Choice, made: Callable[[], nn.Module], batch: Any, size: int
) -> tuple[bytes, ...]:
    """Return what lane 0 does in a step beside ``size`` − 1 others."""
    network = choice.make(size)
    for slot in range(size):
        network.put(slot, made())
    for weight in network.weights:
        weight[1:] *= 1.5
    noise = [Stream(slot) for slot in range(size)]
    losses = network.train_step([batch] * size, range(size), CLASSES, noise).losses
    tensors = [losses[0], *(gradient[0] for gradient in network.gradients)]
    return tuple(each.detach().numpy().tobytes() for each in tensors)
