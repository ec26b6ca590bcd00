"""Tables of results: printed for people, written as CSV for programs."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from evolute.benchmark.tables import ResultTable
from evolute.cli.output import table
from evolute.errors import InputError


def print_table(screen: Console, shown: ResultTable, columns: Sequence[str] = ()) -> None:
    """Print a table, or these columns of it.

    Parameters
    ----------
    screen
        Where to print.
    shown
        The table.
    columns
        Names of the columns to print; all of them unless given.
    """
    kept = [at for at, name in enumerate(shown.columns) if not columns or name in columns]
    rows = [[row[at] for at in kept] for row in shown.rows]
    names = [shown.columns[at] for at in kept]
    screen.print(table(names, rows, title=f"\n{shown.title}"))


def write_csv(tables: Sequence[ResultTable], folder: Path) -> list[Path]:
    """Write each table to a CSV file in a folder, made if it is not there; return the files.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each in tables:
            path = folder / f"{each.name}.csv"
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow([name.removesuffix("#") for name in each.columns])
                writer.writerows(each.rows)
            written.append(path)
    except OSError as error:
        raise InputError(
            f"cannot write tables to {folder}: {error.strerror}; the result is stored: run the "
            "same command with another --csv"
        ) from None
    return written


def write_json(data: dict[str, Any], path: Path) -> None:
    """Write plain data to a JSON file.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    try:
        path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}; the result is stored: run the same command "
            "with another --json"
        ) from None
