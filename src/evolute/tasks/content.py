"""The version of a task that states none: a hash of what it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from evolute.tasks.data import Data

DIGITS = 16
"""Hexadecimal digits of a version: 64 bits, far more than a store's tasks can collide in."""


def content_version(
    model: nn.Module, splits: Iterable[Data], *, texts: Sequence[str], weights: bool
) -> str:
    """Return a hash (BLAKE2b) of all examples, the shapes of the model's weights and some texts.

    Parameters
    ----------
    model
        Names and shapes of its state count; not its dtypes, which follow torch's default.
    splits
        Each is gone through once, in its own order.
    texts
        Further parts, such as the name of the loss.
    weights
        Whether the values of the model's state count too: for a model that is fine-tuned.
    """
    hasher = hashlib.blake2b(digest_size=DIGITS // 2)
    for text in texts:
        hasher.update(f"text {text}\n".encode())
    for name, value in model.state_dict().items():
        shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        hasher.update(f"weight {name} {shape}\n".encode())
        if weights:
            _add(hasher, value)
    for data in splits:
        hasher.update(b"split\n")
        for inputs, targets in data.in_order():
            _add(hasher, inputs)
            _add(hasher, targets)
    return hasher.hexdigest()


def _add(hasher: hashlib.blake2b, value: object) -> None:
    """Add a value that a batch may hold: tensors, numbers, texts, and containers of these."""
    match value:
        case Tensor():
            hasher.update(f"{value.dtype} {list(value.shape)}\n".encode())
            plain = value.detach().cpu().contiguous().reshape(-1)
            hasher.update(plain.view(torch.uint8).numpy().tobytes())
        case Mapping():
            for key in value:
                hasher.update(f"key {key}\n".encode())
                _add(hasher, value[key])
        case str() | bytes() | bool() | int() | float() | None:
            hasher.update(f"{value!r}\n".encode())
        case Iterable():
            for part in value:
                _add(hasher, part)
        case _:
            raise TypeError(f"a batch holds {type(value).__name__}, whose content has no hash")
