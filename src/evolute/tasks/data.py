"""Data: the examples of one split, in whatever form a user has them.

Guarantees of every form
------------------------
* A pass is repeatable: the same generator state gives the same batches, whatever ran before, also
  where the user's own code draws from the global generators of torch, NumPy or Python.
* A batch is a pair (inputs, targets); the first dimension of the targets counts the examples.
* Nothing of the user's is changed: generators of a loader are put back after each batch.
* Not thread-safe where the user's own Dataset or loader is not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Union

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset, default_collate

from evolute.errors import TaskError, shorten
from evolute.seeds.streams import Stream

Batch = tuple[Any, Any]
"""(inputs, targets)."""

DataLike = Union["Data", tuple[Tensor, Tensor], Dataset[Any], Iterable[Any]]
"""What a user may give for a split; see :func:`as_data`."""

EVALUATION_BATCH_SIZE = 1000
"""Examples per batch where nothing is trained: the result does not depend on the protocol's."""

_ALLOWED = (
    "give a pair of tensors (inputs, targets), a torch Dataset of pairs, or an iterable of "
    "(inputs, targets) batches such as a DataLoader"
)


class Data(ABC):
    """The examples of one split; see the guarantees in the module's docstring."""

    @abstractmethod
    def shuffled(self, generator: Generator, batch_size: int) -> Iterator[Batch]:
        """Yield the batches of one pass, in an order drawn from ``generator``.

        Batches are full: what is left over at the end of the pass is dropped, and a batch size
        larger than the data is cut down to it.
        """

    @abstractmethod
    def in_order(self) -> Iterator[Batch]:
        """Yield the batches of one pass over all examples."""


class TensorData(Data):
    """A pair of tensors, examples along the first dimension of both.

    Parameters
    ----------
    inputs, targets
        All examples.
    prepare
        Applied to the inputs of each batch, such as bytes made numbers; None: given as they are.
    """

    def __init__(
        self, inputs: Tensor, targets: Tensor, prepare: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self._inputs = inputs
        self._targets = targets
        self._prepare = prepare

    @property
    def targets(self) -> Tensor:
        """The targets of all examples."""
        return self._targets

    def with_targets(self, targets: Tensor) -> TensorData:
        """Return the same inputs with other targets."""
        return TensorData(self._inputs, targets, self._prepare)

    def chosen(self, index: Tensor) -> TensorData:
        """Return the examples of these positions alone, in their order."""
        return TensorData(self._inputs[index], self._targets[index], self._prepare)

    def shuffled(self, generator: Generator, batch_size: int) -> Iterator[Batch]:
        for index in index_batches(len(self._targets), generator, batch_size=batch_size):
            yield self._prepared(_rows(self._inputs, index)), _rows(self._targets, index)

    def in_order(self) -> Iterator[Batch]:
        for inputs, targets in zip(
            torch.split(self._inputs, EVALUATION_BATCH_SIZE),
            torch.split(self._targets, EVALUATION_BATCH_SIZE),
            strict=True,
        ):
            yield self._prepared(_apart(inputs)), _apart(targets)

    def _prepared(self, inputs: Tensor) -> Tensor:
        return inputs if self._prepare is None else self._prepare(inputs)


class DatasetData(Data):
    """A map-style Dataset of pairs, read example by example and collated."""

    def __init__(self, dataset: Dataset[Any], length: int) -> None:
        self._dataset = dataset
        self._length = length

    def shuffled(self, generator: Generator, batch_size: int) -> Iterator[Batch]:
        stream = Stream(_draw_seed(generator))
        for index in index_batches(self._length, generator, batch_size=batch_size):
            with stream.active():
                batch = self._collate(index.tolist())
            yield batch

    def in_order(self) -> Iterator[Batch]:
        stream = Stream(0)
        for start in range(0, self._length, EVALUATION_BATCH_SIZE):
            with stream.active():
                end = min(start + EVALUATION_BATCH_SIZE, self._length)
                batch = self._collate(range(start, end))
            yield batch

    def _collate(self, indices: Iterable[int]) -> Batch:
        return _pair(default_collate([self._dataset[index] for index in indices]))


class LoaderData(Data):
    """An iterable of batches that can be gone through again: its own batch size and order count."""

    def __init__(self, loader: Iterable[Any]) -> None:
        self._loader = loader

    def shuffled(self, generator: Generator, batch_size: int) -> Iterator[Batch]:  # noqa: ARG002
        return self._pass(_draw_seed(generator))

    def in_order(self) -> Iterator[Batch]:
        return self._pass(0)

    def _pass(self, seed: int) -> Iterator[Batch]:
        stream = Stream(seed)
        own = [_OwnGenerator(generator, seed) for generator in _generators_of(self._loader)]
        lent: list[Stream | _OwnGenerator] = [stream, *own]
        end = object()
        iterator: Iterator[Any] | None = None
        while True:
            with ExitStack() as stack:
                for held in lent:
                    stack.enter_context(held.active())
                if iterator is None:
                    iterator = iter(self._loader)
                batch = next(iterator, end)
            if batch is end:
                return
            inputs, targets = _pair(batch)
            yield _apart(inputs), _apart(targets)


class _OwnGenerator:
    """A generator that belongs to the user's loader, lent to one pass batch by batch."""

    def __init__(self, generator: Generator, seed: int) -> None:
        self._generator = generator
        self._state = Generator().manual_seed(seed).get_state()

    @contextmanager
    def active(self) -> Iterator[None]:
        outer = self._generator.get_state()
        self._generator.set_state(self._state)
        try:
            yield
        finally:
            self._state = self._generator.get_state()
            self._generator.set_state(outer)


def as_data(given: object, what: str) -> Data:
    """Return the Data form of what a user gave for a split.

    Parameters
    ----------
    given
        A pair of tensors (inputs, targets); a map-style :class:`torch.utils.data.Dataset` of
        pairs; or an iterable of (inputs, targets) batches that can be gone through again and again,
        such as a DataLoader or a list; or a Data, which is returned.
    what
        The split, for messages.

    Raises
    ------
    TaskError
        If it is none of these, or empty.
    """
    if isinstance(given, Data):
        return given
    arrays = Tensor | np.ndarray  # a pair of NumPy arrays is told what to give, not read as batches
    if isinstance(given, tuple | list) and any(isinstance(part, arrays) for part in given):
        return _tensor_data(tuple(given), what)
    if isinstance(given, IterableDataset):
        raise TaskError(
            f"{what} is an IterableDataset, one example at a time: wrap it in a DataLoader"
        )
    if isinstance(given, TensorDataset) and len(given.tensors) == 2:
        return _tensor_data(given.tensors, what)
    if isinstance(given, Dataset):
        length = len(given) if hasattr(given, "__len__") else 0
        if not length:
            raise TaskError(f"{what} is a Dataset without a length, or empty: {_ALLOWED}")
        return DatasetData(given, length)
    if isinstance(given, Iterator):
        raise TaskError(
            f"{what} is an iterator, which can be gone through only once: give what makes it, "
            "such as a list or a DataLoader"
        )
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | dict | Tensor):
        return LoaderData(given)
    raise TaskError(f"{what} is of type {type(given).__name__}: {_ALLOWED}")


def as_tensors(data: Data, what: str) -> TensorData:
    """Return the examples of one pass in order as two tensors.

    Parameters
    ----------
    data
        Any form; pictures and texts of one size.
    what
        Whose data, for messages.

    Raises
    ------
    TaskError
        If its batches are no pairs of tensors, or their shapes differ.
    """
    if isinstance(data, TensorData):
        return data
    batches = list(data.in_order())
    if not all(isinstance(part, Tensor) for batch in batches for part in batch):
        raise TaskError(f"{what} needs training data whose batches are pairs of tensors")
    try:
        inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    except (RuntimeError, ValueError) as error:
        raise TaskError(
            f"{what} needs training examples of one shape ({shorten(str(error))})"
        ) from None
    return _tensor_data((inputs, targets), what)


def endless(data: Data, generator: Generator, *, batch_size: int) -> Iterator[Batch]:
    """Yield batches for ever, pass after pass.

    Raises
    ------
    TaskError
        If a pass has no batch.
    """
    while True:
        batch: Batch | None = None
        for batch in data.shuffled(generator, batch_size):
            yield batch
        if batch is None:
            raise TaskError("the training data has no batch: give at least one")


def _tensor_data(parts: tuple[object, ...], what: str) -> TensorData:
    match parts:
        case (Tensor() as inputs, Tensor() as targets):
            pass
        case _:
            kinds = ", ".join(type(part).__name__ for part in parts)
            raise TaskError(f"{what} holds ({kinds}): {_ALLOWED}")
    if inputs.ndim == 0 or targets.ndim == 0 or len(inputs) != len(targets) or not len(inputs):
        raise TaskError(
            f"{what} has inputs of shape {tuple(inputs.shape)} and targets of shape "
            f"{tuple(targets.shape)}: the first dimension of both counts the examples, at least 1"
        )
    return TensorData(inputs.detach(), targets.detach())


def index_batches(length: int, generator: Generator, *, batch_size: int) -> Iterator[Tensor]:
    """Yield the positions of full batches of one pass, in an order drawn from ``generator``."""
    size = min(batch_size, length)
    order = torch.randperm(length, generator=generator)
    for start in range(0, length - size + 1, size):
        yield order[start : start + size]


def _draw_seed(generator: Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator))


def _generators_of(loader: object) -> list[Generator]:
    """Return the generators that a DataLoader and its samplers hold, each once."""
    holders = [loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)]
    found = [getattr(holder, "generator", None) for holder in holders]
    unique = {id(item): item for item in found if isinstance(item, Generator)}
    return list(unique.values())


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Return rows of a tensor, in its own order of memory and on its own device."""
    if values.device.type == "cpu" and values.is_contiguous():
        return values.index_select(0, index)  # in a third of the time; images in a fifth
    return values[index]


def _apart(given: Any) -> Any:
    """Return tensors of their own, as a model may write into what it is given."""
    if isinstance(given, Tensor):
        return given.clone()
    if type(given) is dict:
        return {key: _apart(value) for key, value in given.items()}
    if type(given) in (list, tuple):
        return type(given)(_apart(value) for value in given)
    return given


def _pair(batch: object) -> Batch:
    if isinstance(batch, tuple | list) and len(batch) == 2:
        inputs, targets = batch
        return inputs, targets
    raise TypeError(
        f"a batch is a pair (inputs, targets), got {type(batch).__name__}"
        + (f" of {len(batch)}" if isinstance(batch, tuple | list) else "")
    )
