"""Property: each kind of layer is run with the same bits in any company, or its plan is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lanes.networks import CLASSES
from torch import Tensor, nn

from evolute.errors import InputError
from evolute.lanes.check import check_against_plain, subject_of
from evolute.lanes.choose import Choice, choose
from evolute.lanes.stacked.network import StackedNetwork
from evolute.seeds.streams import Stream

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Linear(9, 7), nn.Linear(7, 9)),
    "linear without bias": lambda: nn.Linear(9, 9, bias=False),
    "batch norm": lambda: nn.BatchNorm1d(9),
    "batch norm without weights": lambda: nn.BatchNorm1d(9, affine=False),
    "layer norm": lambda: nn.LayerNorm(9),
    "layer norm without bias": lambda: nn.LayerNorm(9, bias=False),
    "root mean square norm": lambda: nn.RMSNorm(9, eps=1e-5),
    "slopes": lambda: nn.PReLU(9),
    "one slope": nn.PReLU,
    "norms of weights": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(9, 9)),
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
    "transposed convolution of lines": lambda: nn.ConvTranspose1d(3, 2, 3, stride=2),
    "instance norm of lines": lambda: nn.InstanceNorm1d(3, affine=True),
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
    "largest of parts": lambda: nn.AdaptiveMaxPool2d(2),
    "transposed convolution": lambda: nn.ConvTranspose2d(3, 4, 2, stride=2, output_padding=1),
    "instance norm": lambda: nn.InstanceNorm2d(3),
    "slopes of channels": lambda: nn.PReLU(3),
    "rectified in place": lambda: nn.ReLU(inplace=True),
    "leaky in place": lambda: nn.LeakyReLU(0.1, True),
    "enlarged": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "pixels from channels": lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.PixelShuffle(2)),
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


SERVED_BY_ALL = {
    "root mean square norm", "slopes", "one slope", "norms of weights", "instance norm",
    "transposed convolution", "rectified in place", "leaky in place", "enlarged",
    "pixels from channels", "largest of parts",
}  # fmt: skip
"""Kinds that a batched plan serves on any processor: what they compute is as the plain module."""


@pytest.mark.parametrize(
    ("build", "shape"),
    [kind[1:] for kind in KINDS if kind[0] in SERVED_BY_ALL],
    ids=[kind[0] for kind in KINDS if kind[0] in SERVED_BY_ALL],
)
def test_a_layer_equals_the_plain_module(
    build: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(5, *shape, generator=generator)
    model = build()
    model.eval()(inputs)
    batches = [(inputs, torch.randint(3, (5,), generator=generator)) for _ in range(2)]
    subject = subject_of(
        lambda: copy.deepcopy(model), batches[0], criterion=CLASSES, precision="float32",
        device="cpu",
    )  # fmt: skip
    check_against_plain(lambda size: StackedNetwork(model, size), subject)


class Padded(nn.Module):
    """Texts of which one word stands for nothing."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(6, 4, padding_idx=padding), nn.Linear(4, 3)

    def forward(self, text: Tensor) -> Tensor:
        return self.head(self.words(text).tanh().mean(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("padding", [2, -1])
def test_a_word_of_padding_learns_nothing(padding: int) -> None:
    models = [Padded(padding) for _ in range(3)]
    network = StackedNetwork(models[0], 3)
    for slot, model in enumerate(models):
        network.put(slot, copy.deepcopy(model))
    generator = torch.Generator().manual_seed(0)
    batch = torch.randint(6, (8, 5), generator=generator), torch.randint(3, (8,))
    network.train_step([batch] * 3, [0, 1, 2], CLASSES)
    for slot, model in enumerate(models):
        CLASSES.loss(model(batch[0]), batch[1]).backward()
        wanted = model.words.weight.grad
        assert wanted is not None
        assert not wanted[padding].any()
        torch.testing.assert_close(network.gradients[0][slot], wanted)


@pytest.mark.parametrize("word", [6, -1])
def test_a_word_that_there_is_not_is_no_other_lanes(word: int) -> None:
    network = StackedNetwork(Padded(2), 3)
    text = torch.zeros(4, 5, dtype=torch.int64)
    text[1, 2] = word
    with pytest.raises(IndexError, match="none of its 6 words"):
        network.train_step([(text, torch.zeros(4, dtype=torch.int64))] * 3, [0, 1, 2], CLASSES)
