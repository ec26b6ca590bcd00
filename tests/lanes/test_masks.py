"""Masks of dropout are those of the plain module, in whatever layout it has its tensors."""

from __future__ import annotations

import pytest
import torch
from lanes.networks import CLASSES
from torch import Tensor, nn
from torch.nn import functional

from evolute.lanes.choose import choose


class Encoder(nn.Module):
    """Torch's own layer, which drops from a tensor that lies transposed if the batch is first."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=batch_first)
        self.head = nn.Linear(8, 3)
        self.axis = 1 if batch_first else 0

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).mean(self.axis))  # type: ignore[no-any-return]


@pytest.mark.parametrize("batch_first", [True, False])
def test_torchs_encoder_layer_with_dropout_is_stacked(*, batch_first: bool) -> None:
    inputs = torch.randn(16, 5, 8) if batch_first else torch.randn(5, 16, 8)
    batch = inputs, torch.randint(3, (16,))
    choice = choose(
        lambda: Encoder(batch_first=batch_first),
        batch,
        CLASSES,
        name="encoder",
        version="1",
        size=4,
        plan="stacked",  # an error if it is not as the plain module
        remembering=False,
    )
    assert choice.plan == "stacked"


class Pooled(nn.Module):
    """Drops from what was pooled along places, which lies in memory as it came."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.avg_pool1d(self.words(x).transpose(1, 2), 3, 1, 1).transpose(1, 2)
        return self.head(functional.dropout(pooled, 0.3, self.training)[:, 0])  # type: ignore[no-any-return]


def test_dropout_after_pooling_of_sequences_is_stacked() -> None:
    batch = torch.randint(9, (7, 5)), torch.randint(3, (7,))
    choice = choose(
        Pooled, batch, CLASSES, name="pooled", version="1", size=4, plan="stacked",
        remembering=False,
    )  # fmt: skip
    assert choice.plan == "stacked"
