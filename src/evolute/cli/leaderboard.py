"""``evolute leaderboard``: the best rules of a run, and what its verdict said."""

from __future__ import annotations

import click
from rich.text import Text

from evolute.cli.choice import open_existing, store_options
from evolute.cli.output import console, format_option, print_json, table
from evolute.leaderboard import Leaderboard, find_run, read_leaderboard, runs_of_kind
from evolute.tasks.user import load_task

EXAMPLES = """\b
Examples:
  evolute leaderboard
  evolute leaderboard --run digits-quick-0 --top 50
  evolute leaderboard --runs
  evolute leaderboard --format json
"""


@click.command(epilog=EXAMPLES)
@click.option("--top", default=10, show_default=True, type=click.IntRange(min=1), help="Rows.")
@click.option("--runs", "list_runs", is_flag=True, help="List the runs of the store instead.")
@store_options()
@format_option()
def leaderboard(
    top: int,
    list_runs: bool,
    store: str,
    run: str | None,
    task: str | None,
    output_format: str,
) -> None:
    """Print the best trained rules of a run."""
    if task is not None:
        load_task(task)
    with open_existing(store) as opened:
        if list_runs:
            runs = [
                {"name": record.name, "created": record.created_at, "run": record.digest[:12]}
                for record in runs_of_kind(opened)
            ]
            _print_runs(runs, output_format)
            return
        record = find_run(opened, run)
        rows = read_leaderboard(opened, record, limit=top)
        verdict = opened.document(record.digest, "verdict")
    if output_format == "json":
        data = {"run": record.digest, "name": record.name, "verdict": verdict}
        print_json(data | {"leaderboard": [row.to_dict() for row in rows]})
        return
    screen = console()
    screen.print(leaderboard_table(rows, title=f"Leaderboard of {record.name}"))
    if verdict is not None:
        screen.print(Text(f"\n{verdict['sentence']}"))


def leaderboard_table(rows: Leaderboard, *, title: str) -> object:
    """Return a leaderboard as a table for a console."""
    columns = ["rank#", "loss#", "metric#", "rate#", "rule"]
    cells = [(row.rank, row.loss, row.metric, row.learning_rate, row.rule) for row in rows]
    return table(columns, cells, title=title)


def _print_runs(runs: list[dict[str, str]], output_format: str) -> None:
    if output_format == "json":
        print_json(runs)
    else:
        console().print(table(["name", "created", "run"], [list(run.values()) for run in runs]))
