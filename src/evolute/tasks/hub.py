"""Image data sets from the local cache of the library ``datasets``; nothing is downloaded here."""

from __future__ import annotations

import importlib.util
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
        parts = [
            library.load_dataset(repository, split=split, download_config=local)
            for split in ("train", held_out)
        ]
    except (OSError, ValueError):  # what it raises for a repository that its cache does not hold
        return None
    train, test = (_tensors(part, channels) for part in parts)
    return train, test


def _tensors(part: Any, channels: int) -> tuple[Tensor, Tensor]:
    picture = next(name for name in PICTURE_COLUMNS if name in part.column_names)
    label = next(name for name in LABEL_COLUMNS if name in part.column_names)
    pictures = []
    for image in part[picture]:
        pixels = torch.from_numpy(np.array(image.convert("L" if channels == 1 else "RGB")))
        pictures.append(pixels[None] if channels == 1 else pixels.movedim(-1, 0).contiguous())
    return stacked(pictures, "the data set in the cache"), torch.tensor(part[label][:])
