"""Images from scratch: each published format, each fault in one line, splits, augmentation."""

from __future__ import annotations

import gzip
import importlib
import io
import os
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tasks.tiny_files import (
    cifar_records,
    idx_bytes,
    labels_of,
    picture_bytes,
    random_bytes,
    write_cifar10,
    write_cifar100,
    write_idx,
)
from torch import Tensor, nn

from evolute.errors import TaskError
from evolute.seeds import torch_generator
from evolute.tasks import images as images_module
from evolute.tasks.augmentation import published_augmentation
from evolute.tasks.base import Split, Task
from evolute.tasks.images import read_images
from evolute.tasks.networks import residual_network
from evolute.tasks.transformer import VisionTransformer
from evolute.tasks.user import load_task
from evolute.tasks.vision import CIFAR10, CIFAR100, FASHION, SOURCES, TINY_IMAGENET


@pytest.fixture(autouse=True)
def nothing_read_before() -> Iterator[None]:
    images_module._read.clear()
    yield
    images_module._read.clear()


def refused(name: str, folder: Path) -> str:
    with pytest.raises(TaskError) as caught:
        load_task(name, data_dir=folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def all_of(task: Task, split: Split) -> tuple[Tensor, Tensor]:
    inputs, targets = zip(*task.in_order(split), strict=True)
    return torch.cat(inputs), torch.cat(targets)


def test_idx_files_give_the_splits_stated_normalised_by_the_training_split(tmp_path: Path) -> None:
    write_idx(tmp_path / "fashion-mnist")
    task = load_task("fashion-mnist", data_dir=tmp_path)
    pixels, labels = random_bytes(60, 28, 28, seed=0), labels_of(60, 10)
    train, train_labels = all_of(task, Split.TRAIN)
    validation, validation_labels = all_of(task, Split.VALIDATION)
    assert train.shape == (50, 1, 28, 28)
    assert validation.shape == (10, 1, 28, 28)
    assert all_of(task, Split.TEST)[0].shape == (20, 1, 28, 28)
    assert train_labels.tolist() == labels[:50].tolist()
    assert validation_labels.tolist() == labels[50:].tolist()
    seen = torch.from_numpy(pixels[:50] / 255.0)
    expected = (torch.from_numpy(pixels[50:, None] / 255.0) - seen.mean()) / seen.std(correction=0)
    assert torch.allclose(validation, expected.float(), atol=1e-5)


def test_the_small_task_averages_two_by_two_pixels(tmp_path: Path) -> None:
    write_idx(tmp_path / "fashion-mnist")
    task = load_task("fashion-mnist-small", data_dir=tmp_path)
    train, _ = all_of(task, Split.TRAIN)
    means = random_bytes(60, 28, 28).reshape(60, 14, 2, 14, 2).mean((2, 4)).reshape(60, 196)[:50]
    slope = np.polyfit(means.flatten(), train.numpy().flatten(), 1)
    assert np.allclose(np.polyval(slope, means), train.numpy(), atol=1e-4)
    assert train.mean().item() == pytest.approx(0, abs=1e-5)
    assert train.std().item() == pytest.approx(1, abs=1e-4)
    kinds = [type(layer).__name__ for layer in task.model().children()]
    assert kinds == ["Linear", "SiLU", "Linear", "SiLU", "Linear"]


def test_the_package_of_debian_is_found_without_being_told() -> None:
    if not Path("/usr/share/datasets/fashion-mnist").is_dir():
        assert not os.environ.get("CI"), "CI installs Debian's package dataset-fashion-mnist"
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    images = read_images(FASHION, None)
    assert tuple(images.train[0].shape) == (60_000, 1, 28, 28)
    assert torch.bincount(images.train[1]).tolist() == [6000] * 10
    assert images.digest == "9d2c67d2"
    assert images.train[1][:5].tolist() == [9, 0, 0, 3, 0]


def test_binary_files_of_cifar_give_the_last_tenth_to_validation(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "cifar10")
    images = read_images(CIFAR10, tmp_path)
    assert tuple(images.train[0].shape) == (60, 3, 32, 32)
    first = np.frombuffer(cifar_records(12, classes=10, coarse=False, seed=1), np.uint8)
    assert images.train[0][0].flatten().tolist() == first[1:3073].tolist()
    assert images.train[1][:12].tolist() == [*range(10), 0, 1]
    task = load_task("cifar10", data_dir=tmp_path)
    assert [len(all_of(task, split)[1]) for split in Split] == [54, 6, 20]


def test_the_fine_label_of_cifar100_counts(tmp_path: Path) -> None:
    write_cifar100(tmp_path / "cifar100")
    assert read_images(CIFAR100, tmp_path).train[1].tolist() == list(range(60))


def test_idx_files_of_colour_images_may_have_their_channels_last(tmp_path: Path) -> None:
    pixels = random_bytes(20, 32, 32, 3)
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx4-ubyte").write_bytes(idx_bytes(pixels))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels_of(20, 10)))
    read = read_images(CIFAR10, tmp_path).train[0]
    assert torch.equal(read, torch.from_numpy(pixels).movedim(3, 1))


def png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def write_parquet(path: Path, pixels: np.ndarray, columns: tuple[str, str]) -> None:
    import pyarrow
    import pyarrow.parquet

    cells = [{"bytes": png(image), "path": None} for image in pixels]
    table = pyarrow.table({columns[0]: cells, columns[1]: labels_of(len(pixels), 10).tolist()})
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, path)


def test_parquet_files_as_the_hub_has_them_are_read(tmp_path: Path, optional: None) -> None:
    pixels = random_bytes(24, 32, 32, 3)
    inside = tmp_path / "cifar10" / "plain_text"
    write_parquet(inside / "train-00000-of-00002.parquet", pixels[:10], ("img", "label"))
    write_parquet(inside / "train-00001-of-00002.parquet", pixels[10:20], ("img", "label"))
    write_parquet(inside / "test-00000-of-00001.parquet", pixels[10:], ("img", "label"))
    images = read_images(CIFAR10, tmp_path)
    assert torch.equal(images.train[0], torch.from_numpy(pixels[:20]).movedim(3, 1))
    assert images.train[1].tolist() == [*range(10), *range(10)]
    write_parquet(inside / "train-00001-of-00002.parquet", pixels[10:20], ("img", "name"))
    images_module._read.clear()
    assert "has the columns img, name: it needs one of" in refused("cifar10", tmp_path)
    (inside / "train-00001-of-00002.parquet").write_bytes(b"PAR1 no more")
    assert "cannot be read as Parquet" in refused("cifar10", tmp_path)


def test_the_folder_of_pictures_of_tinyimagenet_is_read(tmp_path: Path, optional: None) -> None:
    root = tmp_path / "tinyimagenet" / "tiny-imagenet-200"
    rows = []
    for name in ("n02", "n01"):
        folder = root / "train" / name / "images"
        folder.mkdir(parents=True)
        for index in range(6):
            content = picture_bytes(index, size=(64, 64))
            (folder / f"{name}_{index}.JPEG").write_bytes(content)
    (root / "val" / "images").mkdir(parents=True)
    for index in range(10):
        (root / "val" / "images" / f"val_{index}.JPEG").write_bytes(
            picture_bytes(index, size=(64, 64))
        )
        rows.append(f"val_{index}.JPEG\t{('n01', 'n02')[index % 2]}\t0\t0\t62\t62")
    (root / "val" / "val_annotations.txt").write_text("\n".join(rows))
    images = read_images(TINY_IMAGENET, tmp_path)
    assert tuple(images.train[0].shape) == (12, 3, 64, 64)
    assert images.train[1].tolist() == [0] * 6 + [1] * 6
    assert images.test[1].tolist() == [0, 1] * 5
    images_module._read.clear()
    (root / "train" / "n01" / "images" / "n01_0.JPEG").write_bytes(b"no picture")
    assert "is no picture that can be read" in refused("tinyimagenet", tmp_path)
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn99\t0\t0\t62\t62")
    assert "1 of them of an unknown class" in refused("tinyimagenet", tmp_path)


class Part:
    """A split as the library ``datasets`` gives it."""

    column_names = ("img", "label")

    def __init__(self, pixels: np.ndarray) -> None:
        from PIL import Image

        pictures = [Image.fromarray(image) for image in pixels]
        self._columns: dict[str, list[Any]] = {
            "img": pictures,
            "label": labels_of(len(pixels), 10).tolist(),
        }

    def __getitem__(self, column: str) -> list[Any]:
        return self._columns[column]


def test_the_local_cache_of_the_hub_is_read_and_nothing_else_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optional: None
) -> None:
    pixels = random_bytes(20, 32, 32, 3)
    asked: list[tuple[str, str, bool]] = []
    hub = importlib.import_module("huggingface_hub.constants")
    settings = types.SimpleNamespace(HF_HUB_OFFLINE=False)

    def load_dataset(repository: str, *, split: str, download_config: Any) -> Part:
        assert download_config.local_files_only
        asked.append((repository, split, settings.HF_HUB_OFFLINE and hub.HF_HUB_OFFLINE))
        return Part(pixels)

    stand_in = types.ModuleType("datasets")
    stand_in.__spec__ = types.SimpleNamespace(name="datasets")  # type: ignore[assignment]
    stand_in.load_dataset = load_dataset  # type: ignore[attr-defined]
    stand_in.DownloadConfig = types.SimpleNamespace  # type: ignore[attr-defined]
    stand_in.config = settings  # type: ignore[attr-defined]
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    images = read_images(CIFAR10, None)
    assert torch.equal(images.train[0], torch.from_numpy(pixels).movedim(3, 1))
    assert asked == [("uoft-cs/cifar10", "train", True), ("uoft-cs/cifar10", "test", True)]
    assert not settings.HF_HUB_OFFLINE
    assert not hub.HF_HUB_OFFLINE


def test_a_data_set_that_is_nowhere_says_where_it_was_looked_for_and_how_to_get_it(
    tmp_path: Path,
) -> None:
    for source in SOURCES:
        said = refused(source.name, tmp_path)
        assert f"the data set {source.name!r} is not on this machine" in said
        assert str(tmp_path / source.name) in said
        assert f"evolute data fetch {source.name}" in said
        assert "--data-dir or EVOLUTE_DATA" in said


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def not_gzip(path: Path) -> None:
    path.write_bytes(b"<html>not found</html>")


def cut_inside(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-7]))


def longer(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"1234567"))


def of_another_kind(path: Path) -> None:
    path.write_bytes(gzip.compress(idx_bytes(random_bytes(5, 5))))


def label_out_of_range(path: Path) -> None:
    labels = path.parent / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx_bytes(np.full(60, 10, np.uint8))))


def fewer_labels(path: Path) -> None:
    labels = path.parent / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx_bytes(labels_of(59, 10))))


def larger_images(path: Path) -> None:
    path.write_bytes(gzip.compress(idx_bytes(random_bytes(60, 32, 32))))


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, "is cut off: it ends inside its compressed content"),
        (not_gzip, "cannot be read (Not a gzipped file"),
        (cut_inside, "is cut off: it says 60×28×28 = 47040 bytes and holds 47033"),
        (longer, "is too long: it says 60×28×28"),
        (of_another_kind, "begins with 00 00 08 02, not 00 00 08 03"),
        (label_out_of_range, "has the label 10: its labels are 0 to 9"),
        (fewer_labels, "has 60 images and 59 labels"),
        (larger_images, "has images of shape (1, 32, 32), not (1, 28, 28): are these the files of"),
        (removed, "is not whole: train-images-idx3-ubyte is missing"),
    ],
)
def test_a_damaged_file_is_one_line(
    damage: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    folder = write_idx(tmp_path / "fashion-mnist")
    damage(folder / "train-images-idx3-ubyte.gz")
    assert says in refused("fashion-mnist", tmp_path)


def test_a_binary_file_that_is_cut_off_is_one_line(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "cifar10")
    cut(tmp_path / "cifar10" / "cifar-10-batches-bin" / "data_batch_3.bin")
    assert "no whole number of records of 3073: it is cut off or corrupt" in refused(
        "cifar10", tmp_path
    )


def test_another_data_gives_another_version(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "a" / "fashion-mnist")
    shutil.copytree(folder, tmp_path / "b" / "fashion-mnist")
    labels = tmp_path / "b" / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx_bytes(labels_of(20, 9))))
    one, two = (load_task("fashion-mnist", data_dir=tmp_path / part).version for part in ("a", "b"))
    assert one != two


def test_augmentation_pads_by_reflection_crops_flips_and_cuts_out() -> None:
    height, width = 12, 16
    ramp = torch.arange(1.0, height * width + 1).reshape(1, 1, height, width)
    images = ramp.expand(400, 1, height, width)
    augmented = published_augmentation(images, torch_generator(0, "augmentation"))
    padded = nn.functional.pad(ramp, (4,) * 4, mode="reflect")[0, 0]
    crops = {
        (row, column, flip): crop.flip(1) if flip else crop
        for row in range(9)
        for column in range(9)
        for flip in (False, True)
        for crop in [padded[row : row + height, column : column + width]]
    }
    seen, holes = set(), set()
    for image in augmented[:, 0]:
        cut_out = image == 0
        matching = [key for key, crop in crops.items() if ((image == crop) | cut_out).all()]
        assert len(matching) == 1
        seen.add(matching[0])
        rows, columns = (cut_out.any(axis).sum().item() for axis in (1, 0))
        assert cut_out.sum() == rows * columns
        holes.add((rows, columns))
    assert max(holes) == (8, 8)
    assert min(holes) < (8, 8), "a square at the edge loses what lies outside"
    assert {key[:2] for key in seen} == {(row, column) for row in range(9) for column in range(9)}
    flips = sum(key[2] for key in seen) / len(seen)
    assert 0.3 < flips < 0.7


def test_augmentation_draws_from_the_generator_given_and_treats_channels_alike() -> None:
    images = torch.rand(8, 1, 10, 10).expand(8, 3, 10, 10) + 1
    first, again, other = (
        published_augmentation(images, torch_generator(seed, "augmentation")) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first[:, 0], first[:, 2])


def test_training_batches_are_augmented_where_the_protocol_says_and_nowhere_else(
    tmp_path: Path,
) -> None:
    write_cifar10(tmp_path / "cifar10")
    task = load_task("cifar10", data_dir=tmp_path)
    plain, augmented = (
        next(task.batches(torch_generator(0, "batches"), 8, augment=augment))
        for augment in (False, True)
    )
    assert torch.equal(plain[1], augmented[1])
    assert not torch.equal(plain[0], augmented[0])


def test_the_residual_network_has_the_layers_of_its_paper() -> None:
    model = residual_network(channels=3, classes=10, width=16, blocks=3)
    threes = [each for each in model.modules() if isinstance(each, nn.Conv2d)
              and each.kernel_size == (3, 3)]  # fmt: skip
    assert len(threes) == 19
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert {each.out_channels for each in threes} == {16, 32, 64}


def test_the_vision_transformer_sees_every_patch_and_its_place() -> None:
    model = VisionTransformer(channels=1, size=8, classes=3).eval()
    image = torch.rand(1, 1, 8, 8, generator=torch_generator(0, "image"))
    swapped = torch.cat([image[..., 4:], image[..., :4]], -1)
    assert not torch.allclose(model(image), model(swapped))
    for row in (0, 7):
        changed = image.clone()
        changed[0, 0, row, row] += 1
        assert not torch.allclose(model(image), model(changed))
