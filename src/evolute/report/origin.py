"""Origin: where the figures of a page come from, as its foot and its last table say."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from evolute.report.page import Table
from evolute.report.wording import version
from evolute.store.base import RunRecord

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def origin(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """Return when a run was begun, and which version shows it."""
    begun = record.created_at[:16].replace("T", " ") + " UTC"
    return (("begun", begun), ("evolute", version()))


def config_table(config: DataclassInstance) -> Table:
    """Return a configuration, one row for each number or name in it."""
    return Table(
        name="settings",
        caption="Configuration",
        columns=("setting", "value"),
        rows=tuple((name, str(value)) for name, value in dataclasses.asdict(config).items()),
        shown=30,
    )
