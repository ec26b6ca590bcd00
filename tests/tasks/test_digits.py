"""The digits tasks hold the data and the networks that they state."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from evolute.tasks.base import Split, Task
from evolute.tasks.data import Batch
from evolute.tasks.digits import _examples, digits, digits_conv
from evolute.tasks.networks import perceptron, published_convnet


def examples(task: Task, split: Split) -> Batch:
    return task.first_batch(split)


@pytest.mark.parametrize(("task", "shape"), [(digits(), (64,)), (digits_conv(), (1, 8, 8))])
def test_splits_are_the_ones_stated_and_no_image_is_in_two(
    task: Task, shape: tuple[int, ...]
) -> None:
    images, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(1797)
    start = 0
    seen: list[tuple[float, ...]] = []
    for split, size in zip(Split, (997, 400, 400), strict=True):
        inputs, targets = examples(task, split)
        assert inputs.shape == (size, *shape)
        index = order[start : start + size]
        assert torch.equal(inputs.reshape(size, 64) * 16, torch.tensor(images[index]).float())
        assert torch.equal(targets, torch.tensor(labels[index]))
        seen += [tuple(image) for image in inputs.reshape(size, 64).tolist()]
        start += size
    assert len(seen) == 1797
    train, rest = set(seen[:997]), set(seen[997:])
    assert train.isdisjoint(rest)
    assert set(seen[997:1397]).isdisjoint(seen[1397:])


def test_pixels_lie_between_zero_and_one() -> None:
    inputs, _ = examples(digits(), Split.TRAIN)
    assert (inputs.min().item(), inputs.max().item()) == (0.0, 1.0)


def test_the_perceptron_is_64_32_10() -> None:
    shapes = [tuple(weight.shape) for weight in digits().model().parameters()]
    assert shapes == [(32, 64), (32,), (10, 32), (10,)]
    assert [type(layer) for layer in perceptron([4, 3, 2])] == [nn.Linear, nn.ReLU, nn.Linear]


@pytest.mark.parametrize(("width", "expected"), [(None, 8), (32, 32)])
def test_the_convnet_has_the_published_layers_at_any_width(
    width: int | None, expected: int
) -> None:
    model = digits_conv().model(width)
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [
        expected,
        2 * expected,
        4 * expected,
    ]
    assert [layer.stride for layer in convolutions] == [(1, 1), (2, 2), (2, 2)]
    assert isinstance(model, nn.Sequential)
    kinds = [type(layer).__name__ for layer in model]
    assert kinds == [
        *["Conv2d", "BatchNorm2d", "SiLU"] * 3,
        *["AdaptiveAvgPool2d", "Flatten", "Dropout", "Linear"],
    ]


def test_the_convnet_takes_images_of_any_size() -> None:
    model = published_convnet(channels=3, classes=7, width=4)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert model(torch.zeros(2, 3, 9, 5)).shape == (2, 7)


def test_the_images_are_those_that_scikit_learn_loads() -> None:
    images, labels = load_digits(return_X_y=True)
    own_images, own_labels = _examples()
    assert (own_images == images).all()
    assert (own_labels == labels).all()


def test_scikit_learn_is_asked_where_its_file_lies_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = _examples()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = _examples()
    assert all((mine == theirs).all() for mine, theirs in zip(found, expected, strict=True))


def test_scikit_learn_is_not_imported_for_digits() -> None:
    """It takes a second, in every worker process."""
    program = """
import sys
from evolute.tasks.user import load_task
load_task("digits")
assert "sklearn" not in sys.modules
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
