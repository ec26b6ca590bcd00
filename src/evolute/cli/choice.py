"""Options that say which store, which run, and whose own operations a command is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from evolute.choice import RULE_HELP as RULE_HELP
from evolute.choice import Chosen as Chosen
from evolute.choice import choose_rule as choose_rule
from evolute.choice import chosen_entry as chosen_entry
from evolute.choice import open_existing as open_existing
from evolute.discover import DEFAULT_STORE


def store_options() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the options that say which store, which run, and whose own operations."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option("--task", help="Load this task's file first, for operations it registers. "
                         "That runs the file; no other file's code is ever run."),
            click.option("--run", help="Name or first digits of a run; the newest by default."),
            click.option("--store", default=DEFAULT_STORE, show_default=True,
                         help="File or PostgreSQL address in which searches are remembered."),
        ):  # fmt: skip
            command = option(command)
        return command

    return add
