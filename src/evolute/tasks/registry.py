"""The tasks that come with the package: one row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evolute.tasks.base import Task

Build = Callable[[Path | None], Task]
"""build(data_dir) -> task; reading no file, or only those under the folder given."""


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What a task states of itself without reading its data.

    Parameters
    ----------
    family
        ``vision``, ``language``, ``tabular``, ``control`` or ``fine-tuning``.
    examples
        Sizes of the training, validation and test split, in words where they follow from a file.
    splits
        How the three are told apart.
    inputs
        Shape of one example.
    classes
        Number of classes in words; ``–`` where there are none.
    network
        What is trained.
    loss, metric
        Their names.
    licence, source
        Of the data.
    needs
        What has to be there: an optional extra, or files; ``nothing`` otherwise.
    """

    family: str
    examples: str
    splits: str
    inputs: str
    classes: str
    network: str
    licence: str
    source: str
    loss: str = "cross_entropy"
    metric: str = "accuracy"
    needs: str = "nothing"


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One row of the task table.

    Parameters
    ----------
    name
        As given to ``--task``.
    description
        One line: data, size, classes, network.
    facts
        What it states of itself.
    build
        Makes the task from the files under a data folder; None: from where the package looks.
    """

    name: str
    description: str
    facts: TaskFacts
    build: Build


TASKS: dict[str, TaskRow] = {}
"""Rows by name, in the order of their definition."""


def enter(name: str, description: str, facts: TaskFacts, build: Build) -> None:
    """Enter a task into :data:`TASKS`; ``build`` is called when the task is asked for."""
    TASKS[name] = TaskRow(name, description, facts, build)


def builtin(
    name: str, description: str, facts: TaskFacts
) -> Callable[[Callable[[], Task]], Callable[[], Task]]:
    """Enter the decorated builder, which reads no file of the user's, into :data:`TASKS`."""

    def decorate(build: Callable[[], Task]) -> Callable[[], Task]:
        enter(name, description, facts, lambda _: build())
        return build

    return decorate
