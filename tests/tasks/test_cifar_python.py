"""CIFAR for Python: read as data, never loaded; whatever else a pickle may do is refused."""

from __future__ import annotations

import pickle
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from evolute.errors import TaskError
from evolute.seeds import torch_generator
from evolute.tasks import images as images_module
from evolute.tasks.cifar_python import read_python_batch
from evolute.tasks.user import load_task


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    images_module._read.clear()


def pixels_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


def text(value: str | bytes) -> bytes:
    """Return the instruction of a short text, as Python 2 wrote it."""
    content = value.encode() if isinstance(value, str) else value
    if len(content) < 256:
        return b"U" + bytes([len(content)]) + content
    return b"T" + struct.pack("<i", len(content)) + content


def integer(value: int) -> bytes:
    if value < 256:
        return b"K" + bytes([value])
    return b"M" + struct.pack("<H", value)


def batch_bytes(pixels: np.ndarray, labels: list[int], *, key: str = "labels") -> bytes:
    """Return a file as it is published: protocol 2 of Python 2, an array of NumPy inside."""
    listed = b"]q\x04(" + b"".join(integer(label) for label in labels) + b"e"
    kind = b"cnumpy\ndtype\nq\x08" + text("u1") + b"K\x00K\x01\x87Rq\x09(K\x03" + text("|")
    kind += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = integer(len(pixels)) + integer(3072) + b"\x86q\x07"
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85"
    array += text("b") + b"\x87R(K\x01" + shape + kind + b"\x89" + text(pixels.tobytes()) + b"tb"
    names = b"](" + b"".join(text(f"a_s_{index}.png") for index in range(len(labels))) + b"e"
    items = text("batch_label") + text("training batch 1 of 5") + text(key) + listed
    return b"\x80\x02}q\x01(" + items + text("data") + array + text("filenames") + names + b"u."


def write_cifar10(folder: Path, each: int = 12) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        labels = [index % 10 for index in range(each)]
        (folder / name).write_bytes(batch_bytes(pixels_of(each, number), labels))


def test_the_files_written_here_are_what_python_would_load() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy has given the function another place
        loaded = pickle.loads(batch_bytes(pixels_of(3), [4, 5, 6]), encoding="latin1")
    assert loaded["labels"] == [4, 5, 6]
    assert (loaded["data"] == pixels_of(3)).all()


def test_images_and_labels_are_read(tmp_path: Path) -> None:
    path = tmp_path / "train"
    path.write_bytes(batch_bytes(pixels_of(5), [9, 0, 99, 3, 1], key="fine_labels"))
    images, labels = read_python_batch(path, "fine_labels")
    assert (images.flatten(1).numpy() == pixels_of(5)).all()
    assert images.shape == (5, 3, 32, 32)
    assert labels.tolist() == [9, 0, 99, 3, 1]


def test_what_python_3_writes_of_today_s_arrays_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "train"
    batch = {"data": pixels_of(4), "labels": [1, 2, 300 % 256, 3]}
    path.write_bytes(pickle.dumps(batch, protocol=3))
    assert (read_python_batch(path, "labels")[0].flatten(1).numpy() == pixels_of(4)).all()


def test_the_task_takes_them_in_their_published_folder(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "cifar10" / "cifar-10-batches-py")
    task = load_task("cifar10", data_dir=tmp_path)
    images, labels = next(iter(task.batches(torch_generator(0, "batches"), 60)))
    assert images.shape == (54, 3, 32, 32)
    written = [index % 10 for index in range(12)] * 5
    assert sorted(labels.tolist()) == sorted(written[:54])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"cos\nsystem\n(S'touch owned'\ntR.", "holds the name 'os system'"),
        (b"\x80\x02cbuiltins\neval\nU\x031+1\x85R.", "holds the name 'builtins eval'"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "holds the instruction STACK_GLOBAL"),
        (b"(ios\nsystem\n.", "holds the instruction INST"),
        (b"\x80\x02}q\x01.", "no file of CIFAR for Python"),
        (b"", "no file of CIFAR for Python"),
        (b"\x80\x02(((.", "no file of CIFAR for Python"),
        (b"\x80\x02]q\x00h\x00a}(U\x06labelsh\x00U\x04datah\x00u.", "no file of CIFAR for Python"),
        (b"\x80\x02h\x05.", "no file of CIFAR for Python"),
        (batch_bytes(pixels_of(5), [1] * 5)[:-3000], "cut off or corrupt"),
        (batch_bytes(pixels_of(5)[:, :-1], [1] * 5), "cut off or corrupt"),
        (pickle.dumps({"data": np.zeros((4, 100), np.uint8), "labels": []}, 3), "cut off or"),
        (pickle.dumps({"data": [1], "labels": [1]}, 3), "cut off or corrupt"),
        (pickle.dumps({"data": pixels_of(2), "labels": [[1], [2, 3]]}, 3), "cut off or"),
        (pickle.dumps({"data": pixels_of(2), "labels": ["1", "2"]}, 3), "cut off or"),
    ],
)
def test_any_other_pickle_is_refused_in_one_line_and_nothing_of_it_is_run(
    content: bytes, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "train"
    path.write_bytes(content)
    with pytest.raises(TaskError) as refused:
        read_python_batch(path, "labels")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("label", [-1, 256])
def test_a_label_that_no_byte_holds_is_refused(label: int, tmp_path: Path) -> None:
    path = tmp_path / "train"
    path.write_bytes(pickle.dumps({"data": pixels_of(1), "labels": [label]}, protocol=3))
    with pytest.raises(TaskError, match="cut off or corrupt"):
        read_python_batch(path, "labels")
