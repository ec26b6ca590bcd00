"""Networks that the tests of lanes share, with a batch and a criterion each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evolute.lanes.check import Subject
from evolute.lanes.criterion import LaneCriterion
from evolute.tasks.criteria import accuracy
from evolute.tasks.networks import perceptron, published_convnet

CLASSES = LaneCriterion(
    functional.cross_entropy,
    accuracy,
    named_loss="cross_entropy",
    named_metric="accuracy",
)
SQUARES = LaneCriterion(functional.mse_loss, named_loss="mse")


class Block(nn.Module):
    """A block of a transformer, as a user would write it."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.heads, self.dropout = heads, dropout

    def forward(self, x: Tensor) -> Any:
        examples, length, width = x.shape
        parts = self.queries(self.first(x)).chunk(3, dim=-1)
        shape = (examples, length, self.heads, width // self.heads)
        query, key, value = (part.view(*shape).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, dropout_p=self.dropout if self.training else 0.0
        )
        x = x + self.out(mixed.transpose(1, 2).reshape(examples, length, width))
        return x + self.mlp(self.second(x))


class Transformer(nn.Module):
    """Characters in, the next character out."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.position = nn.Parameter(torch.randn(16, 8) * 0.1)
        self.blocks = nn.Sequential(Block(8, 2, dropout), Block(8, 2, dropout))
        self.head = nn.Linear(8, 11)

    def forward(self, x: Tensor) -> Any:
        embedded = self.embedding(x) + self.position[: x.shape[1]]
        return self.head(self.blocks(embedded)).transpose(1, 2)


@dataclass(frozen=True)
class Case:
    """A network, a batch and how it is measured."""

    build: Callable[[], nn.Module]
    batch: tuple[Any, Any]
    criterion: LaneCriterion = CLASSES

    def subject(self) -> Subject:
        """Three models of different weights and two batches, for the check."""
        with torch.random.fork_rng():
            models = []
            for seed in range(3):
                torch.manual_seed(seed)
                models.append(self.build())
        inputs, targets = self.batch
        batches = (self.batch, (inputs.flip(0), targets))
        return Subject(tuple(models), batches, self.criterion, "float32", torch.device("cpu"))


def vectors(features: int = 6, examples: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(examples, features, generator=generator)
    return inputs, torch.randint(3, (examples,), generator=generator)


def images(size: int = 8, channels: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(8, channels, size, size, generator=generator)
    return inputs, torch.randint(10, (8,), generator=generator)


def texts() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randint(11, (5, 7), generator=generator) for _ in range(2))  # type: ignore[return-value]


CASES = {
    "perceptron": Case(lambda: perceptron([6, 5, 3]), vectors()),
    "convnet": Case(lambda: published_convnet(channels=1, classes=10, width=4), images()),
    "transformer": Case(Transformer, texts()),
}
