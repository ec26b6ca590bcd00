"""Live progress of a search, drawn with rich; where there is no terminal, a line now and then."""

from __future__ import annotations

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evolute.cli.display import Display
from evolute.errors import shorten
from evolute.runs.budget import format_seconds
from evolute.runs.listener import Forecast, Listener
from evolute.runs.run import Progress

REFRESHES_PER_SECOND = 4


class ProgressDisplay(Display, Listener):
    """Shows a search while it runs; used in a ``with`` block.

    Parameters
    ----------
    console
        Where to draw, usually standard error so that standard output holds results alone.
    """

    def __init__(self, console: Console) -> None:
        live = Live(console=console, refresh_per_second=REFRESHES_PER_SECOND, transient=True)
        super().__init__(console, live)
        self._live = live

    def choosing(self) -> None:
        self._draw("choosing how to train many copies side by side", None, {})

    def baselines(self, done: int, expected: int) -> None:
        self._draw(
            "scoring hand-made optimizers", done / expected, {"scored": f"{done}/{expected}"}
        )

    def forecast(self, forecast: Forecast) -> None:
        self._console.print(Text(describe_forecast(forecast)), soft_wrap=True)

    def progress(self, progress: Progress) -> None:
        left = progress.seconds_left
        figures: dict[str, object] = {
            "sampled": progress.sampled,
            "degenerate": progress.degenerate,
            "duplicate": progress.duplicate,
            "trained": progress.trained,
            "failed": progress.failed,
            "side by side": progress.under_way,
            "time left": "?" if left is None else format_seconds(left),
        }
        if progress.reused:
            figures["from the store"] = progress.reused
        best = None
        if progress.best_rule is not None and progress.best_fitness is not None:
            best = f"{progress.best_fitness:.4f}  {progress.best_rule}"
        self._draw(progress.phase, progress.fraction, figures, best=best)

    def verdict(self, done: int, expected: int) -> None:
        self._draw(
            "verdict: tuning and fresh seeds for both sides",
            done / expected,
            {"trained": f"{done}/{expected}"},
        )

    def _draw(
        self,
        phase: str,
        fraction: float | None,
        figures: dict[str, object],
        *,
        best: str | None = None,
    ) -> None:
        facts = "  ".join(f"{name} {value}" for name, value in figures.items())
        line = (f"{phase}: {facts}" if facts else f"{phase}…") + (f"  best {best}" if best else "")
        self.show(
            lambda: self._live.update(_panel(phase, fraction, facts, best)),
            lambda: line,
        )


def _panel(phase: str, fraction: float | None, facts: str, best: str | None) -> Table:
    grid = Table.grid()
    grid.add_row(Text(phase, style="bold"))
    grid.add_row(ProgressBar(total=1.0, completed=fraction or 0.0, width=60))
    grid.add_row(Text(facts))
    if best is not None:
        grid.add_row(Text(f"best so far {shorten(best, limit=150)}", style="green"))
    return grid


def describe_forecast(forecast: Forecast) -> str:
    """Say in a sentence or two what a search is going to cost."""
    each = f"{forecast.seconds_per_candidate:.2g} s a candidate"
    many = (
        "candidates" if forecast.candidates is None else f"up to {forecast.candidates} candidates"
    )
    workers = f"{forecast.workers} worker{'s' if forecast.workers > 1 else ''}"
    text = f"Forecast: {many} at {each} on {workers}"
    if forecast.search_seconds is not None:
        text += f", about {format_seconds(forecast.search_seconds)} of training"
    if forecast.verdict_trials:
        text += (
            f"; then a verdict of about {forecast.verdict_trials} trainings, "
            f"{format_seconds(forecast.verdict_seconds)}"
        )
    return text + "."
