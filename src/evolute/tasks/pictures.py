"""Pictures in files: JPEG and PNG to bytes of pixels, through the optional library Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolute.errors import TaskError, shorten
from evolute.tasks.extras import optional_module
from evolute.tasks.files import places

TINY_IMAGENET_FOLDER = "tiny-imagenet-200"


def decode_picture(content: bytes, where: str, *, channels: int, size: int | None = None) -> Tensor:
    """Return the pixels [channels, height, width] of an encoded picture, as bytes.

    Parameters
    ----------
    content
        A JPEG or PNG file's bytes.
    where
        Where it comes from, for messages.
    channels
        1: grey; 3: colours.
    size
        Side of the square that it is scaled to (bicubic; proportions are not kept); None: as it is.

    Raises
    ------
    TaskError
        If Pillow is missing, or it is no picture that can be decoded.
    """
    pillow: Any = optional_module("PIL.Image", extra="vision", what="reading pictures")
    try:
        with pillow.open(io.BytesIO(content)) as opened:
            picture = opened.convert("L" if channels == 1 else "RGB")
    except Exception as error:  # noqa: BLE001  # decoders raise errors of their own kinds
        raise TaskError(
            f"{where} is no picture that can be read ({shorten(str(error))}); get it anew"
        ) from None
    if size is not None:
        picture = picture.resize((size, size), pillow.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(picture, dtype=np.uint8))
    return pixels[None] if channels == 1 else pixels.movedim(-1, 0).contiguous()


def stacked(pictures: Iterable[Tensor], what: str) -> Tensor:
    """Return pictures of one size as one tensor [N, channels, height, width].

    Raises
    ------
    TaskError
        If there is none, or their sizes differ.
    """
    held = list(pictures)
    shapes = {tuple(picture.shape) for picture in held}
    if len(shapes) != 1:
        raise TaskError(
            f"{what} has pictures of {len(shapes)} sizes ({sorted(shapes)[:3]}): all must be of one"
        )
    return torch.stack(held)


def read_tiny_imagenet(
    data_dir: Path | None,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Return training and published validation part of TinyImageNet from its folder of pictures.

    Classes are numbered in the order of their names; the published test part has no labels.

    Raises
    ------
    TaskError
        If the folder is not whole, or a picture cannot be read.
    """
    for place in places("tinyimagenet", data_dir):
        for folder in (place / TINY_IMAGENET_FOLDER, place):
            if (folder / "val" / "val_annotations.txt").is_file():
                return _read_folder(folder)
    return None


def _read_folder(folder: Path) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    names = sorted(path.name for path in (folder / "train").glob("n*"))
    number = {name: index for index, name in enumerate(names)}
    train = [
        (path, number[name])
        for name in names
        for path in sorted((folder / "train" / name / "images").glob("*.JPEG"))
    ]
    annotations = folder / "val" / "val_annotations.txt"
    rows = [line.split("\t") for line in annotations.read_text().splitlines() if line.strip()]
    unknown = [row for row in rows if len(row) < 2 or row[1] not in number]
    if unknown or not train or not rows:
        raise TaskError(
            f"the folder {str(folder)!r} is not whole: {len(train)} pictures in train, {len(rows)} "
            f"lines in {annotations.name}, {len(unknown)} of them of an unknown class; get it anew"
        )
    test = [(folder / "val" / "images" / row[0], number[row[1]]) for row in rows]
    return _decoded(train), _decoded(test)


def _decoded(files: Sequence[tuple[Path, int]]) -> tuple[Tensor, Tensor]:
    pictures = (
        decode_picture(read_picture(path), f"the file {str(path)!r}", channels=3)
        for path, _ in files
    )
    return stacked(pictures, "TinyImageNet"), torch.tensor([label for _, label in files])


def read_picture(path: Path) -> bytes:
    """Return the content of a picture's file.

    Raises
    ------
    TaskError
        If it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise TaskError(
            f"the file {str(path)!r} cannot be read ({error.strerror}); get the data set anew"
        ) from None
