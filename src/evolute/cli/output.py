"""How commands print: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def format_option() -> Decorator:
    """Return the option ``--format table|json`` that every command has."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="What to print: a table for people or JSON for programs.",
    )


def print_json(data: object) -> None:
    """Print plain data as JSON."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> Table:
    """Build a table; columns whose name ends in ``#`` hold numbers and align right.

    Cells are shown as they are: markup in a rule or a name has no effect.
    """
    built = Table(
        title=Text(title) if title else None, title_justify="left", box=None, pad_edge=False
    )
    for column in columns:
        numeric = column.endswith("#")
        built.add_column(
            Text(column.removesuffix("#")),
            justify="right" if numeric else "left",
            no_wrap=numeric,
            overflow="fold",
        )
    for row in rows:
        built.add_row(*(Text(cell_text(cell)) for cell in row))
    return built


def cell_text(cell: object) -> str:
    """Write one cell: four significant digits for a float, a dash for nothing.

    >>> [cell_text(cell) for cell in (0.123456, None, "lion", 3)]
    ['0.1235', '–', 'lion', '3']
    """
    if cell is None:
        return "–"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def console() -> Console:
    """Return a console on standard output, wide enough for rules where it is no terminal."""
    screen = Console()
    return screen if screen.is_terminal else Console(width=160)
