"""Live progress of long work other than a search: a bar with the time left, or a line at times."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evolute.cli.display import SECONDS_BETWEEN_LINES, Display
from evolute.runs.budget import format_seconds
from evolute.workbench.bench import WorkListener


class WorkDisplay(Display, WorkListener):
    """Shows how many trainings are known and how long the rest takes; used in a ``with`` block.

    Parameters
    ----------
    console
        Where to draw, usually standard error so that standard output holds results alone.
    """

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("trainings, left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        super().__init__(console, self._bars, first_line_after=SECONDS_BETWEEN_LINES)
        self._phase = ""
        self._started = time.monotonic()

    def trained(self, phase: str, done: int, expected: int) -> None:
        if phase != self._phase:
            self._phase, self._started = phase, time.monotonic()
            for shown in self._bars.task_ids:
                self._bars.remove_task(shown)
            self._shown = self._bars.add_task(phase, total=expected)

        def line() -> str:
            left = (time.monotonic() - self._started) * (expected - done) / done
            return f"{phase}: {done} of about {expected} trainings, {format_seconds(left)} left"

        self.show(
            lambda: self._bars.update(self._shown, completed=done, total=expected),
            line,
        )
