"""Fine-tuning: weights of each layout, pictures of each data set, faults in one line."""

from __future__ import annotations

import inspect
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from tasks.tiny_files import (
    tiny_network,
    write_caltech,
    write_cars,
    write_flowers,
    write_weights,
)
from torch import nn

from evolute.errors import TaskError
from evolute.seeds import torch_generator
from evolute.seeds.streams import seeded
from evolute.tasks.base import Split, Task
from evolute.tasks.efficientnet import EfficientNetV2
from evolute.tasks.fine_tuning import DOMAINS, IMAGENET, TORCHVISION_FILE, fine_tuning_task
from evolute.tasks.picture_sets import read_caltech, read_cars, read_flowers

pytestmark = pytest.mark.usefixtures("optional")
FLOWERS = DOMAINS[0]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_flowers(tmp_path / "flowers102")
    write_weights(tmp_path / "efficientnet-v2-s")
    return tmp_path


def build(data_dir: Path) -> Task:
    return fine_tuning_task(FLOWERS, data_dir, network=tiny_network, size=16)


def refused(data_dir: Path) -> str:
    with pytest.raises(TaskError) as caught:
        build(data_dir).model()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_network_has_the_published_number_of_weights() -> None:
    with torch.device("meta"):
        network = EfficientNetV2(1000)
    assert sum(weight.numel() for weight in network.parameters()) == 21_458_488
    names = list(network.state_dict())
    assert len(names) == 782
    assert names[6] == "features.1.0.block.0.0.weight"
    assert "features.4.4.block.2.fc1.weight" in names
    assert names[-1] == "classifier.1.bias"


def test_blocks_are_left_out_at_times_in_training_alone() -> None:
    network = EfficientNetV2(3)
    drops: list[float] = [vars(each)["drop"] for each in network.modules() if "drop" in vars(each)]
    assert drops[0] == 0.0
    assert drops[-1] == pytest.approx(0.2 * 39 / 40)
    assert drops == sorted(drops)


def test_all_but_the_classifier_begins_from_the_file(data: Path) -> None:
    weights = torch.load(data / "efficientnet-v2-s" / "tiny.pth", weights_only=True)
    with seeded(1):
        model = build(data).model()
    own = model.state_dict()
    assert own["classifier.1.weight"].shape == (102, 16)
    for name, value in weights.items():
        if not name.startswith("classifier"):
            assert torch.equal(own[name], value)


def test_weights_may_lie_in_the_cache_of_torchvision(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (data / "efficientnet-v2-s" / "tiny.pth").rename(checkpoints / TORCHVISION_FILE)
    assert build(data).model() is not None


def test_weights_may_be_safetensors(data: Path) -> None:
    from safetensors.torch import save_file

    folder = data / "efficientnet-v2-s"
    save_file(torch.load(folder / "tiny.pth", weights_only=True), folder / "tiny.safetensors")
    (folder / "tiny.pth").unlink()
    assert build(data).model() is not None


def test_weights_in_the_layout_of_timm_are_loaded_into_its_network(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Network(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.conv_stem = nn.Conv2d(3, 4, 3)
            self.classifier = nn.Linear(4, classes)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.classifier(self.conv_stem(images).mean((2, 3)))
            return scores

    asked: list[tuple[str, bool, float]] = []

    def create_model(
        name: str, *, pretrained: bool, num_classes: int, drop_rate: float
    ) -> nn.Module:
        asked.append((name, pretrained, drop_rate))
        return Network(num_classes)

    stand_in: Any = types.ModuleType("timm")
    stand_in.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", stand_in)
    weights = Network(1000).state_dict()
    torch.save(weights, data / "efficientnet-v2-s" / "tiny.pth")
    model = build(data).model()
    assert asked == [("tf_efficientnetv2_s", False, 0.1)]
    assert torch.equal(model.state_dict()["conv_stem.weight"], weights["conv_stem.weight"])
    assert model.state_dict()["classifier.weight"].shape == (102, 4)


def test_pixels_are_normalised_as_the_weights_were_trained_with(data: Path) -> None:
    def first() -> torch.Tensor:
        pictures: torch.Tensor = next(build(data).in_order(Split.TRAIN))[0]
        return pictures

    mean, deviation = (torch.tensor(row).reshape(3, 1, 1) for row in IMAGENET)
    pixels = (first() * deviation + mean) * 255
    torch.testing.assert_close(pixels, pixels.round(), atol=1e-3, rtol=0)
    folder = data / "efficientnet-v2-s"
    (folder / "tiny.pth").unlink()
    torch.save({"conv_stem.weight": torch.zeros(1)}, folder / "timm.pth")
    # timm's layout: (x - 127.5)/128, as the program of the published study has it.
    torch.testing.assert_close(first() * 128 + 127.5, pixels, atol=1e-3, rtol=0)


def test_the_classifiers_dropout_is_that_of_the_authors_program() -> None:
    build = inspect.signature(fine_tuning_task).parameters["network"].default
    with torch.device("meta"):
        dropouts = [each.p for each in build(102).modules() if isinstance(each, nn.Dropout)]
    assert dropouts == [0.1]


def test_a_file_of_weights_that_would_run_code_is_refused(data: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (data / "owned",)

    torch.save({"features.0.0.weight": Evil()}, data / "efficientnet-v2-s" / "tiny.pth")
    assert "cannot be read (" in refused(data)
    assert not (data / "owned").exists()


def test_weights_that_are_missing_cut_off_or_of_another_network_are_one_line(data: Path) -> None:
    path = data / "efficientnet-v2-s" / "tiny.pth"
    with torch.device("cpu"):
        weights = tiny_network(10).state_dict()
    weights["features.0.0.weight"] = torch.zeros(7, 3, 3, 3)
    torch.save(weights, path)
    assert "do not fit EfficientNetV2-S: 0 are missing, 0 unknown, 1 of another" in refused(data)
    other = path.with_name("cut.pth")
    other.write_bytes(path.read_bytes()[:100])
    path.unlink()
    assert "cannot be read (" in refused(data)
    torch.save([1, 2], other.with_name("list.pth"))
    other.unlink()
    assert "holds no state_dict of tensors" in refused(data)


def test_weights_that_are_nowhere_say_how_to_get_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    (data / "efficientnet-v2-s" / "tiny.pth").unlink()
    assert "run 'evolute data fetch efficientnet-v2-s'" in refused(data)


def test_flowers_have_their_published_splits_and_labels_from_zero(data: Path) -> None:
    train, validation, test = read_flowers(data)
    assert [len(part.labels) for part in (train, validation, test)] == [32, 16, 16]
    assert train.labels[:4] == (0, 1, 2, 101)
    assert validation.files[0].name == "image_00033.jpg"


def test_cars_keep_the_last_tenth_of_training_for_validation(tmp_path: Path) -> None:
    write_cars(tmp_path / "cars196")
    train, validation, test = read_cars(tmp_path)
    assert [len(part.labels) for part in (train, validation, test)] == [18, 2, 6]
    assert validation.labels == (18, 19)
    assert test.files[0].name == "00001.jpg"


def test_caltech_gives_each_class_its_part_of_every_split_and_no_background(tmp_path: Path) -> None:
    write_caltech(tmp_path / "caltech101")
    parts = read_caltech(tmp_path)
    assert [sorted(part.labels) for part in parts] == [
        [0] * 25 + [1] * 25,
        [0] * 5 + [1] * 5,
        [0] * 2 + [1] * 2,
    ]
    files = [file for part in parts for file in part.files]
    assert len(set(files)) == len(files) == 64


def test_pictures_are_scaled_normalised_and_flipped_where_the_protocol_augments(data: Path) -> None:
    task = build(data)
    plain, augmented = (
        next(task.batches(torch_generator(0, "b"), 16, augment=augment))[0]
        for augment in (False, True)
    )
    assert plain.shape == (16, 3, 16, 16)
    assert abs(plain.mean().item()) < 1
    flipped = [bool((one != two).any()) for one, two in zip(plain, augmented, strict=True)]
    assert 2 < sum(flipped) < 14
    for one, two, flip in zip(plain, augmented, flipped, strict=True):
        assert torch.equal(one.flip(-1) if flip else one, two)


def test_labels_out_of_range_and_damaged_tables_are_one_line(data: Path) -> None:
    folder = data / "flowers102"
    (folder / "imagelabels.mat").unlink()
    assert "imagelabels.mat' cannot be read as Matlab's" in refused(data)
    (folder / "setid.mat").write_bytes(b"no matrix")
    assert "cannot be read as Matlab's" in refused(data)
    (folder / "setid.mat").unlink()
    assert "the data set 'flowers102' is not on this machine" in refused(data)


def test_a_label_out_of_range_is_one_line(tmp_path: Path) -> None:
    write_flowers(tmp_path / "flowers102", labels=(1, 103) * 32)
    assert "has the label 103: its labels are 1 to 102" in refused(tmp_path)


def test_a_picture_that_is_missing_or_damaged_is_one_line(data: Path) -> None:
    task = build(data)
    picture = data / "flowers102" / "jpg" / "image_00001.jpg"
    picture.write_bytes(b"no picture")
    with pytest.raises(TaskError, match="is no picture that can be read"):
        task.first_batch(Split.TRAIN)
    picture.unlink()
    with pytest.raises(TaskError, match="cannot be read .*get the data set anew"):
        task.first_batch(Split.TRAIN)
