"""``evolute zoo``: known optimizers and learning-rate schedules, listed and shown."""

from __future__ import annotations

import math
from typing import Any

import click
from rich.text import Text

from evolute import zoo
from evolute.cli.choice import chosen_entry
from evolute.cli.curves import POINTS, draw_decay
from evolute.cli.output import console, format_option, print_json, table
from evolute.cli.show import print_chosen
from evolute.errors import UnknownNameError
from evolute.lang.curve import curve
from evolute.lang.latex import expression_to_latex
from evolute.lang.text import print_expression
from evolute.zoo.rate_schedule import SCHEDULE_KIND, RateSchedule

EXAMPLES = """\b
Examples:
  evolute zoo list                    known optimizers and learning-rate schedules
  evolute zoo list --format json
  evolute zoo show opt6               one of them, with equation, origin and evidence
  evolute zoo show lr3                a learning-rate schedule, with its curve
"""


@click.group("zoo", epilog=EXAMPLES)
def zoo_commands() -> None:
    """Known optimizers and learning-rate schedules: list them, or show one."""


@zoo_commands.command("list", epilog=EXAMPLES)
@format_option()
def list_entries(output_format: str) -> None:
    """List every known optimizer and schedule, with what it keeps and needs."""
    print_rows([*optimizer_rows(), *_schedule_rows()], output_format)


@zoo_commands.command("show", epilog=EXAMPLES)
@click.argument("name")
@format_option()
def show_entry(name: str, output_format: str) -> None:
    """Show one optimizer or schedule: equation, origin, evidence, curves."""
    if name in zoo.schedule_names():
        _show_schedule(zoo.schedule(name), output_format)
    elif name in zoo.names():
        print_chosen(chosen_entry(zoo.load(name)), output_format)
    else:
        raise UnknownNameError("entry of the zoo", name, [*zoo.names(), *zoo.schedule_names()])


def print_rows(rows: list[dict[str, Any]], output_format: str) -> None:
    """Print rows with the same columns, as a table or as JSON."""
    if output_format == "json":
        print_json(rows)
        return
    columns = list(rows[0])
    console().print(table(columns, [[row[column] for column in columns] for row in rows]))


def optimizer_rows() -> list[dict[str, Any]]:
    """Return one row per optimizer of the zoo."""
    entries = [zoo.load(name) for name in zoo.names()]
    return [
        {
            "name": entry.name,
            "kind": entry.kind.value,
            "year": entry.origin.year,
            "buffers": len(entry.state_buffers),
            "elementwise": entry.is_elementwise,
            "deterministic": entry.is_deterministic,
            "accuracy": max((each.validation_accuracy for each in entry.evidence), default=None),
            "rule": str(entry.rule),
        }
        for entry in entries
    ]


def _schedule_rows() -> list[dict[str, Any]]:
    """Return one row per schedule; it keeps nothing, and is one factor for all weights."""
    schedules = [zoo.schedule(name) for name in zoo.schedule_names()]
    return [
        {
            "name": schedule.name,
            "kind": SCHEDULE_KIND,
            "year": schedule.origin.year,
            "buffers": 0,
            "elementwise": True,
            "deterministic": True,
            "accuracy": None,
            "rule": f"[{print_expression(schedule.expression)}]",
        }
        for schedule in schedules
    ]


def _show_schedule(schedule: RateSchedule, output_format: str) -> None:
    factor = print_expression(schedule.expression)
    latex = expression_to_latex(schedule.expression)
    if output_format == "json":
        values = curve(schedule.expression, POINTS).tolist()
        print_json(
            {
                "name": schedule.title,
                "factor": factor,
                "latex": latex,
                "origin": str(schedule.origin),
                "notes": schedule.notes,
                "values": [value if math.isfinite(value) else None for value in values],
            }
        )
        return
    screen = console()
    screen.print(Text(schedule.title, style="bold"))
    screen.print(Text(f"\n  [{factor}]\n", style="green"))
    screen.print(Text(f"{'origin':>22}  {schedule.origin}"))
    for note in schedule.notes:
        screen.print(Text(f"{'note':>22}  {note}"))
    screen.print(Text("\nLaTeX", style="bold"))
    screen.print(Text(latex), soft_wrap=True)
    screen.print(Text("\nFactor on the learning rate", style="bold"))
    screen.print(Text(draw_decay(schedule.expression)))
