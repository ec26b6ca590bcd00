"""``evolute tasks``: what rules can be tried on."""

from __future__ import annotations

import click

from evolute.cli.output import console, format_option, print_json, table
from evolute.tasks.registry import TASKS

EXAMPLES = """\b
Examples:
  evolute tasks
  evolute tasks --format json
  evolute search --task examples/own_task.py:build     your own model and data
"""


@click.command(epilog=EXAMPLES)
@format_option()
def tasks(output_format: str) -> None:
    """List the tasks that come with the package."""
    if output_format == "json":
        print_json([{"name": row.name, "description": row.description} for row in TASKS.values()])
        return
    screen = console()
    screen.print(table(["task", "what it is"], [(r.name, r.description) for r in TASKS.values()]))
    screen.print("\nYour own model and data: --task path/to/file.py:build", markup=False)
