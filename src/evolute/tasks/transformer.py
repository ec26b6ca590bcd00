"""Transformers: the block that reads a sequence, a model of text and a model of images.

Source: A. Vaswani and others, *Attention Is All You Need* (2017), with the normalisation in front
of each part (R. Xiong and others, *On Layer Normalization in the Transformer Architecture*, 2020).

Every shape is written from its end, so that a copy of the network with more leading dimensions runs
the same code, and nothing depends on the values of a tensor.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

FEED_FORWARD = 4
"""Width of the feed-forward part, in widths of the block."""


class Attention(nn.Module):
    """Multi-head self-attention: softmax(q·kᵀ/√d)·v in each head, then a linear map.

    Parameters
    ----------
    width
        Of each vector of the sequence [..., T, width].
    heads
        How many; they divide the width.
    causal
        Whether a place sees itself and earlier ones only.
    """

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = width // heads
        self.causal = causal
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, sequence: Tensor) -> Tensor:
        """Map [..., T, width] to the same shape."""
        seen = functional.scaled_dot_product_attention(
            self._by_head(self.query(sequence)),
            self._by_head(self.key(sequence)),
            self._by_head(self.value(sequence)),
            is_causal=self.causal,
        )
        mapped: Tensor = self.output(seen.transpose(-3, -2).flatten(-2))
        return mapped

    def _by_head(self, sequence: Tensor) -> Tensor:
        """Turn [..., T, width] into [..., heads, T, head width]."""
        heads: Tensor = sequence.unflatten(-1, (self.heads, self.head_width))
        return heads.transpose(-3, -2)


class Block(nn.Module):
    """One layer: x + attention(norm(x)), then x + feed-forward(norm(x)).

    Parameters
    ----------
    width, heads, causal
        As in :class:`Attention`.
    """

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal=causal)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(
            nn.Linear(width, FEED_FORWARD * width),
            nn.GELU(),
            nn.Linear(FEED_FORWARD * width, width),
        )

    def forward(self, sequence: Tensor) -> Tensor:
        """Map [..., T, width] to the same shape."""
        sequence = sequence + self.attention(self.attention_norm(sequence))
        fed: Tensor = sequence + self.feed(self.feed_norm(sequence))
        return fed


class CharacterModel(nn.Module):
    """A causal transformer that says which character comes next.

    Parameters
    ----------
    characters
        How many there are.
    context
        Length T of the texts it reads [N, T].
    width
        Of the vector of a character; a multiple of ``heads``.
    layers, heads
        How many.
    """

    def __init__(
        self, characters: int, context: int, *, width: int = 64, layers: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        self.characters = nn.Embedding(characters, width)
        self.places = nn.Embedding(context, width)
        self.layers = nn.Sequential(*(Block(width, heads, causal=True) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, characters)
        self.order: Tensor
        self.register_buffer("order", torch.arange(context), persistent=False)

    def forward(self, text: Tensor) -> Tensor:
        """Map the numbers of characters [N, T] to scores [N, characters, T]."""
        sequence = self.layers(self.characters(text) + self.places(self.order))
        scores: Tensor = self.head(self.norm(sequence))
        return scores.transpose(-2, -1)


class VisionTransformer(nn.Module):
    """A small vision transformer: patches as a sequence, their mean as the image's vector.

    A. Dosovitskiy and others, *An Image is Worth 16×16 Words* (2021); the mean in place of a class
    token after L. Beyer and others, *Better plain ViT baselines for ImageNet-1k* (2022).

    Parameters
    ----------
    channels, size
        Of the images [N, channels, size, size].
    classes
        Number of outputs.
    patch
        Side of a patch; it divides the size.
    width, layers, heads
        As in :class:`CharacterModel`.
    """

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        classes: int,
        patch: int = 4,
        width: int = 64,
        layers: int = 4,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.places = nn.Parameter(0.02 * torch.randn((size // patch) ** 2, width))
        self.layers = nn.Sequential(*(Block(width, heads, causal=False) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, channels, size, size] to scores [N, classes]."""
        sequence = self.patches(images).flatten(-2).transpose(-2, -1) + self.places
        scores: Tensor = self.head(self.norm(self.layers(sequence)).mean(-2))
        return scores
