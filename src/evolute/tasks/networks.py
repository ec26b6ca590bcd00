"""Networks that more than one task trains."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn

PUBLISHED_WIDTH = 32
"""B of the published initial stage."""


def perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Return a multilayer perceptron with rectified linear units between its layers.

    Parameters
    ----------
    sizes
        Widths of all layers, inputs and outputs included.

    Examples
    --------
    >>> sum(weight.numel() for weight in perceptron([64, 32, 10]).parameters())
    2410
    """
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def published_convnet(
    *, channels: int, classes: int, width: int = PUBLISHED_WIDTH, dropout: float = 0.2
) -> nn.Sequential:
    """Return the convolutional network of the published search, for images of any size.

    conv3×3(B) BN swish, conv3×3/2(2B) BN swish, conv3×3/2(4B) BN swish, global average pool,
    dropout, dense; the first stage kept B=32, the main stage B=48 (Morgan and Hougen, 2024).

    Parameters
    ----------
    channels
        Channels of the images [N, channels, height, width].
    classes
        Number of outputs.
    width
        B.
    dropout
        Probability.
    """
    layers: list[nn.Module] = []
    sizes = (channels, width, 2 * width, 4 * width)
    for inputs, outputs, stride in zip(sizes[:-1], sizes[1:], (1, 2, 2), strict=True):
        layers += [
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
        ]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(4 * width, classes))
