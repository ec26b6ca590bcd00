"""Networks that more than one task trains."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

PUBLISHED_WIDTH = 32
"""B of the published initial stage."""


def perceptron(sizes: Sequence[int], *, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Return a multilayer perceptron, by default with rectified linear units between its layers.

    Parameters
    ----------
    sizes
        Widths of all layers, inputs and outputs included.
    activation
        What stands between the layers.

    Examples
    --------
    >>> sum(weight.numel() for weight in perceptron([64, 32, 10]).parameters())
    2410
    """
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
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


class ResidualBlock(nn.Module):
    """relu(shortcut(x) + BN(conv3×3(relu(BN(conv3×3(x)))))), the block of a residual network.

    Parameters
    ----------
    inputs, outputs
        Channels; where they differ the shortcut is a 1×1 convolution.
    stride
        Of the first convolution and of the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, inputs, H, W] to [N, outputs, H/stride, W/stride]."""
        return functional.relu(self.shortcut(images) + self.body(images))


def residual_network(
    *, channels: int, classes: int, width: int = 16, blocks: int = 1
) -> nn.Sequential:
    """Return a residual network for small images: 6·blocks + 2 layers in three stages.

    He, Zhang, Ren, Sun, *Deep Residual Learning for Image Recognition* (2016), section 4.2, with
    convolutions as shortcuts.

    Parameters
    ----------
    channels
        Channels of the images [N, channels, height, width].
    classes
        Number of outputs.
    width
        Channels of the first stage; each stage has twice those of the one before.
    blocks
        In each stage.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    inputs = width
    for stage, outputs in enumerate((width, 2 * width, 4 * width)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            layers.append(ResidualBlock(inputs, outputs, stride=stride))
            inputs = outputs
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes)
    )
