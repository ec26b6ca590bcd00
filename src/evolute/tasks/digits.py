"""Handwritten digits: the 1,797 images of 8×8 pixels that scikit-learn carries, no download.

Source: E. Alpaydin, C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning
Repository (1998), test part; licence CC BY 4.0. Ten classes, metric accuracy, loss cross-entropy.

Splits, fixed: the examples in the order of ``numpy.random.RandomState(0).permutation(1797)``; the
first 997 train, the next 400 validate, the last 400 test. Pixels 0 … 16 are divided by 16.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from evolute.tasks.base import Task
from evolute.tasks.networks import perceptron, published_convnet
from evolute.tasks.registry import TaskFacts, builtin

TRAIN_EXAMPLES = 997
VALIDATION_EXAMPLES = 400
BRIGHTEST = 16.0
CONVNET_WIDTH = 8

_Pair = tuple[Tensor, Tensor]

_FACTS = TaskFacts(
    family="vision",
    examples="997 / 400 / 400",
    splits="the order of numpy.random.RandomState(0).permutation(1797)",
    inputs="64",
    classes="10",
    network="perceptron 64-32-10",
    licence="CC BY 4.0",
    source="E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998)",
)


@builtin(
    "digits", "1,797 digits of 8×8 pixels (scikit-learn), 10 classes, perceptron 64-32-10", _FACTS
)
def digits() -> Task:
    """Build the task ``digits``: a perceptron 64-32-10, which takes no width."""
    train, validation, test = _splits((64,))
    return Task(
        name="digits",
        version="1",
        model=_digits_perceptron,
        train=train,
        validation=validation,
        test=test,
        loss="cross_entropy",
        metric="accuracy",
    )


@builtin(
    "digits-conv",
    "the same digits, the published ConvNet with B=8 (or the protocol's width)",
    replace(_FACTS, inputs="1×8×8", network="published ConvNet, B=8 or the protocol's width"),
)
def digits_conv() -> Task:
    """Build the task ``digits-conv``: the published ConvNet on images [N, 1, 8, 8]."""
    train, validation, test = _splits((1, 8, 8))
    return Task(
        name="digits-conv",
        version="1",
        model=_digits_convnet,
        train=train,
        validation=validation,
        test=test,
        loss="cross_entropy",
        metric="accuracy",
    )


def _digits_perceptron() -> nn.Module:
    return perceptron([64, 32, 10])


def _digits_convnet(width: int = CONVNET_WIDTH) -> nn.Module:
    return published_convnet(channels=1, classes=10, width=width)


@cache
def _splits(shape: tuple[int, ...]) -> tuple[_Pair, _Pair, _Pair]:
    """Return the three splits, each input of this shape."""
    images, labels = _examples()
    order = np.random.RandomState(0).permutation(len(labels))
    inputs = torch.from_numpy(images[order] / BRIGHTEST).to(torch.float32).reshape(-1, *shape)
    targets = torch.from_numpy(labels[order]).to(torch.int64)
    first, second = TRAIN_EXAMPLES, TRAIN_EXAMPLES + VALIDATION_EXAMPLES
    return (
        (inputs[:first], targets[:first]),
        (inputs[first:second], targets[first:second]),
        (inputs[second:], targets[second:]),
    )


def _examples() -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return what ``sklearn.datasets.load_digits(return_X_y=True)`` does.

    Its file is read without importing scikit-learn, which takes a second in every worker; where it
    lies elsewhere, scikit-learn finds it.
    """
    package = importlib.util.find_spec("sklearn")
    if package is not None and package.origin is not None:
        file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            table = np.loadtxt(file, delimiter=",")
            return table[:, :-1], table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images, labels
