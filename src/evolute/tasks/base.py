"""Task: what rules are tried on: a model, data, a loss, a metric, three splits and a version."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, Self

import torch
from torch import Generator, Tensor, nn

from evolute.errors import TaskError, UnknownNameError, shorten
from evolute.seeds.streams import seeded
from evolute.tasks.content import content_version
from evolute.tasks.criteria import LOSSES, METRICS, Loss, Metric
from evolute.tasks.data import Batch, Data, DataLike, as_data, endless
from evolute.tasks.faults import calling
from evolute.tasks.models import Models, ModelSource

Augment = Callable[[Any, Generator], Any]
"""augment(inputs, generator) -> inputs of the same shape."""


class Split(StrEnum):
    """The three parts of a task's data.

    Attributes
    ----------
    TRAIN
        What gradients come from.
    VALIDATION
        What fitness comes from.
    TEST
        What no search sees: for the verdict alone.
    """

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a model does on one batch.

    Parameters
    ----------
    loss
        Scalar tensor with its graph.
    metric
        Value of the task's metric; None for a task that has none, or where it was not asked for.
    """

    loss: Tensor
    metric: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model does on a whole split: means over its examples, which may be NaN."""

    loss: float
    metric: float | None


class Task:
    """A model, data, a loss and a metric: what a rule is tried on.

    Trainers rely on these guarantees: a model comes with weights that depend on torch's global
    generator alone; batches depend on the generator given alone; nothing of the user's is changed.
    A task is immutable; it is used by one thread at a time.

    Parameters
    ----------
    model
        A callable that returns a new ``nn.Module`` with freshly drawn weights; it is called as
        ``model(width=…)`` if it takes a ``width`` and the protocol names one. Or an ``nn.Module``
        to fine-tune: each training begins from a copy of it.
    train, validation, test
        Each a pair of tensors (inputs, targets); or a map-style Dataset of pairs; or an iterable
        of (inputs, targets) batches that can be gone through again and again, such as a DataLoader
        (then its own batch size counts, not the protocol's).
    name
        What the store and tables call it.
    loss
        ``"cross_entropy"``, ``"mse"``, or a callable (output, target) -> scalar tensor, the mean
        over the examples of a batch.
    metric
        ``"accuracy"``, a callable (output, target) -> number (mean over the examples, higher is
        better), or None.
    version
        Changes whenever the task changes: trials of another version are never reused. Without one
        it is computed from all data, the shapes of the model's weights and the names of loss and
        metric; a change in the *code* of model, loss, metric or augment then goes unseen, so give a
        version of your own if you edit these and keep the store.
    augment
        Applied to the inputs of training batches where the protocol augments; draws from the
        generator it is given.

    Raises
    ------
    TaskError
        If data is of no allowed form.
    UnknownNameError
        If there is no loss or metric of that name.

    Examples
    --------
    >>> inputs, targets = torch.rand(20, 3), torch.rand(20, 1)
    >>> task = Task(
    ...     name="line", model=lambda: nn.Linear(3, 1), loss="mse",
    ...     train=(inputs, targets), validation=(inputs, targets), test=(inputs, targets),
    ... )
    >>> next(task.batches(torch.Generator().manual_seed(0), 5))[0].shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        *,
        model: ModelSource,
        train: DataLike,
        validation: DataLike,
        test: DataLike,
        name: str,
        loss: str | Loss = "cross_entropy",
        metric: str | Metric | None = None,
        version: str | None = None,
        augment: Augment | None = None,
    ) -> None:
        self.name: Final = _checked_name(name)
        if not callable(model):
            raise TaskError(
                f"task {name!r}: model is of type {type(model).__name__}: give a callable that "
                "returns a new nn.Module, or an nn.Module"
            )
        self._model = model
        self._models = Models(model)
        given = {Split.TRAIN: train, Split.VALIDATION: validation, Split.TEST: test}
        self._data = {
            split: as_data(data, f"task {name!r}: the {split} data")
            for split, data in given.items()
        }
        self._loss = _named(loss, LOSSES, "loss")
        self._metric = None if metric is None else _named(metric, METRICS, "metric")
        self.metric: Final = None if metric is None else _name_of(metric)
        self.has_accuracy: Final = metric == "accuracy"
        self._loss_name = _name_of(loss)
        self._version = version
        self._augment = augment

    @cached_property
    def version(self) -> str:
        """The version given, or 16 hexadecimal digits computed from the task's content.

        Raises
        ------
        TaskError
            If the user's code raises while all data is read.
        """
        if self._version is not None:
            return self._version
        with (
            calling(self.name, "its data", advice="mend the data, or give a version="),
            seeded(0),
        ):
            return content_version(
                self.model(),
                [self._data[split] for split in Split],
                texts=[self._loss_name, str(self.metric)],
                weights=isinstance(self._model, nn.Module),
            )

    def model(self, width: int | None = None) -> nn.Module:
        """Return a model of its own; its weights are drawn from torch's global generator.

        Parameters
        ----------
        width
            Handed to a model source that takes a ``width``; others ignore it.

        Raises
        ------
        TaskError
            If the user's code raises, or returns no ``nn.Module``.
        """
        with calling(self.name, "its model", advice="mend what model= is"):
            return self._models.new(width, task=self.name)

    def batches(
        self, generator: Generator, batch_size: int, *, augment: bool = False
    ) -> Iterator[Batch]:
        """Yield training batches for ever, in an order that ``generator`` alone decides.

        Parameters
        ----------
        generator
            CPU generator; also what the task's augmentation draws from.
        batch_size
            Examples per batch, for data that has no batch size of its own.
        augment
            Whether to augment inputs; a task that has no augmentation ignores it.

        Raises
        ------
        TaskError
            If the user's code raises, or a batch is no pair.
        """
        batches = endless(self._data[Split.TRAIN], generator, batch_size=batch_size)
        while True:
            with calling(self.name, "its training data", advice="mend the data given as train="):
                inputs, targets = next(batches)
            if augment and self._augment is not None:
                with calling(self.name, "its augmentation", advice="mend what augment= is"):
                    inputs = self._augment(inputs, generator)
            yield inputs, targets

    def first_batch(self, split: Split) -> Batch:
        """Return the first batch of a split in its own order.

        Raises
        ------
        TaskError
            If the user's code raises, or there is no batch.
        """
        for batch in self.in_order(split):
            return batch
        raise TaskError(f"task {self.name!r}: the {split} data has no batch: give at least one")

    @property
    def criteria(self) -> tuple[Loss, Metric | None]:
        """Loss and metric as they were given or named: what :meth:`measure` calls."""
        return self._loss, self._metric

    @property
    def measures_itself(self) -> bool:
        """Whether a subclass measures in its own way, so that only its methods know the loss."""
        own = ("measure", "evaluate", "loss", "batches")
        return any(getattr(type(self), name) is not getattr(Task, name) for name in own)

    def loss(self, output: Any, target: Any) -> Tensor:
        """Return the loss of one batch, a scalar tensor.

        Raises
        ------
        TaskError
            If the user's loss raises, or returns no scalar tensor.
        """
        with calling(self.name, "its loss", advice="mend what loss= is, or the data's shapes"):
            loss: object = self._loss(output, target)
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                shape = f" of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else ""
                raise TypeError(f"it returned {type(loss).__name__}{shape}, not a scalar tensor")
            return loss.reshape(())

    def measure(self, model: nn.Module, batch: Batch, *, with_metric: bool = True) -> Measurement:
        """Return loss and metric of a model on one batch.

        Raises
        ------
        TaskError
            If the user's code raises, or returns what is not allowed.
        """
        inputs, targets = batch
        with calling(self.name, "its model's forward", advice="mend the model, or the inputs"):
            output = model(inputs)
        loss = self.loss(output, targets)
        if self._metric is None or not with_metric:
            return Measurement(loss, None)
        with (
            calling(self.name, "its metric", advice="mend what metric= is, or the data's shapes"),
            torch.no_grad(),
        ):
            return Measurement(loss, float(self._metric(output, targets)))

    def evaluate(self, model: nn.Module, split: Split) -> Evaluation:
        """Return loss and metric of a model over a split, in evaluation mode, without gradients.

        The mode that the model was in is put back.

        Raises
        ------
        TaskError
            If the user's code raises, or returns what is not allowed.
        """
        training = model.training
        model.eval()
        losses: list[float] = []
        metrics: list[float] = []
        counts: list[int] = []
        with torch.no_grad():
            for batch in self.in_order(split):
                measured = self.measure(model, batch)
                losses.append(measured.loss.item())
                metrics.append(measured.metric or 0.0)
                counts.append(_count(batch))
        model.train(training)
        if not sum(counts):
            raise TaskError(f"task {self.name!r}: the {split} data has no example")
        return Evaluation(
            _mean(losses, counts), None if self.metric is None else _mean(metrics, counts)
        )

    def in_order(self, split: Split) -> Iterator[Batch]:
        """Yield the batches of a split in its own order, once.

        Raises
        ------
        TaskError
            If the user's code raises.
        """
        batches = self._data[split].in_order()
        end = object()
        while True:
            with calling(self.name, f"its {split} data", advice=f"mend the data given as {split}="):
                batch = next(batches, end)
            if batch is end:
                return
            assert isinstance(batch, tuple)
            yield batch

    @property
    def training_data(self) -> Data | None:
        """The training data; None for a subclass that makes its own while it trains."""
        return self._data.get(Split.TRAIN)

    def with_training(self, data: Data) -> Self:
        """Return the same task with other training data; name and version are to follow."""
        changed = copy.copy(self)
        changed.__dict__["_data"] = {**self._data, Split.TRAIN: data}
        return changed

    def renamed(self, name: str, version: str) -> Self:
        """Return the same task under another name and version."""
        changed = copy.copy(self)
        changed.__dict__.pop("version", None)
        changed.__dict__.update(name=_checked_name(name), _version=version)
        return changed

    def __repr__(self) -> str:
        return f"Task(name={self.name!r}, metric={self.metric!r})"


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise TaskError(f"the name of a task is {shorten(repr(name))}: give a text of one line")
    return name


def _named(given: Any, rows: dict[str, Any], kind: str) -> Any:
    """Return the row of that name, or the callable given."""
    if isinstance(given, str):
        if given not in rows:
            raise UnknownNameError(kind, given, rows)
        return rows[given]
    if not callable(given):
        raise TaskError(
            f"a {kind} is of type {type(given).__name__}: give a callable (output, target), or "
            f"a name among {', '.join(rows)}"
        )
    return given


def _name_of(given: object) -> str:
    if isinstance(given, str):
        return given
    return str(getattr(given, "__name__", type(given).__name__))


def _count(batch: Batch) -> int:
    """Return the number of examples of a batch."""
    targets = batch[1]
    return len(targets) if isinstance(targets, Tensor) and targets.ndim else 1


def _mean(values: list[float], counts: list[int]) -> float:
    pairs = zip(values, counts, strict=True)
    return sum(value * count for value, count in pairs) / sum(counts)
