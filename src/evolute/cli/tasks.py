"""``evolute tasks``: what rules can be tried on, listed and shown."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from evolute.cli.output import console, format_option, print_json, table
from evolute.errors import UnknownNameError
from evolute.tasks.adverse import CONDITIONS, split_conditions
from evolute.tasks.registry import TASKS, TaskRow

EXAMPLES = f"""\b
Adverse conditions are written behind a task, such as digits+label-noise=0.2+batch=4:
{chr(10).join(f"  {row.name + '=X':<19} {row.summary}" for row in CONDITIONS.values())}

\b
Examples:
  evolute tasks
  evolute tasks --format json
  evolute tasks show fashion-mnist
  evolute search --task digits+label-noise=0.2         a task under adverse conditions
  evolute search --task examples/own_task.py:build     your own model and data
"""


@click.group(epilog=EXAMPLES, invoke_without_command=True)
@format_option()
@click.pass_context
def tasks(context: click.Context, output_format: str) -> None:
    """List the tasks that come with the package, or show one of them."""
    if context.invoked_subcommand is not None:
        return
    if output_format == "json":
        conditions = [
            {"name": row.name, "description": row.summary, "from": row.lowest, "to": row.highest}
            for row in CONDITIONS.values()
        ]
        rows = [_plain(row) for row in TASKS.values()]
        print_json({"tasks": rows, "conditions": conditions})
        return
    screen = console()
    cells = [
        (row.name, row.facts.family, row.facts.examples, row.description) for row in TASKS.values()
    ]
    screen.print(table(["task", "family", "train / validation / test", "what it is"], cells))
    screen.print(
        "\nOne of them in full: evolute tasks show NAME\n"
        "Your own model and data: --task path/to/file.py:build\n"
        f"Adverse conditions, written behind a task: +{', +'.join(CONDITIONS)} (=X each)",
        markup=False,
    )


@tasks.command("show", epilog=EXAMPLES)
@click.argument("name")
@format_option()
def show_task(name: str, output_format: str) -> None:
    """Show what the task NAME states: size, splits, network, metric, licence and source."""
    plain_name, conditions = split_conditions(name)
    if plain_name not in TASKS:
        raise UnknownNameError("task", plain_name, TASKS)
    facts = _plain(TASKS[plain_name])
    if conditions:
        facts["conditions"] = {
            each: CONDITIONS[each].summary.replace("X", f"{number:g}")
            for each, number in conditions.items()
        }
    if output_format == "json":
        print_json(facts)
        return
    console().print(table(["", name], [(key, _text(value)) for key, value in facts.items()]))


def _plain(row: TaskRow) -> dict[str, Any]:
    return {"name": row.name, "description": row.description, **asdict(row.facts)}


def _text(value: object) -> object:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {said}" for key, said in value.items())
    return value
