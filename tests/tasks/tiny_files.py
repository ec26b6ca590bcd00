"""Data sets of a few examples in the formats that they are published in, written by the tests."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path

import numpy as np
import torch

from evolute.seeds.streams import seeded
from evolute.tasks.efficientnet import EfficientNetV2, Stage

TEXT = "the quick brown fox jumps over the lazy dog and runs away from it again. "


def random_bytes(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def labels_of(count: int, classes: int) -> np.ndarray:
    return (np.arange(count) % classes).astype(np.uint8)


def idx_bytes(values: np.ndarray) -> bytes:
    head = struct.pack(">BBBB", 0, 0, 8, values.ndim)
    return head + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_idx(folder: Path, *, shape: tuple[int, ...] = (28, 28), classes: int = 10) -> Path:
    """Write the four files of Fashion-MNIST, compressed as it publishes them."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = len(shape) + 1
    for seed, (part, count) in enumerate((("train", 60), ("t10k", 20))):
        files = {
            f"{part}-images-idx{kind}-ubyte.gz": random_bytes(count, *shape, seed=seed),
            f"{part}-labels-idx1-ubyte.gz": labels_of(count, classes),
        }
        for name, values in files.items():
            (folder / name).write_bytes(gzip.compress(idx_bytes(values)))
    return folder


def cifar_records(count: int, *, classes: int, coarse: bool, seed: int) -> bytes:
    pixels = random_bytes(count, 3 * 32 * 32, seed=seed)
    columns = [labels_of(count, classes)[:, None], pixels]
    if coarse:
        columns.insert(0, np.full((count, 1), 19, np.uint8))
    return np.concatenate(columns, 1).tobytes()


def write_cifar10(folder: Path) -> Path:
    inside = folder / "cifar-10-batches-bin"
    inside.mkdir(parents=True)
    for number in range(1, 6):
        content = cifar_records(12, classes=10, coarse=False, seed=number)
        (inside / f"data_batch_{number}.bin").write_bytes(content)
    content = cifar_records(20, classes=10, coarse=False, seed=9)
    (inside / "test_batch.bin").write_bytes(content)
    return folder


def write_cifar100(folder: Path) -> Path:
    inside = folder / "cifar-100-binary"
    inside.mkdir(parents=True)
    for name, count in (("train.bin", 60), ("test.bin", 20)):
        content = cifar_records(count, classes=100, coarse=True, seed=count)
        (inside / name).write_bytes(content)
    return folder


def write_texts(folder: Path, names: tuple[str, ...]) -> Path:
    folder.mkdir(parents=True)
    for repeats, name in zip((30, 6, 6), names, strict=False):
        (folder / name).write_text(TEXT * repeats, encoding="utf-8")
    return folder


def write_everything(root: Path) -> Path:
    """Write every data set that a task reads from files, tiny."""
    write_idx(root / "fashion-mnist")
    write_cifar10(root / "cifar10")
    write_cifar100(root / "cifar100")
    write_idx(root / "tinyimagenet", shape=(3, 64, 64), classes=200)
    write_texts(root / "char-text", ("mine.txt",))
    write_texts(root / "ptb", ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"))
    write_texts(root / "wikitext-2", ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"))
    write_flowers(root / "flowers102")
    write_cars(root / "cars196")
    write_caltech(root / "caltech101")
    write_weights(root / "efficientnet-v2-s")
    return root


def picture_bytes(seed: int, *, size: tuple[int, int] = (10, 8), kind: str = "JPEG") -> bytes:
    from PIL import Image

    written = io.BytesIO()
    Image.fromarray(random_bytes(*size, 3, seed=seed)).save(written, kind)
    return written.getvalue()


def write_pictures(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for seed, name in enumerate(names):
        (folder / name).write_bytes(picture_bytes(seed))


def write_flowers(folder: Path, *, labels: tuple[int, ...] = (1, 2, 3, 102) * 16) -> Path:
    from scipy.io import savemat

    write_pictures(folder / "jpg", [f"image_{number:05d}.jpg" for number in range(1, 65)])
    numbers = np.arange(1, 65)
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels], np.uint8)})
    parts = {"trnid": numbers[:32], "valid": numbers[32:48], "tstid": numbers[48:]}
    savemat(folder / "setid.mat", parts)
    return folder


def write_cars(folder: Path) -> Path:
    from scipy.io import savemat

    for part, count, table in (
        ("cars_train", 20, folder / "devkit" / "cars_train_annos.mat"),
        ("cars_test", 6, folder / "cars_test_annos_withlabels.mat"),
    ):
        names = [f"{number:05d}.jpg" for number in range(1, count + 1)]
        write_pictures(folder / part, names)
        table.parent.mkdir(exist_ok=True)
        rows = np.zeros((1, count), dtype=[("bbox_x1", "O"), ("class", "O"), ("fname", "O")])
        for index, name in enumerate(names):
            rows[0, index] = (1, index % 196 + 1, name)
        savemat(table, {"annotations": rows})
    return folder


def write_caltech(folder: Path) -> Path:
    inside = folder / "caltech-101" / "101_ObjectCategories"
    for name in ("BACKGROUND_Google", "accordion", "airplanes"):
        write_pictures(inside / name, [f"image_{number:04d}.jpg" for number in range(1, 33)])
    return folder


TINY_STAGES = (Stage(1, 1, 4, 4, 1, True), Stage(4, 2, 4, 8, 2, True), Stage(4, 2, 8, 8, 2, False))


def tiny_network(classes: int) -> EfficientNetV2:
    return EfficientNetV2(classes, stages=TINY_STAGES, last_channels=16)


def write_weights(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with seeded(7):
        torch.save(tiny_network(1000).state_dict(), folder / "tiny.pth")
    return folder
