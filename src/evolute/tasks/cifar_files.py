"""CIFAR-10 and CIFAR-100 from their published binary files.

Source: A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images* (2009). A file is a
row of records: for CIFAR-10 one byte for the label, for CIFAR-100 one for the coarse and one for
the fine label, then 3×32×32 bytes, colour by colour, row by row.

The version "for Python" holds pickles, and to load one is to run it: it is never opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evolute.errors import TaskError
from evolute.tasks.files import find, places, read_bytes

PIXELS = 3 * 32 * 32


@dataclass(frozen=True, slots=True)
class _Layout:
    train: tuple[str, ...]
    test: str
    label_bytes: int
    folder: str
    pickled: str


_LAYOUTS = {
    "cifar10": _Layout(
        tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        "test_batch.bin",
        1,
        "cifar-10-batches-bin",
        "cifar-10-batches-py/data_batch_1",
    ),
    "cifar100": _Layout(
        ("train.bin",), "test.bin", 2, "cifar-100-binary", "cifar-100-python/train"
    ),
}


def read_binary(
    name: str, data_dir: Path | None
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Return training and test part as (images, labels); None where there are no such files.

    Parameters
    ----------
    name
        ``cifar10`` or ``cifar100``; any other has no such files.
    data_dir
        The data folder given, or None.

    Raises
    ------
    TaskError
        If a file is cut off, or only the pickled version is there.
    """
    layout = _LAYOUTS.get(name)
    if layout is None:
        return None
    paths = find(name, [*layout.train, layout.test], data_dir, archive_folder=layout.folder)
    if paths is None:
        _refuse_pickles(name, layout, data_dir)
        return None
    *train, test = (_read_file(path, layout.label_bytes) for path in paths)
    images, labels = zip(*train, strict=True)
    return (torch.cat(images), torch.cat(labels)), test


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


def _refuse_pickles(name: str, layout: _Layout, data_dir: Path | None) -> None:
    for folder in places(name, data_dir):
        for path in (folder / layout.pickled, folder / Path(layout.pickled).name):
            if path.is_file():
                raise TaskError(
                    f"{str(path)!r} is the version of {name} for Python, a pickle, which could run "
                    f"code when opened and is never read: get the binary version ({layout.folder}, "
                    f"with {layout.test}), as 'evolute data fetch {name}' does"
                )
