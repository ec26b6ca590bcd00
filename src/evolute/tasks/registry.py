"""The tasks that come with the package: one row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evolute.tasks.base import Task


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One row of the task table.

    Parameters
    ----------
    name
        As given to ``--task``.
    description
        One line: data, size, classes, network.
    build
        Makes the task.
    """

    name: str
    description: str
    build: Callable[[], Task]


TASKS: dict[str, TaskRow] = {}
"""Rows by name, in the order of their definition."""


def builtin(name: str, description: str) -> Callable[[Callable[[], Task]], Callable[[], Task]]:
    """Enter the decorated builder into :data:`TASKS`."""

    def enter(build: Callable[[], Task]) -> Callable[[], Task]:
        TASKS[name] = TaskRow(name, description, build)
        return build

    return enter
