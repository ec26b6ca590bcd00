"""Lowering of convolutional networks: a trace of known layers becomes a chain on images.

What is not known here leaves the trace to the rows of the table.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from evolute.lanes.image_places import Image, ImageForm, ImageLayer
from evolute.lanes.norms import ACTIVATIONS
from evolute.lanes.stacked.chain import NoChainError
from evolute.lanes.stacked.table import find
from evolute.lanes.stacked.trace import Call, Place, Trace

_ONES = (1, (1, 1))


@dataclass(frozen=True, slots=True)
class _Given:
    """A weight or buffer by its name."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Value:
    """A value of the chain: images [N, C, H, W], or rows [N, F]."""

    number: int
    rows: bool


def lowered_images(
    found: Trace, inputs: Tensor, *, tensors: Mapping[str, Tensor], trained: frozenset[str]
) -> ImageForm | None:
    """Return the chain on images of a trace; None where it has none.

    Parameters
    ----------
    found
        The trace of a training step.
    inputs
        One lane's input.
    tensors
        Weights and buffers by name, with a lane axis.
    trained
        Names of those that are trained.
    """
    try:
        return _Lowering(found, inputs, tensors, trained).form()
    except NoChainError:
        return None


@dataclass(slots=True)
class _Lowering:
    found: Trace
    inputs: Tensor
    tensors: Mapping[str, Tensor]
    trained: frozenset[str]
    values: list[Image] = field(default_factory=list)
    layers: list[ImageLayer] = field(default_factory=list)
    masks: list[tuple[float, int]] = field(default_factory=list)
    known: dict[int, Any] = field(default_factory=dict)
    reads: Counter[int] = field(default_factory=Counter)
    used: set[str] = field(default_factory=set)

    def form(self) -> ImageForm:
        """Return the chain; raise where the trace holds what chains do not know."""
        self._begin()
        for call in self.found.calls:
            row = _ROWS.get(call.row)
            if row is None:
                raise NoChainError
            args = [self._of(each) for each in call.args]
            named = {name: self._of(each) for name, each in call.kwargs.items()}
            try:
                self.known[call.index] = row(self, *args, **named)
            except (TypeError, ValueError, IndexError):  # other arguments than are known here
                raise NoChainError from None
        output = self._of(self.found.output)
        if not isinstance(output, _Value) or not output.rows or not self.used >= self.trained:
            raise NoChainError
        return ImageForm(
            tuple(self.values), tuple(self.layers), output.number, self.examples, tuple(self.masks)
        )

    def _begin(self) -> None:
        shape = tuple(self.inputs.shape)
        plain = self.inputs.dtype == torch.float32 and len(shape) == 4
        if not plain or not self.inputs.numel() or self.found.constants:
            raise NoChainError
        self.values.append(Image(*shape[1:]))
        self.known[0] = _Value(0, rows=False)
        for name, index in self.found.names.items():
            self.known[index] = _Given(name, tuple(self.tensors[name].shape[1:]))
        for call in self.found.calls:
            self.reads.update(_places(call))

    @property
    def examples(self) -> int:
        """Of a batch."""
        return int(self.inputs.shape[0])

    def _of(self, value: Any) -> Any:
        return self.known[value.index] if isinstance(value, Place) else value

    def image(self, value: Any) -> Image:
        """Return the shape of an image; refuse anything else."""
        if not isinstance(value, _Value) or value.rows:
            raise NoChainError
        return self.values[value.number]

    def features(self, value: Any) -> int:
        """Return the number of features of rows; refuse anything else."""
        if not isinstance(value, _Value) or not value.rows:
            raise NoChainError
        return self.values[value.number].channels

    def held(self, given: Any, *shape: int, buffer: bool = False) -> str:
        """Return the name of a trained weight, or of a buffer, of this shape, used here alone."""
        if not isinstance(given, _Given) or given.shape != shape or given.name in self.used:
            raise NoChainError
        if self.tensors[given.name].dtype != torch.float32:
            raise NoChainError
        if (given.name in self.trained) == buffer:
            raise NoChainError
        self.used.add(given.name)
        return given.name

    def read_once(self, value: _Value) -> bool:
        """Say whether one layer alone reads a value, and so may write over it."""
        readers = [index for index, known in self.known.items() if known == value]
        return sum(self.reads[index] for index in readers) == 1

    def add(
        self, kind: str, out: Image, inputs: tuple[_Value, ...], *, rows: bool = False, **more: Any
    ) -> _Value:
        """Append a layer; return its result."""
        self.values.append(out)
        number = len(self.values) - 1
        self.layers.append(ImageLayer(kind, tuple(each.number for each in inputs), number, **more))
        return _Value(number, rows)


def _places(call: Call) -> list[int]:
    """Return what a call reads."""
    found: list[int] = []

    def look(value: Any) -> Any:
        if isinstance(value, Place):
            found.append(value.index)
        return value

    fx.node.map_aggregate((call.args, call.kwargs), look)
    return found


def _pair(value: Any) -> tuple[int, int]:
    first, second = value if isinstance(value, (tuple, list)) else (value, value)
    if not isinstance(first, int) or not isinstance(second, int):
        raise NoChainError
    return first, second


def _convolution(
    work: _Lowering, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> _Value:  # fmt: skip
    image = work.image(x)
    if dilation not in _ONES or groups != 1 or not isinstance(weight, _Given):
        raise NoChainError
    outputs, inputs, height, width = weight.shape
    if inputs != image.channels:
        raise NoChainError
    (down, right), (above, beside) = _pair(stride), _pair(padding)
    out = Image(
        outputs,
        (image.height + 2 * above - height) // down + 1,
        (image.width + 2 * beside - width) // right + 1,
    )
    if out.height < 1 or out.width < 1:
        raise NoChainError
    names = (
        work.held(weight, *weight.shape),
        None if bias is None else work.held(bias, outputs),
        None,
        None,
    )
    window = (height, width, down, right, above, beside)
    return work.add("convolve", out, (x,), held=names, window=window)


def _batch_norm(
    work: _Lowering, x: Any, running_mean: Any, running_var: Any, weight: Any = None,
    bias: Any = None, training: bool = False, momentum: Any = 0.1, eps: float = 1e-5, *,
    activation: str | None = None,
) -> _Value:  # fmt: skip
    image = work.image(x)
    if training is not True or not isinstance(momentum, float):
        raise NoChainError
    running = (running_mean, running_var)
    if running == (None, None):
        moved: list[str | None] = [None, None]
    else:
        moved = [work.held(each, image.channels, buffer=True) for each in running]
    names = (work.held(weight, image.channels), work.held(bias, image.channels), *moved)
    number = ACTIVATIONS[activation]
    return work.add(
        "normalise", image, (x,), held=names, number=number, epsilon=eps, momentum=momentum
    )


def _activation(name: str) -> Callable[..., _Value]:
    def activate(work: _Lowering, x: Any, inplace: bool = False) -> _Value:
        if not isinstance(x, _Value) or (inplace and not work.read_once(x)):
            raise NoChainError
        out = work.values[x.number]
        return work.add("activate", out, (x,), rows=x.rows, number=ACTIVATIONS[name])

    return activate


def _add(work: _Lowering, left: Any, right: Any) -> _Value:
    both = isinstance(left, _Value) and isinstance(right, _Value) and left != right
    if not both or left.rows != right.rows:
        raise NoChainError
    shape = work.values[left.number]
    if work.values[right.number] != shape:
        raise NoChainError
    return work.add("add", shape, (left, right), rows=left.rows)


def _average(work: _Lowering, x: Any, size: Any) -> _Value:
    image = work.image(x)
    if size not in _ONES:
        raise NoChainError
    return work.add("average", Image(image.channels), (x,))


def _flatten(work: _Lowering, x: Any, start_dim: int = 0, end_dim: int = -1) -> _Value:
    image = work.image(x)
    if (start_dim, end_dim) not in ((1, -1), (1, 3)):
        raise NoChainError
    return work.add("rows", Image(image.channels * image.pixels), (x,), rows=True)


def _reshape(work: _Lowering, x: Any, *sizes: Any) -> _Value:
    numbers = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    image = work.image(x)
    features = image.channels * image.pixels
    if numbers not in ((work.examples, -1), (work.examples, features), (-1, features)):
        raise NoChainError
    return _flatten(work, x, 1)


def _dropout(
    work: _Lowering, x: Any, p: float = 0.5, training: bool = True, inplace: bool = False
) -> _Value:
    features = work.features(x)
    if inplace and not work.read_once(x):
        raise NoChainError
    if not training or p == 0.0:
        result: _Value = x
        return result
    work.masks.append((p, features))
    out = Image(features)
    return work.add("drop", out, (x,), rows=True, number=len(work.masks) - 1)


def _linear(
    work: _Lowering, x: Any, weight: Any, bias: Any = None, *, activation: str | None = None
) -> _Value:
    features = work.features(x)
    if not isinstance(weight, _Given) or activation not in (None, "relu"):
        raise NoChainError
    outputs = weight.shape[0]
    names = (
        work.held(weight, outputs, features),
        None if bias is None else work.held(bias, outputs),
        None,
        None,
    )
    number = int(activation is not None)
    return work.add("linear", Image(outputs), (x,), rows=True, held=names, number=number)


def _count(work: _Lowering, counter: Any, number: Any) -> _Given:
    if not isinstance(counter, _Given) or counter.shape != () or not isinstance(number, int):
        raise NoChainError
    if work.tensors[counter.name].dtype != torch.int64 or counter.name in work.used:
        raise NoChainError
    work.used.add(counter.name)
    work.layers.append(
        ImageLayer("count", (), -1, held=(counter.name, None, None, None), number=number)
    )
    return counter


def _rows() -> dict[Any, Callable[..., Any]]:
    known: list[tuple[Callable[..., Any], list[Any]]] = [
        (_convolution, [functional.conv2d]),
        (_batch_norm, [functional.batch_norm]),
        (_activation("relu"), [functional.relu, torch.relu, "relu"]),
        (_activation("silu"), [functional.silu]),
        (_add, [operator.add, torch.add, "add"]),
        (_average, [functional.adaptive_avg_pool2d]),
        (_flatten, ["flatten"]),
        (_reshape, ["view"]),
        (_dropout, [functional.dropout]),
        (_linear, [functional.linear]),
        (_count, ["add_"]),
    ]
    return {find(key): handler for handler, keys in known for key in keys}


_ROWS = _rows()
