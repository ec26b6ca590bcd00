"""Data sets of pictures in files, as published: Oxford 102 Flowers, Stanford Cars, Caltech 101."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evolute.errors import TaskError, shorten
from evolute.tasks.files import no_data, places

CALTECH_TRAIN = 25
CALTECH_VALIDATION = 5
CARS_VALIDATION_SHARE = 10


@dataclass(frozen=True, slots=True)
class PictureSet:
    """Pictures of one split.

    Parameters
    ----------
    files
        One for each picture.
    labels
        Class of each, from 0.
    """

    files: tuple[Path, ...]
    labels: tuple[int, ...]


Splits = tuple[PictureSet, PictureSet, PictureSet]


def read_flowers(data_dir: Path | None) -> Splits:
    """Return the published splits of Oxford 102 Flowers.

    Raises
    ------
    TaskError
        If its files are not there, or cannot be read.
    """
    folder = _folder("flowers102", "setid.mat", data_dir)
    labels = _matrix(folder / "imagelabels.mat", "labels").flatten().astype(int)
    numbers = [
        _matrix(folder / "setid.mat", name).flatten() for name in ("trnid", "valid", "tstid")
    ]
    train, validation, test = (
        _checked(
            [folder / "jpg" / f"image_{number:05d}.jpg" for number in row],
            [int(labels[number - 1]) - 1 for number in row],
            classes=102,
            data_set="flowers102",
        )
        for row in numbers
    )
    return train, validation, test


def read_cars(data_dir: Path | None) -> Splits:
    """Return the splits of Stanford Cars; the last tenth of its training part validates.

    Raises
    ------
    TaskError
        If its files are not there, or cannot be read.
    """
    folder = _folder("cars196", "cars_test_annos_withlabels.mat", data_dir)
    parts = []
    for pictures, table in (
        ("cars_train", folder / "devkit" / "cars_train_annos.mat"),
        ("cars_test", folder / "cars_test_annos_withlabels.mat"),
    ):
        rows = _matrix(table, "annotations").flatten()
        files = [folder / pictures / str(row["fname"].item()) for row in rows]
        parts.append((files, [int(row["class"].item()) - 1 for row in rows]))
    (files, labels), test = parts
    last = len(files) - len(files) // CARS_VALIDATION_SHARE
    train, validation, held_out = (
        _checked(*part, classes=196, data_set="cars196")
        for part in ((files[:last], labels[:last]), (files[last:], labels[last:]), test)
    )
    return train, validation, held_out


def read_caltech(data_dir: Path | None) -> Splits:
    """Return splits of Caltech 101: of each class 25 train, 5 validate and the others test.

    Raises
    ------
    TaskError
        If its folder is not there or not whole.
    """
    for place in places("caltech101", data_dir):
        found = sorted(place.glob("**/101_ObjectCategories"))
        if found:
            return _by_class(found[0])
    raise no_data(
        "caltech101",
        "101_ObjectCategories",
        data_dir=data_dir,
        advice="run 'evolute data fetch caltech101'",
    )


def _by_class(folder: Path) -> Splits:
    order = np.random.RandomState(0)
    parts: list[tuple[list[Path], list[int]]] = [([], []), ([], []), ([], [])]
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    for label, name in enumerate(name for name in names if name != "BACKGROUND_Google"):
        files = sorted((folder / name).glob("*.jpg"))
        if len(files) <= CALTECH_TRAIN + CALTECH_VALIDATION:
            raise TaskError(
                f"the folder {str(folder / name)!r} has {len(files)} pictures, and "
                f"{CALTECH_TRAIN + CALTECH_VALIDATION + 1} are needed; get the data set anew"
            )
        shuffled = [files[index] for index in order.permutation(len(files))]
        ends = (0, CALTECH_TRAIN, CALTECH_TRAIN + CALTECH_VALIDATION, len(files))
        for part, start, end in zip(parts, ends[:-1], ends[1:], strict=True):
            part[0].extend(shuffled[start:end])
            part[1].extend([label] * (end - start))
    train, validation, test = (
        _checked(*part, classes=101, data_set="caltech101") for part in parts
    )
    return train, validation, test


def _folder(data_set: str, file: str, data_dir: Path | None) -> Path:
    for place in places(data_set, data_dir):
        if (place / file).is_file():
            return place
    raise no_data(data_set, file, data_dir=data_dir, advice=f"run 'evolute data fetch {data_set}'")


def _matrix(path: Path, name: str) -> Any:
    """Return a matrix of a Matlab file."""
    from scipy.io import loadmat  # takes a second to import, and few tasks need it

    try:
        return loadmat(path)[name]
    except Exception as error:  # noqa: BLE001  # the reader raises errors of many kinds
        raise TaskError(
            f"the file {str(path)!r} cannot be read as Matlab's, with a matrix {name!r} "
            f"({shorten(str(error))}); get it anew"
        ) from None


def _checked(
    files: Sequence[Path], labels: Sequence[int], *, classes: int, data_set: str
) -> PictureSet:
    wrong = next((label for label in labels if not 0 <= label < classes), None)
    if wrong is not None or not files:
        raise TaskError(
            f"the data set {data_set!r} has "
            + (f"the label {wrong + 1}: its labels are 1 to {classes}" if wrong is not None
               else "a split without pictures")
            + "; get it anew"
        )  # fmt: skip
    return PictureSet(tuple(files), tuple(labels))
