"""The stacked plan does for each lane what the plain module does, for every kind of layer."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from lanes.networks import CASES, SQUARES, Case, Transformer, images, texts, vectors
from torch import Tensor, nn
from torch.nn import functional

from evolute.lanes.base import CannotStackError, LaneMeasurement
from evolute.lanes.check import check_against_plain, check_company
from evolute.lanes.stacked.network import StackedNetwork


def of_images(*layers: nn.Module, features: int) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 10))


class Function(nn.Module):
    """A linear layer between, and a function of its result."""

    def __init__(self, function: Any, outputs: int = 6) -> None:
        super().__init__()
        self.linear = nn.Linear(6, outputs)
        self.last = nn.Linear(6, 3)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.last(self.function(self.linear(x)))


class Attention(nn.Module):
    """A causal attention layer of torch's own."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 11)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.layer(self.embedding(x))).transpose(1, 2)


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Any:
        return self.last(self.two(torch.tanh(self.one(x))))


def frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    model[0].requires_grad_(False)
    return model


FUNCTIONS = {
    "operators": lambda y: -(y * 2.0 + 1.0) / (y.abs() + 1.5) - y**2,
    "relu in place": lambda y: functional.relu(y, inplace=True),
    "gelu": functional.gelu,
    "softmax": lambda y: y.softmax(-1) * 3,
    "normalize": lambda y: functional.normalize(y, dim=-1),
    "mean": lambda y: y - y.mean(dim=1, keepdim=True) + y.mean(),
    "sum over examples": lambda y: y - y.sum(0) / len(y),
    "reshape": lambda y: y.reshape(-1, 2, 3).permute(0, 2, 1).flatten(1),
    "chunk and cat": lambda y: torch.cat([part.tanh() for part in y.chunk(2, dim=1)][::-1], dim=1),
    "split": lambda y: torch.cat(y.split([2, 4], dim=1)[::-1], 1),
    "stack": lambda y: torch.stack([y, y.sin()], dim=1).mean(1),
    "index": lambda y: torch.cat([y[:, 3:], y[:, None, :3].squeeze(1)], dim=-1),
    "matmul": lambda y: (y.unsqueeze(2) @ y.unsqueeze(1)).sum(-1),
    "einsum": lambda y: torch.einsum("bi,bj->bj", y, y),
    "branch on a shape": lambda y: y * 2 if y.shape[0] > 5 else y,
    "arange of a shape": lambda y: y + torch.arange(y.size(1)) * 0.1,
    "where": lambda y: torch.where(y > 0, y, 0.1 * y),
    "clamp": lambda y: y.clamp(-0.5, 0.5),
    "max pooling in 1d": lambda y: functional.max_pool1d(y.unsqueeze(1), 3, 1, 1).squeeze(1),
}

LAYERS = {
    "convolution": Case(
        lambda: of_images(
            nn.Conv2d(2, 4, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 6, 2, dilation=2, groups=2),
            features=24,
        ),
        images(8, 2),
    ),
    "group norm": Case(
        lambda: of_images(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), features=144),
        images(8, 2),
    ),
    "pools": Case(
        lambda: of_images(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.MaxPool2d(2),
            nn.AvgPool2d(2),
            nn.AdaptiveAvgPool2d(1),
            features=4,
        ),
        images(8, 2),
    ),
    "batch norm of images": Case(
        lambda: of_images(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), features=108),
        images(8, 2),
    ),
    "batch norm without weights": Case(
        lambda: of_images(
            nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, affine=False), nn.ReLU(), features=108
        ),
        images(8, 2),
    ),
    "batch norm of vectors": Case(
        lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)),
        vectors(),
    ),
    "dropout": Case(
        lambda: nn.Sequential(nn.Linear(6, 9), nn.Dropout(0.4), nn.ReLU(), nn.Linear(9, 3)),
        vectors(),
    ),
    "dropout of the inputs": Case(
        lambda: nn.Sequential(nn.Dropout(0.4), nn.Linear(6, 3)), vectors()
    ),
    "dropout of channels": Case(
        lambda: of_images(nn.Conv2d(2, 4, 3), nn.Dropout2d(0.4), features=144), images(8, 2)
    ),
    "dropout of attention": Case(partial(Transformer, 0.3), texts()),
    "encoder layer": Case(Attention, texts()),
    "shared weight": Case(Tied, vectors()),
    "frozen weight": Case(frozen, vectors()),
    "mean squared error": Case(lambda: nn.Linear(6, 4), (vectors()[0], torch.ones(12, 4)), SQUARES),
    **{name: Case(partial(Function, function), vectors()) for name, function in FUNCTIONS.items()},
    **CASES,
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_lane_does_what_the_plain_module_does(name: str) -> None:
    subject = LAYERS[name].subject()
    check_against_plain(partial(StackedNetwork, subject.models[0]), subject)


class Crowded(StackedNetwork):
    """Moves one number of the first lane by one unit in the last place among four lanes or more."""

    def train_step(self, batches: Any, slots: Any, *more: Any) -> LaneMeasurement:
        measured = super().train_step(batches, slots, *more)
        if len(slots) > 3:
            last = self.gradients[-1][slots[0]].view(-1)
            last[-1] = torch.nextafter(last[-1], torch.tensor(1.0))
        return measured


def test_a_network_whose_bits_depend_on_the_company_is_found_out() -> None:
    subject = Case(lambda: nn.Linear(6, 3), vectors()).subject()
    with pytest.raises(CannotStackError, match="other bits"):
        check_company(partial(Crowded, subject.models[0]), subject, most=5)


class Counts(nn.Linear):
    """Keeps a number between calls."""

    def forward(self, x: Tensor) -> Any:
        self.calls = getattr(self, "calls", 0) + 1
        return super().forward(x) * self.calls


class Branches(nn.Linear):
    """Branches on a value."""

    def forward(self, x: Tensor) -> Any:
        output = super().forward(x)
        return output if output.sum() > 0 else output * 2


class Draws(nn.Linear):
    """Draws noise of its own."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x) + torch.randn(3)


class DrawsOne(nn.Linear):
    """Draws one number by NumPy."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x) * float(np.random.rand())


class Hooked(nn.Linear):
    """Has a backward hook."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_full_backward_pre_hook(lambda _module, _gradient: None)


class StopsGradient(nn.Linear):
    """Runs a part without a graph, which a trace does not see."""

    def forward(self, x: Tensor) -> Any:
        output = super().forward(x)
        with torch.no_grad():
            scale = output.exp()
        return output * scale


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Counts, "keeps Python state between calls .calls"),
        (Branches, "cannot be traced"),
        (Draws, "draws random numbers"),
        (DrawsOne, "draws random numbers"),
        (Hooked, "has backward hooks, which run in the loop alone"),
        (StopsGradient, "differs from the plain module"),
    ],
)
def test_what_cannot_be_stacked_is_refused_with_the_reason(
    module: type[nn.Module], reason: str
) -> None:
    subject = Case(lambda: module(6, 3), vectors()).subject()
    with pytest.raises(CannotStackError, match=reason):
        check_against_plain(partial(StackedNetwork, subject.models[0]), subject)
