"""Image data sets in Parquet files, as the Hugging Face hub publishes them, through PyArrow.

Each row has a picture (a JPEG or PNG file's bytes) and a label. The files are called
``train-….parquet`` and ``test-….parquet`` (``valid…`` where the test part has no labels).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evolute.errors import TaskError, shorten
from evolute.tasks.extras import optional_module
from evolute.tasks.files import places
from evolute.tasks.pictures import decode_picture, stacked

PICTURE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("fine_label", "label")


def read_parquet(
    name: str, data_dir: Path | None, *, channels: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Return training and test part as (images, labels); None where there are no such files.

    Parameters
    ----------
    name
        Of the data set.
    data_dir
        The data folder given, or None.
    channels
        1: grey; 3: colours.

    Raises
    ------
    TaskError
        If PyArrow or Pillow is missing, or a file cannot be read or lacks a column.
    """
    for folder in places(name, data_dir):
        train = _files(folder, "train-*.parquet")
        test = _files(folder, "test-*.parquet") or _files(folder, "valid*.parquet")
        if train and test:
            return _read_part(train, channels), _read_part(test, channels)
    return None


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern)) or sorted(folder.glob(f"*/{pattern}"))


def _read_part(paths: Sequence[Path], channels: int) -> tuple[Tensor, Tensor]:
    pictures: list[Tensor] = []
    labels: list[int] = []
    for path in paths:
        for row, (content, label) in enumerate(_rows(path)):
            where = f"row {row} of {str(path)!r}"
            pictures.append(decode_picture(content, where, channels=channels))
            labels.append(label)
    return stacked(pictures, f"the data set in {str(paths[0].parent)!r}"), torch.tensor(labels)


def _rows(path: Path) -> list[tuple[bytes, int]]:
    parquet: Any = optional_module("pyarrow.parquet", extra="vision", what="reading Parquet files")
    try:
        table = parquet.read_table(path)
    except Exception as error:  # noqa: BLE001  # PyArrow raises errors of several kinds
        raise TaskError(
            f"the file {str(path)!r} cannot be read as Parquet ({shorten(str(error))}); get it anew"
        ) from None
    picture = next((name for name in PICTURE_COLUMNS if name in table.column_names), None)
    label = next((name for name in LABEL_COLUMNS if name in table.column_names), None)
    if picture is None or label is None:
        raise TaskError(
            f"the file {str(path)!r} has the columns {', '.join(table.column_names)}: it needs one "
            f"of {', '.join(PICTURE_COLUMNS)} and one of {', '.join(LABEL_COLUMNS)}"
        )
    contents = (cell["bytes"] for cell in table.column(picture).to_pylist())
    return list(zip(contents, table.column(label).to_pylist(), strict=True))
