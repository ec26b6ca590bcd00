"""Image data sets: what they are, the formats they are read from, and what is checked.

The formats, tried in this order: four IDX files (as MNIST has them), the files of CIFAR, the
pictures of TinyImageNet, Parquet files as on the Hugging Face hub, and the local cache of the
library ``datasets``. None of them runs code from the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from evolute.errors import TaskError
from evolute.tasks.cifar_files import read_cifar
from evolute.tasks.files import find, no_data
from evolute.tasks.hub import read_hub_cache
from evolute.tasks.idx import read_idx
from evolute.tasks.parquet import read_parquet
from evolute.tasks.pictures import read_tiny_imagenet

Examples = tuple[Tensor, Tensor]
"""Images [N, channels, height, width] of bytes, and labels [N]."""

IDX_NAMES = ("train-images-idx{}-ubyte", "train-labels-idx1-ubyte",
             "t10k-images-idx{}-ubyte", "t10k-labels-idx1-ubyte")  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image data set as it is published.

    Parameters
    ----------
    name
        Of its folder, and of the task.
    title
        As people write it.
    classes
        Labels are 0 … classes − 1.
    channels, size
        Images are [channels, size, size].
    train, test
        Published sizes of its two parts.
    validation_share
        1/share of the published training part, its last examples, validates.
    licence, source
        Of the data.
    """

    name: str
    title: str
    classes: int
    channels: int
    size: int
    train: int
    test: int
    validation_share: int
    licence: str
    source: str


@dataclass(frozen=True)
class ImageSet:
    """The images of a data set, checked.

    Parameters
    ----------
    train, test
        The two parts as published.
    """

    train: Examples
    test: Examples

    @cached_property
    def digest(self) -> str:
        """Eight hexadecimal digits of the content (BLAKE2b)."""
        hasher = hashlib.blake2b(digest_size=4)
        for part in (*self.train, *self.test):
            hasher.update(f"{list(part.shape)}".encode())
            hasher.update(part.numpy().tobytes())
        return hasher.hexdigest()


_read: dict[tuple[ImageSource, Path | None], ImageSet] = {}


def read_images(source: ImageSource, data_dir: Path | None) -> ImageSet:
    """Return a data set, read once per process.

    Raises
    ------
    TaskError
        If it is nowhere, or a file is corrupt, or its images or labels are not as published.
    """
    key = (source, data_dir)
    if key not in _read:
        for read in READERS:
            if (parts := read(source, data_dir)) is not None:
                _read[key] = ImageSet(*(_checked(source, *part) for part in parts))
                break
        else:
            raise no_data(
                source.name,
                f"IDX files ({IDX_NAMES[0].format(3 if source.channels == 1 else 4)}, …) or "
                "what 'evolute tasks show' lists",
                data_dir=data_dir,
                advice=_advice(source),
            )
    return _read[key]


def _read_idx_files(source: ImageSource, data_dir: Path | None) -> tuple[Examples, Examples] | None:
    dimensions = 3 if source.channels == 1 else 4
    paths = find(source.name, [name.format(dimensions) for name in IDX_NAMES], data_dir=data_dir)
    if paths is None:
        return None
    images, labels, test_images, test_labels = (
        read_idx(path, dimensions=count)
        for path, count in zip(paths, (dimensions, 1, dimensions, 1), strict=True)
    )
    return (_channels_first(source, images), labels), (
        _channels_first(source, test_images),
        test_labels,
    )


def _channels_first(source: ImageSource, images: Tensor) -> Tensor:
    if images.ndim == 3:
        return images[:, None]
    if images.shape[1] != source.channels and images.shape[3] == source.channels:
        return images.movedim(3, 1).contiguous()
    return images


def _read_cifar(source: ImageSource, data_dir: Path | None) -> tuple[Examples, Examples] | None:
    return read_cifar(source.name, data_dir)


def _read_pictures(source: ImageSource, data_dir: Path | None) -> tuple[Examples, Examples] | None:
    return read_tiny_imagenet(data_dir) if source.name == "tinyimagenet" else None


def _read_parquet(source: ImageSource, data_dir: Path | None) -> tuple[Examples, Examples] | None:
    return read_parquet(source.name, data_dir, channels=source.channels)


def _read_hub(source: ImageSource, data_dir: Path | None) -> tuple[Examples, Examples] | None:
    """Read the library's own cache, which no folder given replaces."""
    return read_hub_cache(source.name, channels=source.channels) if data_dir is None else None


READERS: tuple[Callable[[ImageSource, Path | None], tuple[Examples, Examples] | None], ...] = (
    _read_idx_files,
    _read_cifar,
    _read_pictures,
    _read_parquet,
    _read_hub,
)
"""Readers of the formats, each of which returns None where its files are not there."""


def _checked(source: ImageSource, images: Tensor, labels: Tensor) -> Examples:
    """Return the examples with labels as integers.

    Raises
    ------
    TaskError
        If their number, their shape or a label is not as published.
    """
    shape = (source.channels, source.size, source.size)
    what = f"the data set {source.name!r}"
    if tuple(images.shape[1:]) != shape:
        raise TaskError(
            f"{what} has images of shape {tuple(images.shape[1:])}, not {shape}: are these the "
            f"files of {source.title}?"
        )
    if len(images) != len(labels):
        raise TaskError(f"{what} has {len(images)} images and {len(labels)} labels; get it anew")
    labels = labels.to(torch.int64)
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < source.classes:
        wrong = int(labels[(labels < 0) | (labels >= source.classes)][0])
        raise TaskError(
            f"{what} has the label {wrong}: its labels are 0 to {source.classes - 1}; get it anew"
        )
    if len(images) < source.validation_share:
        raise TaskError(
            f"{what} has {len(images)} examples in one part: at least {source.validation_share} "
            "are needed; get it anew"
        )
    return images, labels


def _advice(source: ImageSource) -> str:
    if source.name == "fashion-mnist":
        return (
            "install Debian's package dataset-fashion-mnist, run 'evolute data fetch fashion-mnist'"
        )
    return f"run 'evolute data fetch {source.name}'"
