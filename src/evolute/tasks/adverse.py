"""Adverse conditions around any task, written behind its name: ``digits+label-noise=0.2``.

Each is one row of :data:`CONDITIONS`. They touch training alone: validation and test data, loss and
metric stay what they were. Conditions are put around a task in the order of the table, whatever the
order they were written in, and the task's name and version say them.
"""

from __future__ import annotations

import copy
import math
import re
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Generator, Tensor, nn

from evolute.errors import TaskError, UnknownNameError
from evolute.seeds import torch_generator
from evolute.tasks.base import Measurement, Split, Task
from evolute.tasks.data import Batch, Data, TensorData, as_tensors

_WRITTEN = re.compile(r"\+([a-z][a-z-]*)=([^+=/:]*)$")


@dataclass(frozen=True, slots=True)
class Condition:
    """One row of the table.

    Parameters
    ----------
    name
        As it is written behind a task.
    summary
        What it does, in a line; X is its number.
    lowest, highest
        Range of its number, both included.
    whole
        Whether its number is an integer.
    wrap
        wrap(task, number) -> the task under the condition; its name and version are set by others.
    """

    name: str
    summary: str
    lowest: float
    highest: float
    whole: bool
    wrap: Callable[[Task, float], Task]


def split_conditions(text: str) -> tuple[str, dict[str, float]]:
    """Return what stands in front of the conditions, and the number of each by its name.

    Parameters
    ----------
    text
        Name of a task or of a file, and conditions: ``digits+label-noise=0.2+batch=4``.

    Raises
    ------
    UnknownNameError
        If there is no such condition.
    TaskError
        If its number is none, or out of its range, or a condition is written twice.

    Examples
    --------
    >>> split_conditions("digits+label-noise=0.2+batch=4")
    ('digits', {'label-noise': 0.2, 'batch': 4.0})
    """
    found: dict[str, float] = {}
    while (match := _WRITTEN.search(text)) is not None:
        name, number = match.groups()
        if name not in CONDITIONS:
            raise UnknownNameError("condition", name, CONDITIONS)
        if name in found:
            raise TaskError(f"the condition {name!r} is written twice: write it once")
        found = {name: _number(CONDITIONS[name], number)} | found
        text = text[: match.start()]
    return text, found


def under_conditions(task: Task, conditions: dict[str, float]) -> Task:
    """Return the task under these conditions; the task itself where there is none.

    Parameters
    ----------
    task
        Any task; it is left as it is.
    conditions
        Number by name.

    Raises
    ------
    TaskError
        If a condition cannot be put around this task.

    Examples
    --------
    >>> from evolute.tasks.digits import digits
    >>> under_conditions(digits(), {"label-noise": 0.2}).name
    'digits+label-noise=0.2'
    """
    wrapped = task
    said = ""
    for name, row in CONDITIONS.items():
        if name in conditions:
            wrapped = row.wrap(wrapped, conditions[name])
            said += f"+{name}={conditions[name]:.12g}"  # no exponent with a plus in it
    return wrapped if not said else wrapped.renamed(task.name + said, f"{task.version}{said}")


def _number(row: Condition, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not row.lowest <= number <= row.highest or (row.whole and number != int(number)):
        kind = "an integer" if row.whole else "a number"
        raise TaskError(
            f"the condition {row.name}={text}: give {kind} from {row.lowest:g} to {row.highest:g}"
        )
    return number


def _relabelled(task: Task, share: float) -> Task:
    """Give this share of the training examples another label, drawn evenly from the others."""
    data, labels = _labelled(task, "label-noise")
    generator = torch_generator(0, "label noise")
    classes = int(labels.max()) + 1
    wrong = torch.rand(labels.shape, generator=generator) < share
    shift = torch.randint(1, max(2, classes), labels.shape, generator=generator)
    return task.with_training(
        data.with_targets(torch.where(wrong, (labels + shift) % classes, labels))
    )


def _imbalanced(task: Task, ratio: float) -> Task:
    """Keep n·ratio^(−c/(C−1)) examples of class c: the first class is ``ratio`` times the last.

    The long tail of Y. Cui and others, *Class-Balanced Loss Based on Effective Number of Samples*
    (2019); n is the size of the smallest class before, so that every class can give its part.
    """
    data, labels = _labelled(task, "class-imbalance")
    if labels.ndim != 1:
        raise TaskError(
            f"task {task.name!r}: class-imbalance needs one label for each example, and its "
            f"targets have shape {tuple(labels.shape)}"
        )
    generator = torch_generator(0, "class imbalance")
    order = torch.randperm(len(labels), generator=generator)
    names = labels.unique()
    most = int(torch.bincount(labels)[names].min())
    kept = []
    for rank, label in enumerate(names):
        share = ratio ** (-rank / max(1, len(names) - 1))
        of_class = order[labels[order] == label]
        kept.append(of_class[: max(1, round(most * share))])
    return task.with_training(data.chosen(torch.cat(kept).sort().values))


def _labelled(task: Task, condition: str) -> tuple[TensorData, Tensor]:
    """Return the training data as tensors, and its class labels."""
    data = as_tensors(_training(task, condition), f"task {task.name!r}: {condition}")
    labels = data.targets
    if labels.is_floating_point() or labels.dtype == torch.bool or int(labels.min()) < 0:
        raise TaskError(
            f"task {task.name!r}: {condition} needs class labels 0, 1, 2, … as targets, and they "
            f"are of type {labels.dtype}"
        )
    return data, labels


def _training(task: Task, condition: str) -> Data:
    data = task.training_data
    if data is None:
        raise TaskError(
            f"task {task.name!r}: {condition} needs training data, and this task makes its own "
            "while it trains"
        )
    return data


class _FixedBatchData(Data):
    """The same data in batches of one size, whatever the protocol says."""

    def __init__(self, data: Data, batch_size: int) -> None:
        self._data = data
        self._batch_size = batch_size

    def shuffled(self, generator: Generator, batch_size: int) -> Iterator[Batch]:  # noqa: ARG002
        return self._data.shuffled(generator, self._batch_size)

    def in_order(self) -> Iterator[Batch]:
        return self._data.in_order()


def _in_batches(task: Task, batch_size: float) -> Task:
    return task.with_training(_FixedBatchData(_training(task, "batch"), int(batch_size)))


class Perturbation(ABC):
    """What is done to the gradient of each weight, in every step."""

    @abstractmethod
    def __call__(self, gradient: Tensor, generator: Generator) -> Tensor:
        """Return the gradient as the optimizer sees it."""


@dataclass(frozen=True, slots=True)
class GradientNoise(Perturbation):
    """g + level·rms(g)·ξ, with ξ normal: noise in proportion to each weight's gradient.

    Parameters
    ----------
    level
        Standard deviation of the noise, in root mean squares of the gradient.
    """

    level: float

    def __call__(self, gradient: Tensor, generator: Generator) -> Tensor:
        size = gradient.square().mean().sqrt()
        noise = torch.randn(gradient.shape, generator=generator).to(gradient)
        return gradient + self.level * size * noise


@dataclass(frozen=True, slots=True)
class SparseGradients(Perturbation):
    """Each entry of a gradient is zero with this probability, as the rows of embeddings mostly are.

    Parameters
    ----------
    share
        The probability.
    """

    share: float

    def __call__(self, gradient: Tensor, generator: Generator) -> Tensor:
        kept = torch.rand(gradient.shape, generator=generator) >= self.share
        return gradient * kept.to(gradient)


class _Perturbed(torch.autograd.Function):
    """The identity, whose gradient is perturbed on its way back."""

    @staticmethod
    def forward(context: Any, weight: Tensor, perturbation: Perturbation, seed: int) -> Tensor:
        context.perturbation, context.seed = perturbation, seed
        return weight.view_as(weight)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        generator = Generator().manual_seed(context.seed)
        return context.perturbation(gradients[0], generator), None, None


class _PerturbedModel(nn.Module):
    """A model whose weights are read through a perturbation; it holds no weight of its own."""

    def __init__(self, model: nn.Module, perturbation: Perturbation) -> None:
        super().__init__()
        self._perturbation = perturbation
        self._model = weakref.ref(model)  # no submodule: its weights and mode stay its own

    def forward(self, *inputs: Any) -> Any:
        # Anew in each pass: nothing is left on the model, so copies of it need no care.
        model = self._model()
        assert model is not None, "who measures a model holds it"
        perturbed: Callable[..., Tensor] = _Perturbed.apply
        named = [each for each in model.named_parameters() if each[1].requires_grad]
        # Drawn here, as dropout draws, not in the backward pass, whose order is autograd's affair.
        seeds = torch.randint(2**62, (len(named),)).tolist()
        weights = {
            name: perturbed(weight, self._perturbation, seed)
            for (name, weight), seed in zip(named, seeds, strict=True)
        }
        return torch.func.functional_call(model, weights, inputs)


class PerturbedTask(Task):
    """A task whose gradients are perturbed in training; all else is the task's own.

    Parameters
    ----------
    task
        Any task.
    perturbation
        What is done to each gradient.
    """

    def __init__(self, task: Task, perturbation: Perturbation) -> None:
        self.__dict__.update(copy.copy(task).__dict__)
        self._task = task
        self._perturbation = perturbation
        self._perturbed: WeakKeyDictionary[nn.Module, _PerturbedModel] = WeakKeyDictionary()

    def model(self, width: int | None = None) -> nn.Module:
        return self._task.model(width)

    def batches(
        self, generator: Generator, batch_size: int, *, augment: bool = False
    ) -> Iterator[Batch]:
        return self._task.batches(generator, batch_size, augment=augment)

    def first_batch(self, split: Split) -> Batch:
        return self._task.first_batch(split)

    def measure(self, model: nn.Module, batch: Batch, *, with_metric: bool = True) -> Measurement:
        if not torch.is_grad_enabled():
            return self._task.measure(model, batch, with_metric=with_metric)
        # One for each model and for good: a task may keep something of its own for a model.
        perturbed = self._perturbed.setdefault(model, _PerturbedModel(model, self._perturbation))
        return self._task.measure(perturbed, batch, with_metric=with_metric)

    def evaluate(self, model: nn.Module, split: Split) -> Any:
        return self._task.evaluate(model, split)


CONDITIONS: dict[str, Condition] = {
    row.name: row
    for row in (
        Condition(
            "label-noise",
            "a share X of the training labels is wrong",
            0.0, 1.0, False, _relabelled,
        ),
        Condition(
            "class-imbalance",
            "the most frequent class has X times the training examples of the rarest",
            1.0, 1e4, False, _imbalanced,
        ),
        Condition(
            "batch",
            "X examples in each training batch, whatever the protocol says",
            1, 1_000_000, True, _in_batches,
        ),
        Condition(
            "gradient-noise",
            "normal noise on each gradient, X times its root mean square",
            0.0, 1e3, False, lambda task, level: PerturbedTask(task, GradientNoise(level)),
        ),
        Condition(
            "sparse-gradients",
            "a share X of each gradient's entries is zero, drawn anew in each step",
            0.0, 0.999, False, lambda task, share: PerturbedTask(task, SparseGradients(share)),
        ),
    )
}  # fmt: skip
"""Conditions by name, in the order in which they are put around a task."""
