"""``evolute data``: get data sets by one explicit command; and ``--data-dir`` for every task."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from evolute.cli.output import Decorator, console, format_option, print_json, table
from evolute.errors import UnknownNameError
from evolute.tasks.downloads import DATA_SETS, DataSet, Download
from evolute.tasks.fetching import fetch, is_fetched
from evolute.tasks.files import DATA_VARIABLE, data_folder, download_folder

EXAMPLES = f"""\b
Examples:
  evolute data list
  evolute data fetch cifar10
  evolute data fetch cifar10 --data-dir /mnt/data
  evolute data fetch cifar10 --mirror https://mirror.example.org/cifar

Without --data-dir it goes to the folder that {DATA_VARIABLE} names, or else to your cache,
where every task looks.
"""


def add_data_dir(command: click.Command) -> None:
    """Give ``--data-dir`` to a command that loads tasks, and to those in its group.

    It sets the environment variable that tasks read where no folder is given, while the command
    runs: worker processes inherit it.
    """
    if isinstance(command, click.Group):
        for each in command.commands.values():
            add_data_dir(each)
    names = {parameter.name for parameter in command.params}
    if names & {"task", "tasks"} and "data_dir" not in names:
        command.params.append(
            click.Option(
                ["--data-dir"],
                type=click.Path(path_type=Path),
                expose_value=False,
                callback=_use,
                help=f"Folder of data sets; the environment variable {DATA_VARIABLE} otherwise.",
            )
        )


def _use(context: click.Context, _: click.Parameter, folder: Path | None) -> None:
    if folder is None:
        return
    before = os.environ.get(DATA_VARIABLE)
    os.environ[DATA_VARIABLE] = str(folder.absolute())

    def put_back() -> None:
        if before is None:
            del os.environ[DATA_VARIABLE]
        else:
            os.environ[DATA_VARIABLE] = before

    context.call_on_close(put_back)


def data_dir_option() -> Decorator:
    """Return ``--data-dir`` for a command of this group, given to it as an argument."""
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        help=f"Folder of data sets.  [default: ${DATA_VARIABLE}, or your cache]",
    )


@click.group("data", epilog=EXAMPLES)
def data_commands() -> None:
    """List the data sets that tasks read from files, or fetch one."""


@data_commands.command("list", epilog=EXAMPLES)
@data_dir_option()
@format_option()
def list_data(data_dir: Path | None, output_format: str) -> None:
    """List the data sets that can be fetched."""
    root = _root(data_dir)
    rows: list[dict[str, Any]] = [
        {
            "name": row.name,
            "title": row.title,
            "megabytes": round(row.size / 1e6, 1),
            "checksum": ", ".join(sorted({each.algorithm or "none" for each in row.downloads})),
            "licence": row.licence,
            "fetched": is_fetched(row, root),
            "urls": [each.url for each in row.downloads],
        }
        for row in DATA_SETS.values()
    ]
    if output_format == "json":
        print_json(rows)
        return
    columns = ["name", "title", "megabytes", "checksum", "licence", "fetched"]
    cells = [[_said(row[column]) for column in columns] for row in rows]
    console().print(table(columns, cells, title=f"Data sets, in {root}"))


@data_commands.command("fetch", epilog=EXAMPLES)
@click.argument("name")
@data_dir_option()
@click.option("--mirror", help="Address of a folder that holds the files, instead of the published "
              "one; file:///… too.")  # fmt: skip
@click.option("--without-checksum", is_flag=True, help="Take files that cannot be verified.")
def fetch_data(
    name: str, data_dir: Path | None, mirror: str | None, without_checksum: bool
) -> None:
    """Download the data set NAME, verify it and unpack it; go on where it was cut off."""
    if name not in DATA_SETS:
        raise UnknownNameError("data set", name, DATA_SETS)
    data_set, root = DATA_SETS[name], _root(data_dir)
    if is_fetched(data_set, root):
        click.echo(f"{data_set.title} is in {root / name} already")
        return
    with _progress() as progress:
        bars = _Bars(progress, data_set)
        folder = fetch(
            data_set, root, report=bars, mirror=mirror, without_checksum=without_checksum
        )
    click.echo(f"{data_set.title} is in {folder}")


class _Bars:
    """A bar for each file, drawn when the first of its bytes arrive."""

    def __init__(self, progress: Progress, data_set: DataSet) -> None:
        self._progress = progress
        self._bars = {
            row: progress.add_task(row.file, total=row.size, visible=False)
            for row in data_set.downloads
        }

    def __call__(self, download: Download, so_far: int) -> None:
        self._progress.update(self._bars[download], completed=so_far, visible=True)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not Console(stderr=True).is_terminal,
    )


def _root(data_dir: Path | None) -> Path:
    return data_dir or data_folder() or download_folder()


def _said(cell: object) -> object:
    return {True: "yes", False: "no"}.get(cell, cell) if isinstance(cell, bool) else cell
