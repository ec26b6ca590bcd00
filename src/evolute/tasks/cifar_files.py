"""CIFAR-10 and CIFAR-100 from their published files: the binary ones, or those for Python.

Source: A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images* (2009). A binary file
is a row of records: for CIFAR-10 one byte for the label, for CIFAR-100 one for the coarse and one
for the fine label, then 3×32×32 bytes, colour by colour, row by row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evolute.errors import TaskError
from evolute.tasks.cifar_python import read_python_batch
from evolute.tasks.files import find, read_bytes

PIXELS = 3 * 32 * 32


Part = tuple[Tensor, Tensor]
"""Images, uint8 [N, 3, 32, 32], and labels, uint8 [N]."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Names of the files of a version: the training parts, and the test part last."""

    files: tuple[str, ...]
    folder: str
    read: Callable[[Path], Part]


_LAYOUTS = {
    "cifar10": (
        _Layout(
            (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"),
            "cifar-10-batches-bin",
            lambda path: _read_file(path, 1),
        ),
        _Layout(
            (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"),
            "cifar-10-batches-py",
            lambda path: read_python_batch(path, "labels"),
        ),
    ),
    "cifar100": (
        _Layout(("train.bin", "test.bin"), "cifar-100-binary", lambda path: _read_file(path, 2)),
        _Layout(
            ("train", "test"),
            "cifar-100-python",
            lambda path: read_python_batch(path, "fine_labels"),
        ),
    ),
}


def read_cifar(name: str, data_dir: Path | None) -> tuple[Part, Part] | None:
    """Return training and test part; None where there are no such files.

    Parameters
    ----------
    name
        ``cifar10`` or ``cifar100``; any other has no such files.
    data_dir
        The data folder given, or None.

    Raises
    ------
    TaskError
        If a file is missing, cut off or corrupt.
    """
    for layout in _LAYOUTS.get(name, ()):
        paths = find(name, layout.files, data_dir=data_dir, archive_folder=layout.folder)
        if paths is not None:
            *train, test = (layout.read(path) for path in paths)
            images, labels = zip(*train, strict=True)
            return (torch.cat(images), torch.cat(labels)), test
    return None


def _read_file(path: Path, label_bytes: int) -> tuple[Tensor, Tensor]:
    content = read_bytes(path)
    record = label_bytes + PIXELS
    if not content or len(content) % record:
        raise TaskError(
            f"the file {str(path)!r} has {len(content)} bytes, which is no whole number of records "
            f"of {record}: it is cut off or corrupt; get it anew"
        )
    rows = torch.from_numpy(np.frombuffer(content, np.uint8).reshape(-1, record).copy())
    return rows[:, label_bytes:].reshape(-1, 3, 32, 32), rows[:, label_bytes - 1]
