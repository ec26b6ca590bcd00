"""``evolute store``: check, repair, back up, merge, update and describe stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from evolute.cli.output import console, format_option, print_json, table
from evolute.discover import DEFAULT_STORE
from evolute.errors import StoreError
from evolute.store import copies, inspection
from evolute.store.address import parse_address, shown
from evolute.store.schema import REVISIONS
from evolute.store.sql import open_store
from evolute.store.sqlite import copy_of_older

SHOWN_FAULTS = 20

EXAMPLES = """\b
Examples:
  evolute store info                                  what evolute.sqlite holds
  evolute store check runs.sqlite
  evolute store repair runs.sqlite --output saved.sqlite
  evolute store backup runs.sqlite --output copy.sqlite
  evolute store merge other.sqlite third.sqlite --into runs.sqlite
  evolute store merge runs.sqlite --into postgresql+psycopg://me@host/trials
  evolute store migrate old.sqlite
"""

NEW_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("store", epilog=EXAMPLES)
def store_commands() -> None:
    """Check, repair, back up, merge, update and describe stores.

    STORE is a file, or an address such as postgresql+psycopg://user:password@host/database.
    """


def _store_argument() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.argument("store", default=DEFAULT_STORE)


def _output_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--output", required=True, type=NEW_FILE, help=f"New SQLite file for the {what}."
    )


@store_commands.command("info", epilog=EXAMPLES)
@_store_argument()
@format_option()
def info(store: str, output_format: str) -> None:
    """Say what a store is and holds."""
    facts = asdict(inspection.take_inventory(store))
    if output_format == "json":
        print_json(facts)
        return
    rows = [
        (name.replace("_", " "), _in_words(value) if isinstance(value, dict) else value)
        for name, value in facts.items()
    ]
    console().print(table(["", ""], rows))


@store_commands.command("check", epilog=EXAMPLES)
@_store_argument()
@format_option()
def check(store: str, output_format: str) -> None:
    """Read all of a store and compare every row with its checksum; exit status 2 if one differs."""
    faults = inspection.find_faults(store)
    if output_format == "json":
        print_json({"store": shown(store), "sound": not faults, "faults": faults})
    else:
        for fault in faults[:SHOWN_FAULTS]:
            console().print(Text(fault))
    if faults:
        raise StoreError(
            f"store {shown(store)!r} is damaged ({_number(len(faults), 'fault')}): run 'evolute "
            "store repair', which saves what can be read"
        )
    if output_format == "table":
        console().print(Text(f"{shown(store)} is sound."))


@store_commands.command("repair", epilog=EXAMPLES)
@_store_argument()
@_output_option("saved trials")
@format_option()
def repair(store: str, output: Path, output_format: str) -> None:
    """Save all that can be read of a damaged store to a new one; the old one is not touched."""
    _print_report(copies.repair(store, output), output_format, done=f"Saved to {output}")


@store_commands.command("backup", epilog=EXAMPLES)
@_store_argument()
@_output_option("copy")
@format_option()
def backup(store: str, output: Path, output_format: str) -> None:
    """Copy a store as it is at one moment, while searches may write to it."""
    report = copies.backup(store, output)
    if report is not None:
        _print_report(report, output_format, done=f"Copied to {output}")
    elif output_format == "json":
        print_json({"output": str(output)})
    else:
        console().print(Text(f"Copied to {output}."))


@store_commands.command("merge", epilog=EXAMPLES)
@click.argument("stores", nargs=-1, required=True)
@click.option("--into", required=True, help="The store that the others are added to.")
@format_option()
def merge(stores: tuple[str, ...], into: str, output_format: str) -> None:
    """Add what stores hold to another. What that holds already stays; conflicts are told."""
    with open_store(into) as target:
        for store in stores:
            done = f"{shown(store)} into {shown(into)}"
            _print_report(copies.merge(store, target), output_format, done=done)


@store_commands.command("migrate", epilog=EXAMPLES)
@_store_argument()
@format_option()
def migrate(store: str, output_format: str) -> None:
    """Bring a store of an older evolute to today's schema; a copy of a file is kept beside it."""
    before = inspection.revision_of(store)
    open_store(store, create=False).close()
    after, path = REVISIONS[-1], parse_address(store).path
    copy = None
    if path is not None and before is not None and before != after:
        copy = str(copy_of_older(path, before))
    if output_format == "json":
        print_json({"before": before, "after": after, "copy": copy})
    elif before == after:
        console().print(Text(f"{shown(store)} is of schema {after}, today's, already."))
    else:
        kept = "" if copy is None else f" The old file is kept as {copy}."
        console().print(Text(f"{shown(store)} is brought from schema {before} to {after}.{kept}"))


def _print_report(report: copies.Report, output_format: str, *, done: str) -> None:
    if output_format == "json":
        print_json(asdict(report))
        return
    screen = console()
    for kind, sentences in (("Conflict", report.conflicts), ("Damaged", report.damaged)):
        for sentence in sentences[:SHOWN_FAULTS]:
            screen.print(Text(f"{kind}: {sentence}"))
        if len(sentences) > SHOWN_FAULTS:
            screen.print(Text(f"{kind}: {len(sentences) - SHOWN_FAULTS} more"))
    screen.print(
        Text(
            f"{done}: {_number(report.trials, 'trial')} ({report.new_trials} new), "
            f"{_number(report.runs, 'run')} with {_number(report.entries, 'proposal')} "
            f"({report.lost_entries} without their trial left out), "
            f"{_number(report.documents, 'document')}; "
            f"{_number(len(report.conflicts), 'conflict')}, {len(report.damaged)} damaged."
        )
    )


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _in_words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
