"""``evolute bench``: a fair comparison of optimizers on one or more tasks."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.console import Console
from rich.text import Text

from evolute.benchmark.result import BenchResult, TaskResult
from evolute.benchmark.tables import (
    cross_table_of,
    optimizer_table,
    range_table,
    score_table,
    tables,
)
from evolute.choice import RULE_HELP
from evolute.cli.display import resumable
from evolute.cli.tables import print_table
from evolute.cli.work import WorkDisplay
from evolute.cli.work_options import Work, preset_option, seed_option, work_options
from evolute.settings import merge
from evolute.workbench.bench import bench as run_bench

SHOWN_SCORES = (
    *("optimizer", "side", "area, steps#", "area, seconds#", "speed-up over adamw#"),
    *("relative#", "P(better)#"),
)
SHOWN_RESULTS = (
    *("optimizer", "rate#", "test loss#", "± s.e.#", "test metric#", "loss at defaults#"),
    *("steps to target#", "good rates, decades#", "diverged#"),
)
SHOWN_COSTS = (
    *("optimizer", "side", "seconds to target#", "diverged in tuning#"),
    *("step µs#", "state bytes#"),
)
SHOWN_RANGES = ("optimizer", "hyper-parameter", "lowest searched#", "highest searched#", "chosen#")

EXAMPLES = f"""{RULE_HELP.replace("RULE is one of", "An optimizer is one of")}

\b
Examples:
  evolute bench --optimizers opt6,adamw,lion --tasks digits
  evolute bench --optimizers best:digits-quick-0,adamw,lion --tasks digits --budget 24 --seeds 10
  evolute bench --optimizers best,adam --tasks digits,path/to/file.py:build --csv tables
  evolute bench --optimizers best,adam --tasks digits --preset standard --config my.toml
  evolute bench --optimizers best,adam --tasks flowers102,cars196,caltech101 \\
    --preset paper-fine-tuning

Running the same command again resumes it; another optimizer costs its own trials alone.
"""


@click.command(epilog=EXAMPLES)
@click.option("--optimizers", required=True, help="Optimizers to compare, with commas between.")
@click.option("--tasks", required=True, help="Tasks, with commas between; see 'evolute tasks'.")
@click.option("--budget", type=click.IntRange(min=1),
              help="Settings that each optimizer tries in tuning.  [default: 24]")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1),
              help="Fresh seeds of every measurement.  [default: 10, or the preset's]")  # fmt: skip
@preset_option("Preset of the trainings.")
@seed_option()
@click.option("--cross/--no-cross", default=None,
              help="Try every update under every schedule.  [default: cross]")  # fmt: skip
@work_options
def bench(
    optimizers: str,
    tasks: str,
    budget: int | None,
    seeds: int | None,
    preset: str | None,
    seed: int | None,
    cross: bool | None,
    work: Work,
) -> None:
    """Compare optimizers fairly: equal tuning, fresh seeds, every schedule."""
    settings = work.settings()
    if cross is not None:
        settings = merge(settings, {"bench": {"cross": cross}})
    with resumable(WorkDisplay, work.store) as display:
        result = run_bench(
            split_list(optimizers),
            split_list(tasks),
            budget=budget,
            seeds=seeds,
            preset=preset,
            seed=seed,
            config=settings,
            store=work.store,
            workers=work.workers,
            listener=display,
        )
    work.tell(result.to_dict(), tables(result), lambda screen: print_result(screen, result, work))


def split_list(text: str) -> list[str]:
    """Split at commas outside brackets, so that a rule's text is one item.

    >>> split_list("opt6, clip(v, s),adam")
    ['opt6', 'clip(v, s)', 'adam']
    """
    items, level = [""], 0
    for character in text:
        level += (character in "([") - (character in ")]")
        if character == "," and level == 0:
            items.append("")
        else:
            items[-1] += character
    return [item.strip() for item in items if item.strip()]


def print_result(screen: Console, result: BenchResult, work: Work) -> None:
    """Print a benchmark for people, and how to look at it."""
    for task in result.tasks:
        _print_task(screen, task)
    print_table(screen, score_table(result), SHOWN_SCORES)
    screen.print(Text(f"\n{result.sentence}", style="bold"))
    screen.print(Text(work.next_report("bench", result.name)), soft_wrap=True)


def _print_task(screen: Console, task: TaskResult) -> None:
    print_table(screen, optimizer_table(task), SHOWN_RESULTS)
    print_table(screen, optimizer_table(task), SHOWN_COSTS)
    print_table(screen, range_table(task), SHOWN_RANGES)
    if task.cross is not None:
        print_table(screen, cross_table_of(task))
    for line in _sentences(task):
        screen.print(Text(f"  {line}"), soft_wrap=True)


def _sentences(task: TaskResult) -> Iterator[str]:
    """Yield what is to be said about a task: target, verdicts, gains, notes."""
    if task.target is not None:
        value = task.target
        yield f"target: validation {value.measure} {value.value:.4g}, the median of {value.source}"
    for verdict in task.verdicts:
        yield f"verdict: {verdict.sentence}"
    for each in task.attributions:
        yield f"gain: {each.sentence}"
    for note in task.notes:
        yield f"note: {note}"
