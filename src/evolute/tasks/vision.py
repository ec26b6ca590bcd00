"""Images classified from scratch: Fashion-MNIST, CIFAR-10, CIFAR-100 and TinyImageNet.

Splits, fixed: the last examples of the published training part validate (a sixth for Fashion-MNIST,
a tenth otherwise, as in the published search), the published test part tests. Images are normalised
by the mean and the standard deviation of each channel over the training split.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from evolute.tasks.augmentation import published_augmentation
from evolute.tasks.base import Task
from evolute.tasks.data import TensorData
from evolute.tasks.images import ImageSet, ImageSource, read_images
from evolute.tasks.models import ModelSource
from evolute.tasks.networks import (
    PUBLISHED_WIDTH,
    perceptron,
    published_convnet,
    residual_network,
)
from evolute.tasks.registry import TaskFacts, enter
from evolute.tasks.transformer import VisionTransformer

CONVNET_WIDTH = 8
"""B of Fashion-MNIST's ConvNet where the protocol names none: it fits two cores."""

TOKENS_PER_SIDE = 8
"""The vision transformer cuts an image into about this many patches squared."""

FASHION = ImageSource(
    "fashion-mnist", "Fashion-MNIST", 10, 1, 28, 60_000, 10_000, 6, "MIT",
    "H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST (2017)",
)  # fmt: skip
CIFAR10 = ImageSource(
    "cifar10", "CIFAR-10", 10, 3, 32, 50_000, 10_000, 10, "none stated",
    "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009)",
)  # fmt: skip
CIFAR100 = ImageSource(
    "cifar100", "CIFAR-100", 100, 3, 32, 50_000, 10_000, 10, "none stated",
    "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009)",
)  # fmt: skip
TINY_IMAGENET = ImageSource(
    "tinyimagenet", "TinyImageNet", 200, 3, 64, 100_000, 10_000, 10,
    "non-commercial research (ImageNet's terms)",
    "Stanford CS231n, Tiny ImageNet Challenge (2015); the published validation part tests",
)  # fmt: skip
SOURCES = (FASHION, CIFAR10, CIFAR100, TINY_IMAGENET)


@dataclass(frozen=True, slots=True)
class _Network:
    """A network that any of the sources can be classified with."""

    suffix: str
    describe: Callable[[ImageSource], str]
    model: Callable[[ImageSource], ModelSource]


def _width(source: ImageSource) -> int:
    return CONVNET_WIDTH if source is FASHION else PUBLISHED_WIDTH


def _convnet(source: ImageSource) -> ModelSource:
    def build(width: int = _width(source)) -> nn.Module:
        return published_convnet(channels=source.channels, classes=source.classes, width=width)

    return build


def _resnet(source: ImageSource) -> ModelSource:
    def build(width: int = 16) -> nn.Module:
        return residual_network(channels=source.channels, classes=source.classes, width=width)

    return build


def _transformer(source: ImageSource) -> ModelSource:
    return partial(
        VisionTransformer,
        channels=source.channels,
        size=source.size,
        classes=source.classes,
        patch=max(4, source.size // TOKENS_PER_SIDE),
    )


NETWORKS = (
    _Network("", lambda source: f"published ConvNet, B={_width(source)} or the protocol's width",
             _convnet),
    _Network("-resnet", lambda _: "residual network of 8 layers, 16 channels or the protocol's "
             "width", _resnet),
    _Network("-vit", lambda _: "vision transformer, 4 layers of the protocol's width or 64",
             _transformer),
)  # fmt: skip


def _facts(source: ImageSource, network: str, inputs: str) -> TaskFacts:
    validation = source.train // source.validation_share
    return TaskFacts(
        family="vision",
        examples=f"{source.train - validation:,} / {validation:,} / {source.test:,}",
        splits=f"the last {validation:,} of the published training part validate; "
        "the published test part tests",
        inputs=inputs,
        classes=str(source.classes),
        network=network,
        licence=source.licence,
        source=source.source,
        needs=f"files: evolute data fetch {source.name}",
    )


def image_task(source: ImageSource, network: str, data_dir: Path | None) -> Task:
    """Build the task of a data set and a network.

    Parameters
    ----------
    source
        The data set.
    network
        Suffix of a row of NETWORKS.
    data_dir
        The data folder given, or None.

    Raises
    ------
    TaskError
        If the data cannot be read.
    """
    images = read_images(source, data_dir)
    chosen = next(row for row in NETWORKS if row.suffix == network)
    train, validation, test = _splits(source, images)
    mean, deviation = _statistics(train[0])
    prepare = partial(_normalised, mean=mean, deviation=deviation)
    return Task(
        name=source.name + network,
        version=f"1-{images.digest}",
        model=chosen.model(source),
        train=TensorData(*train, prepare),
        validation=TensorData(*validation, prepare),
        test=TensorData(*test, prepare),
        metric="accuracy",
        augment=published_augmentation,
    )


def small_fashion(data_dir: Path | None) -> Task:
    """Build ``fashion-mnist-small``: images averaged to 14×14, perceptron 196-64-64-10 with swish.

    Raises
    ------
    TaskError
        If the data cannot be read.
    """
    images = read_images(FASHION, data_dir)
    parts = [(_pooled(pixels), labels) for pixels, labels in _splits(FASHION, images)]
    mean, deviation = parts[0][0].mean(), parts[0][0].std()
    train, validation, test = (((pixels - mean) / deviation, labels) for pixels, labels in parts)
    return Task(
        name="fashion-mnist-small",
        version=f"1-{images.digest}",
        model=lambda: perceptron([196, 64, 64, 10], activation=nn.SiLU),
        train=train,
        validation=validation,
        test=test,
        metric="accuracy",
    )


def _splits(source: ImageSource, images: ImageSet) -> list[tuple[Tensor, Tensor]]:
    pixels, labels = images.train
    last = len(labels) - len(labels) // source.validation_share
    return [(pixels[:last], labels[:last]), (pixels[last:], labels[last:]), images.test]


def _normalised(images: Tensor, *, mean: Tensor, deviation: Tensor) -> Tensor:
    return (images.to(torch.float32) / 255 - mean) / deviation


def _statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, pixels counted as 0 … 1, [1, C, 1, 1]."""
    values = torch.arange(256, dtype=torch.float64) / 255
    found = []
    for channel in range(images.shape[1]):
        share = torch.bincount(images[:, channel].flatten(), minlength=256).to(torch.float64)
        share /= share.sum()
        mean = (share * values).sum()
        found.append((mean, (share * (values - mean) ** 2).sum().sqrt().clamp_min(1e-6)))
    mean, deviation = torch.tensor(found).to(torch.float32).reshape(-1, 2, 1, 1).unbind(1)
    return mean[None], deviation[None]


def _pooled(images: Tensor) -> Tensor:
    return functional.avg_pool2d(images.to(torch.float32) / 255, 2).flatten(1)


def _enter_all() -> None:
    for source in SOURCES:
        for network in NETWORKS:
            text = network.describe(source)
            enter(
                source.name + network.suffix,
                f"{source.title}: {source.train + source.test:,} images of {source.size}×"
                f"{source.size}, {source.classes} classes; {text}",
                _facts(source, text, f"{source.channels}×{source.size}×{source.size}"),
                partial(image_task, source, network.suffix),
            )
    enter(
        "fashion-mnist-small",
        "Fashion-MNIST averaged to 14×14, 10 classes; perceptron 196-64-64-10 with swish",
        _facts(FASHION, "perceptron 196-64-64-10 with swish", "196"),
        small_fashion,
    )


_enter_all()
