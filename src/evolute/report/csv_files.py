"""CSV files: every table of a page, one file each, for a spreadsheet or a program."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from evolute.report.page import Between, Cell, Page, Table, Typeset

_BEGINS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_tables(page: Page, folder: Path) -> tuple[Path, ...]:
    """Write each table of a page to ``folder``, which is there; return the files."""
    written = []
    for table in page.tables():
        path = folder / f"{table.name}.csv"
        path.write_text(table_to_csv(table), encoding="utf-8", newline="")
        written.append(path)
    return tuple(written)


def table_to_csv(table: Table) -> str:
    """Return a table as CSV (RFC 4180): a header, numbers in full, an interval as two columns.

    A spreadsheet runs a text that begins like a formula; such a text, which no rule is, gets an
    apostrophe before it.
    """
    spans = [
        any(isinstance(row[place], Between) for row in table.rows)
        for place in range(len(table.columns))
    ]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(
        name
        for column, span in zip(table.columns, spans, strict=True)
        for name in _headings(column.removesuffix("#"), span=span)
    )
    for row in table.rows:
        writer.writerow(
            value for cell, span in zip(row, spans, strict=True) for value in _values(cell, span)
        )
    return text.getvalue()


def _headings(column: str, *, span: bool) -> tuple[str, ...]:
    return (f"{column} from", f"{column} to") if span else (_harmless(column),)


def _values(cell: Cell, span: bool) -> tuple[str | int | float, ...]:
    match cell:
        case Between(lower, upper):
            return (lower, upper)
        case None:
            return ("", "") if span else ("",)
        case Typeset(text):
            return (_harmless(text),)
        case str():
            return (_harmless(cell),)
        case _:
            return (cell,)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_BEGINS_A_FORMULA) else text
