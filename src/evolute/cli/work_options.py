"""What the commands that train share: options, and how their result is told."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from evolute.benchmark.tables import ResultTable
from evolute.cli.output import Decorator, console, format_option, print_json
from evolute.cli.tables import write_csv, write_json
from evolute.discover import DEFAULT_PRESET, DEFAULT_STORE
from evolute.settings import read_toml
from evolute.store.address import shown


@dataclass(frozen=True, slots=True)
class Work:
    """What was typed for the options of :func:`work_options`.

    Parameters
    ----------
    config
        TOML file of settings.
    store
        Where trials are remembered.
    workers
        Processes that train; None: one per core.
    device
        Where they train; None: as the settings say.
    json_file
        File for the result.
    csv
        Folder for its tables.
    output_format
        ``"table"`` or ``"json"``: what to print.
    """

    config: Path | None
    store: str
    workers: int | None
    device: str | None
    json_file: Path | None
    csv: Path | None
    output_format: str

    def settings(self) -> dict[str, Any]:
        """Return what the file of settings says, and the device where one was given."""
        device = {} if self.device is None else {"device": self.device}
        return read_settings(self.config) | device

    def tell(
        self,
        data: dict[str, Any],
        tables: Sequence[ResultTable],
        print_for_people: Callable[[Console], None],
    ) -> None:
        """Write and print a result as was asked for.

        Parameters
        ----------
        data
            All of it as plain data.
        tables
            Its tables.
        print_for_people
            Prints it on a console.

        Raises
        ------
        InputError
            If a file cannot be written.
        """
        if self.csv is not None:
            write_csv(tables, self.csv)
        if self.json_file is not None:
            write_json(data, self.json_file)
        if self.output_format == "json":
            print_json(data)
        else:
            print_for_people(console())

    def next_report(self, kind: str, name: str) -> str:
        """Say how a result is kept, and which command draws it.

        Parameters
        ----------
        kind
            Word by which ``evolute report`` knows its kind.
        name
            Its name in the store.
        """
        command = ["evolute", "report", kind, name]
        if self.store != DEFAULT_STORE:
            command += ["--store", shown(self.store)]
        return f"Stored as {name}. Next: {shlex.join(command)}"


def work_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options, as one argument ``work``."""

    @functools.wraps(command)
    def with_work(**given: Any) -> Any:
        work = Work(**{field.name: given.pop(field.name) for field in fields(Work)})
        return command(**given, work=work)

    optional: Callable[..., Any] = with_work
    for option in (
        format_option(),
        click.option("--csv", type=click.Path(path_type=Path), help="Folder for tables as CSV."),
        click.option("--json", "json_file", type=click.Path(path_type=Path),
                     help="File for the result."),
        device_option(),
        workers_option(),
        store_option(),
        config_option(),
    ):  # fmt: skip
        optional = option(optional)
    return optional


def config_option() -> Decorator:
    """Return the option ``--config``; :func:`read_settings` reads the file."""
    return click.option("--config", type=click.Path(path_type=Path),
                        help="TOML file of settings; options override it.")  # fmt: skip


def read_settings(config: Path | None) -> dict[str, Any]:
    """Return what a file of settings says, nothing without one."""
    return read_toml(config) if config else {}


def store_option() -> Decorator:
    """Return the option ``--store`` of a command that makes the store if it is not there."""
    return click.option("--store", default=DEFAULT_STORE, show_default=True,
                        help="File or PostgreSQL address in which trials and results are "
                        "remembered.")  # fmt: skip


def workers_option() -> Decorator:
    """Return the option ``--workers``."""
    return click.option("--workers", type=click.IntRange(min=1),
                        help="Processes that train; one per core.")  # fmt: skip


def device_option() -> Decorator:
    """Return the option ``--device``."""
    return click.option("--device",
                        help="Where networks are trained: cpu, cuda or cuda:1.  [default: cpu]"
                        )  # fmt: skip


def preset_option(what: str) -> Decorator:
    """Return the option ``--preset``, which says what of."""
    return click.option("--preset", help=f"{what}  [default: {DEFAULT_PRESET}]")


def seed_option() -> Decorator:
    """Return the option ``--seed``."""
    return click.option("--seed", type=click.IntRange(min=0),
                        help="Seed of everything random.  [default: 0]")  # fmt: skip
