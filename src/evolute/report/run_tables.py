"""Tables of a run: the comparison, the leaderboard, how candidates ended, and the settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from evolute.benchmark.comparison import Measure as Compared
from evolute.benchmark.statistics import Interval, paired_interval
from evolute.benchmark.verdict import Finalist, Side, Verdict
from evolute.report.facts import RunFacts
from evolute.report.page import Between, Cell, Table, Typeset
from evolute.report.search_figures import ENDINGS
from evolute.report.typeset import typeset
from evolute.trial import OutcomeKind

TYPESET_ROWS = 50
"""Rows of the leaderboard that are typeset; the others are text, to keep the page small."""


def comparison_table(verdict: Verdict) -> Table:
    """Return a line for each optimizer of a verdict, as :attr:`Verdict.table` orders them."""
    name = "loss" if verdict.measure is Compared.LOSS else verdict.metric or "metric"
    champion = verdict.champion(Side.DISCOVERED)
    rows: list[tuple[Cell, ...]] = []
    for row in verdict.table:
        finalist, versus = row.finalist, row.versus_reference
        own = _interval(finalist, verdict.measure, verdict.confidence)
        gap = None if versus is None else versus.interval
        best = finalist.tuning.best
        other = row.metric if verdict.measure is Compared.LOSS else row.loss
        rows.append((
            finalist.name,
            None if best is None else best.learning_rate,
            *_bounds(own),
            None if other is None else other.mean,
            *_bounds(gap),
            "reference" if versus is None else str(versus.finding),
        ))  # fmt: skip
    other_name = verdict.metric or "metric" if verdict.measure is Compared.LOSS else "loss"
    return Table(
        name="comparison",
        caption=f"On fresh seeds and test data, with {100 * verdict.confidence:g}% intervals",
        columns=(
            *("optimizer", "rate#", f"test {name}#", "interval#", f"test {other_name}#"),
            *("difference#", "its interval#", "finding"),
        ),
        rows=tuple(rows),
        marked=frozenset(
            place for place, row in enumerate(verdict.table) if row.finalist == champion
        ),
    )


def leaderboard_table(facts: RunFacts) -> Table:
    """Return the leaderboard, judged rules with their interval on fresh seeds."""
    judged: Mapping[str, Finalist] = {
        contender.finalist.rule: contender.finalist
        for contender in facts.contenders
        if contender.discovered
    }
    rows: list[tuple[Cell, ...]] = []
    for row in facts.leaderboard:
        own = None
        if facts.verdict is not None and row.rule in judged:
            own = _interval(judged[row.rule], facts.verdict.measure, facts.verdict.confidence)
        text = Typeset(row.rule, "") if row.rank > TYPESET_ROWS else typeset(row.rule)
        rows.append((row.rank, text, row.loss, row.metric, row.learning_rate, *_bounds(own)))
    compared = "loss"
    if facts.verdict is not None and facts.verdict.measure is Compared.METRIC:
        compared = facts.verdict.metric or "metric"
    metric = "metric" if facts.verdict is None else facts.verdict.metric or "metric"
    return Table(
        name="leaderboard",
        caption="Distinct trained rules, best first",
        columns=(
            *("rank#", "rule", "loss#", f"{metric}#", "rate#", f"test {compared}#", "interval#"),
        ),
        rows=tuple(rows),
        shown=10,
        marked=frozenset(
            place for place, row in enumerate(facts.leaderboard) if row.rule in judged
        ),
    )


def endings_table(facts: RunFacts) -> Table:
    """Return how many candidates ended how, what it cost, and one of the reasons given."""
    rows: list[tuple[Cell, ...]] = []
    for ending in ENDINGS:
        ended = [each for each in facts.proposals if each.outcome is ending]
        if not ended:
            continue
        trained = [trial for trial in facts.trained if trial.outcome.kind is ending]
        seconds = sum(trial.provenance.seconds for trial in trained)
        example = ended[0].sentence
        if ending is OutcomeKind.DUPLICATE:
            example = "has the score of its twin"
        rows.append(
            (str(ending), len(ended), 100 * len(ended) / len(facts.proposals), len(trained),
             seconds, example)
        )  # fmt: skip
    return Table(
        name="endings-table",
        caption="How candidates ended",
        columns=("ending", "candidates#", "percent#", "trainings#", "seconds#", "for example"),
        rows=tuple(rows),
    )


def settings_table(facts: RunFacts) -> Table:
    """Return the run's configuration, one row for each number or name in it."""
    # The space is lists of names, which the page on the language describes.
    config = {key: value for key, value in facts.settings.everything.items() if key != "space"}
    return Table(
        name="settings",
        caption="Configuration",
        columns=("setting", "value"),
        rows=tuple(_flat(config, "")),
        shown=8,
    )


def _flat(data: Mapping[str, object], prefix: str) -> Iterator[tuple[Cell, ...]]:
    """Yield the leaves of nested plain data under dotted names."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield (f"{prefix}{name}", text)


def _interval(finalist: Finalist, compared: Compared, confidence: float) -> Interval | None:
    """Return Student's interval of a finalist's mean over its fresh runs with a score."""
    values = [value for value in finalist.results(compared) if value is not None]
    return paired_interval(values, confidence=confidence)


def _bounds(interval: Interval | None) -> tuple[Cell, Cell]:
    if interval is None:
        return (None, None)
    return (interval.mean, Between(interval.lower, interval.upper))
