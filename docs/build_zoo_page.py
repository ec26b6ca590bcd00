"""Writes the tables of docs/zoo.md from the entries of the zoo.

Run it as ``python docs/build_zoo_page.py`` after a change of an entry. The text between the tables
is written by hand and left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from build_language_page import TABLE, code, math, table, yes

from evolute import zoo
from evolute.cli.output import cell_text
from evolute.lang.latex import expression_to_latex
from evolute.lang.text import print_expression
from evolute.zoo import Entry, EntryKind, RateSchedule

PAGE = Path(__file__).parent / "zoo.md"
KINDS = {
    "hand_made": EntryKind.HAND_MADE,
    "published": EntryKind.PUBLISHED,
    "searched": EntryKind.SEARCHED,
}


def build(page: str) -> str:
    """Return the page with every table written anew."""
    tables = {
        name: optimizer_table(zoo.load(entry) for entry in zoo.names(kind))
        for name, kind in KINDS.items()
    }
    schedules = [zoo.schedule(name) for name in zoo.schedule_names()]
    tables["schedules"] = schedule_table(schedules)
    tables["sources"] = source_table(schedules)
    return TABLE.sub(lambda found: f"{found['name']} -->\n{tables[found['name']]}", page)


def optimizer_table(entries: Iterable[Entry]) -> str:
    """One line per optimizer: its rule, what it keeps and needs, rates to try, its figure."""
    head = (
        *("name", "title", "rule", "buffers", "element-wise", "deterministic"),
        *("needs total_steps", "learning rates", "accuracy"),
    )
    return table(
        head,
        (
            (
                code(entry.name),
                entry.title,
                code(str(entry.rule)),
                str(len(entry.state_buffers)),
                yes(entry.is_elementwise),
                yes(entry.is_deterministic),
                yes(entry.needs_total_steps),
                " to ".join(cell_text(rate) for rate in entry.learning_rates),
                " ".join(f"{each.validation_accuracy:.4f}" for each in entry.evidence),
            )
            for entry in entries
        ),
    )


def schedule_table(schedules: Iterable[RateSchedule]) -> str:
    """One line per schedule: its factor as text and as an equation."""
    return table(
        ("name", "title", "factor", "equation"),
        (
            (
                code(each.name),
                each.title,
                code(print_expression(each.expression)),
                math(expression_to_latex(each.expression)),
            )
            for each in schedules
        ),
    )


def source_table(schedules: Iterable[RateSchedule]) -> str:
    """One line per source, oldest first, with the entries that come from it."""
    entries: list[Entry | RateSchedule] = [zoo.load(name) for name in zoo.names()]
    named: dict[tuple[int, str], list[str]] = {}
    for entry in [*entries, *schedules]:
        named.setdefault((entry.origin.year, str(entry.origin)), []).append(code(entry.name))
    return table(
        ("source", "entries"),
        ((source, ", ".join(names)) for (_, source), names in sorted(named.items())),
    )


if __name__ == "__main__":
    PAGE.write_text(build(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
