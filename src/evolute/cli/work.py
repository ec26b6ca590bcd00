"""Live progress of long work other than a search: a bar with the time left, or a line at times."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from evolute.runs.budget import format_seconds
from evolute.workbench.bench import WorkListener

SECONDS_BETWEEN_LINES = 15.0


class WorkDisplay(WorkListener):
    """Shows how many trainings are known and how long the rest takes; used in a ``with`` block.

    Parameters
    ----------
    console
        Where to draw, usually standard error so that standard output holds results alone.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("trainings, left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._phase = ""
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def trained(self, phase: str, done: int, expected: int) -> None:
        if phase != self._phase:
            self._phase, self._started = phase, time.monotonic()
            for shown in self._progress.task_ids:
                self._progress.remove_task(shown)
            self._shown = self._progress.add_task(phase, total=expected)
        if self._console.is_terminal:
            self._progress.update(self._shown, completed=done, total=expected)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            left = (self._last_line - self._started) * (expected - done) / done
            line = f"{phase}: {done} of about {expected} trainings, {format_seconds(left)} left"
            self._console.print(Text(line), soft_wrap=True)
