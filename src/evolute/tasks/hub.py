"""Image data sets from the local cache of the library ``datasets``; nothing is downloaded here."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolute.tasks.extras import optional_module
from evolute.tasks.parquet import LABEL_COLUMNS, PICTURE_COLUMNS
from evolute.tasks.pictures import stacked

REPOSITORIES = {
    "fashion-mnist": ("zalando-datasets/fashion_mnist", "test"),
    "cifar10": ("uoft-cs/cifar10", "test"),
    "cifar100": ("uoft-cs/cifar100", "test"),
    "tinyimagenet": ("zh-plus/tiny-imagenet", "valid"),
}
"""Repository on the hub, and its split that has labels and does not train."""


def read_hub_cache(
    name: str, *, channels: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Return training and test part from the cache; None where they, or the library, are not there.

    Parameters
    ----------
    name
        Of the data set, a key of :data:`REPOSITORIES`.
    channels
        1: grey; 3: colours.
    """
    if name not in REPOSITORIES or importlib.util.find_spec("datasets") is None:
        return None
    repository, held_out = REPOSITORIES[name]
    library: Any = optional_module("datasets", extra="vision", what="the cache of the hub")
    local = library.DownloadConfig(local_files_only=True)
    try:
        with _offline(library):
            parts = [
                library.load_dataset(repository, split=split, download_config=local)
                for split in ("train", held_out)
            ]
    except (OSError, ValueError):  # what it raises for a repository that its cache does not hold
        return None
    train, test = (_tensors(part, channels) for part in parts)
    return train, test


@contextmanager
def _offline(library: Any) -> Iterator[None]:
    """Keep the library off the network, which it tries for half a minute for what it has not."""
    hub: Any = optional_module(
        "huggingface_hub.constants", extra="vision", what="the cache of the hub"
    )
    settings = (library.config, hub)
    before = [each.HF_HUB_OFFLINE for each in settings]
    try:
        for each in settings:
            each.HF_HUB_OFFLINE = True
        yield
    finally:
        for each, value in zip(settings, before, strict=True):
            each.HF_HUB_OFFLINE = value


def _tensors(part: Any, channels: int) -> tuple[Tensor, Tensor]:
    picture = next(name for name in PICTURE_COLUMNS if name in part.column_names)
    label = next(name for name in LABEL_COLUMNS if name in part.column_names)
    pictures = []
    for image in part[picture]:
        pixels = torch.from_numpy(np.array(image.convert("L" if channels == 1 else "RGB")))
        pictures.append(pixels[None] if channels == 1 else pixels.movedim(-1, 0).contiguous())
    return stacked(pictures, "the data set in the cache"), torch.tensor(part[label][:])
