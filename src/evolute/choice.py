"""Which rule a user means: an optimizer's name, best, a rank, a trial, or a rule's text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from evolute import zoo
from evolute.errors import InputError, UnknownNameError
from evolute.lang.rule import Rule
from evolute.leaderboard import find_run, read_leaderboard
from evolute.store.base import Store
from evolute.store.sql import open_store
from evolute.tasks.user import load_task

RULE_HELP = """RULE is one of: a name of 'evolute rules' such as lion; best; a rank of the
leaderboard such as 3; best:RUN or 3:RUN of the run of that name; the first digits of a trial's
digest, written trial:1a2b; or a rule's text such as "nesterov: bessel_i1e([a13*a2]*g)"."""

_RANKED = re.compile(r"(best|\d+)(?::(.+))?")


LARGEST_RANK = 1_000_000_000
"""No store holds so many trials."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A rule and where it comes from.

    Parameters
    ----------
    name
        What the user called it.
    rule
        The rule.
    facts
        What else is known of it, as plain data.
    """

    name: str
    rule: Rule
    facts: dict[str, Any]


def open_existing(store: str) -> Store:
    """Open a store for reading only.

    Raises
    ------
    StoreError
        If there is none, or it cannot be read.
    """
    return open_store(store, create=False, read_only=True)


def choose_rule(
    text: str, *, store: str, run: str | None = None, task: str | None = None
) -> Chosen:
    """Return the rule that a user means by ``text``; see RULE_HELP.

    Raises
    ------
    InputError
        If it names no rule.
    StoreError
        If the store is needed and cannot be read.
    """
    if task is not None:
        load_task(task)
    if text in zoo.names():
        return chosen_entry(zoo.load(text))
    if ranked := _RANKED.fullmatch(text):
        return _ranked(ranked[1], store=store, run=ranked[2] or run)
    if text.startswith("trial:"):
        with open_existing(store) as opened:
            trial = opened.find_trial(text.removeprefix("trial:"))
        facts = {"outcome": trial.outcome.sentence, "task": trial.key.task}
        return Chosen(text, Rule.parse(trial.key.rule), facts)
    if text.isidentifier() and len(text) > 1 and ":" not in text:
        return _by_name_or_text(text)
    return Chosen(text, Rule.parse(text), {})


def chosen_entry(entry: zoo.Entry) -> Chosen:
    """Return an optimizer of the zoo with all that its entry says of it."""
    lowest, highest = entry.learning_rates
    facts = {
        "kind": entry.kind.value,
        "origin": str(entry.origin),
        "lowest_learning_rate": lowest,
        "highest_learning_rate": highest,
        "elementwise": entry.is_elementwise,
        "deterministic": entry.is_deterministic,
        "evidence": [str(figure) for figure in entry.evidence],
        "notes": entry.notes,
    }
    return Chosen(entry.title, entry.rule, facts)


def _by_name_or_text(text: str) -> Chosen:
    """Read a single word: an operand such as sign_g is a rule; any other is a misspelt name."""
    try:
        return Chosen(text, Rule.parse(text), {})
    except InputError:
        raise UnknownNameError("rule", text, [*zoo.names(), "best"]) from None


def _ranked(text: str, *, store: str, run: str | None) -> Chosen:
    with open_existing(store) as opened:
        record = find_run(opened, run)
        if text == "best" and (document := opened.document(record.digest, "best")) is not None:
            return Chosen(f"best of {record.name}", Rule.from_json(document["rule"]), document)
        rank = 1 if text == "best" else int(text)
        # Past the largest rank the whole leaderboard says how long it is.
        rows = read_leaderboard(opened, record, limit=rank if 0 < rank < LARGEST_RANK else None)
    if not 1 <= rank <= len(rows):
        raise InputError(
            f"rank {rank} is not on the leaderboard of {record.name}: it has {len(rows)} rows"
        )
    row = rows[rank - 1]
    return Chosen(f"rank {rank} of {record.name}", Rule.parse(row.rule), row.to_dict())
