"""``evolute eliminate``: from a search to winners."""

from __future__ import annotations

import click
from rich.console import Console
from rich.text import Text

from evolute.benchmark.elimination import EliminationResult
from evolute.benchmark.round_tables import round_tables
from evolute.benchmark.tables import tables
from evolute.cli.bench import print_result
from evolute.cli.display import resumable
from evolute.cli.tables import print_table
from evolute.cli.work import WorkDisplay
from evolute.cli.work_options import Work, work_options
from evolute.workbench.eliminate import eliminate as run_elimination

EXAMPLES = """\b
Examples:
  evolute eliminate                                   the newest search, down to ten winners
  evolute eliminate digits-quick-0 --config rungs.toml
  evolute eliminate digits-quick-0 --no-benchmark --csv tables

\b
A config file says who begins and what the rounds are:
  [elimination]
  candidates = 50
  per_particle = 5
  [[elimination.rungs]]
  keep = 20
  seeds = 3
  [[elimination.rungs]]
  keep = 10
  seeds = 4
  steps = 400           # longer trainings; also: task, preset, width, probe
  [bench]               # the last rung: winners against hand-made optimizers
  seeds = 20

Running the same command again resumes it: nothing that was scored is trained twice.
"""


@click.command(epilog=EXAMPLES)
@click.argument("run", required=False)
@click.option("--task", help="Task of the search, where it is no named one: path/to/file.py:build, "
              "which runs that file. No other file's code is ever run.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0),
              help="Seed of the fresh seeds.  [default: that of the search]")  # fmt: skip
@click.option("--benchmark/--no-benchmark", default=True, show_default=True,
              help="End with a benchmark of the winners.")  # fmt: skip
@work_options
def eliminate(
    run: str | None,
    task: str | None,
    seed: int | None,
    benchmark: bool,
    work: Work,
) -> None:
    """Let the best candidates of a search meet ever larger set-ups on fresh seeds.

    RUN is the name or the first digits of a search; the newest by default. Each round keeps the
    best; the last one is a benchmark against hand-made optimizers.
    """
    with resumable(WorkDisplay, work.store) as display:
        result = run_elimination(
            run,
            task=task,
            seed=seed,
            config=work.settings(),
            benchmark=benchmark,
            store=work.store,
            workers=work.workers,
            listener=display,
        )
    measured = () if result.benchmark is None else tables(result.benchmark)
    work.tell(
        result.to_dict(),
        [*round_tables(result), *measured],
        lambda screen: _print_for_people(screen, result, work),
    )


def _print_for_people(screen: Console, result: EliminationResult, work: Work) -> None:
    for each in round_tables(result):
        print_table(screen, each)
    if result.benchmark is not None:
        print_result(screen, result.benchmark, work)
    screen.print(Text(f"\n{result.sentence}", style="bold"))
    screen.print(Text(work.next_report("eliminate", result.name)), soft_wrap=True)
