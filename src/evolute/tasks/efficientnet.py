"""EfficientNetV2-S, its weights under the names that torchvision published them with.

Source: M. Tan, Q. V. Le, *EfficientNetV2: Smaller Models and Faster Training* (2021), table 4. The
network is written out here because torchvision has no build that fits every torch; a file of its
weights loads as it is, and gives the same outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

NORM_EPSILON = 1e-3
STOCHASTIC_DEPTH = 0.2
"""Probability that the last block is left out in training; it grows evenly from 0."""
DROPOUT = 0.2
SQUEEZE = 4
"""Channels that a block reads, in channels between its squeeze and its excitation."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of the paper's table.

    Parameters
    ----------
    expansion
        Channels inside a block, in channels that it reads.
    stride
        Of the first block.
    inputs, outputs
        Channels.
    blocks
        How many.
    fused
        Whether expansion and depthwise convolution are one full convolution.
    """

    expansion: int
    stride: int
    inputs: int
    outputs: int
    blocks: int
    fused: bool


SMALL = (
    Stage(1, 1, 24, 24, 2, True),
    Stage(4, 2, 24, 48, 4, True),
    Stage(4, 2, 48, 64, 4, True),
    Stage(4, 2, 64, 128, 6, False),
    Stage(6, 1, 128, 160, 9, False),
    Stage(6, 2, 160, 256, 15, False),
)
"""EfficientNetV2-S."""

LAST_CHANNELS = 1280


class EfficientNetV2(nn.Module):
    """The network, for images [N, 3, height, width] to scores [N, classes].

    Parameters
    ----------
    classes
        Number of outputs.
    stages
        Rows of the table.
    last_channels
        Channels that the classifier reads.
    dropout
        Probability before the classifier; torchvision's unless given.

    Examples
    --------
    >>> with torch.device("meta"):
    ...     network = EfficientNetV2(1000)
    >>> sum(weight.numel() for weight in network.parameters())
    21458488
    """

    def __init__(
        self,
        classes: int,
        *,
        stages: Sequence[Stage] = SMALL,
        last_channels: int = LAST_CHANNELS,
        dropout: float = DROPOUT,
    ) -> None:
        super().__init__()
        total = sum(stage.blocks for stage in stages)
        features: list[nn.Module] = [_convolution(3, stages[0].inputs, stride=2)]
        done = 0
        for stage in stages:
            blocks = []
            for index in range(stage.blocks):
                inputs, stride = (stage.inputs, stage.stride) if not index else (stage.outputs, 1)
                drop = STOCHASTIC_DEPTH * done / total
                blocks.append(_Block(stage, inputs, stride=stride, drop=drop))
                done += 1
            features.append(nn.Sequential(*blocks))
        features.append(_convolution(stages[-1].outputs, last_channels, kernel=1))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last_channels, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, 3, height, width] to scores [N, classes]."""
        scores: Tensor = self.classifier(self.avgpool(self.features(images)).flatten(1))
        return scores


class _Block(nn.Module):
    """MBConv or fused MBConv: x + convolutions(x), left out at times in training."""

    def __init__(self, stage: Stage, inputs: int, *, stride: int, drop: float) -> None:
        super().__init__()
        inside, outputs = stage.expansion * inputs, stage.outputs
        layers: list[nn.Module]
        if stage.fused and stage.expansion == 1:
            layers = [_convolution(inputs, outputs, stride=stride)]
        elif stage.fused:
            layers = [
                _convolution(inputs, inside, stride=stride),
                _convolution(inside, outputs, kernel=1, active=False),
            ]
        else:
            layers = [
                _convolution(inputs, inside, kernel=1),
                _convolution(inside, inside, stride=stride, groups=inside),
                _SqueezeExcitation(inside, inputs // SQUEEZE),
                _convolution(inside, outputs, kernel=1, active=False),
            ]
        self.block = nn.Sequential(*layers)
        self.adds = stride == 1 and inputs == outputs
        self.drop = drop

    def forward(self, images: Tensor) -> Tensor:
        changed: Tensor = self.block(images)
        if not self.adds:
            return changed
        if self.training and self.drop:
            kept = torch.rand(len(images), 1, 1, 1, device=images.device) >= self.drop
            changed = changed * kept / (1 - self.drop)
        return images + changed


class _SqueezeExcitation(nn.Module):
    """x·sigmoid(fc2(silu(fc1(mean of x)))), one factor for each channel."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean((-2, -1), keepdim=True)
        return images * torch.sigmoid(self.fc2(nn.functional.silu(self.fc1(mean))))


def _convolution(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1,
    active: bool = True,
) -> nn.Sequential:  # fmt: skip
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups,
                  bias=False),
        nn.BatchNorm2d(outputs, eps=NORM_EPSILON),
    ]  # fmt: skip
    return nn.Sequential(*layers, *([nn.SiLU()] if active else []))
