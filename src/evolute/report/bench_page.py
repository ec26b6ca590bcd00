"""The page of a benchmark: verdicts, scores over tasks, each task by itself, and the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from evolute.benchmark.comparison import Finding
from evolute.benchmark.findings import EntrantVerdict
from evolute.benchmark.result import BenchResult, TaskResult
from evolute.benchmark.verdict import Side
from evolute.benchmark.words import listed
from evolute.report.bench_figures import (
    cost_figure,
    cross_figure,
    curves_figure,
    gains_figure,
    looks_of,
    measured_name,
    profiles_figure,
    sensitivity_figure,
    tuning_figure,
    verdicts_figure,
)
from evolute.report.bench_tables import (
    cost_table,
    cross_tables,
    results_table,
    scores_table,
    tuning_tables,
    verdicts_table,
)
from evolute.report.findings import FINDINGS
from evolute.report.origin import config_table, origin
from evolute.report.page import Block, Page, Section, Tendency, present
from evolute.report.winners import Named, winner_blocks
from evolute.report.wording import plural, sentence_case
from evolute.store.base import RunRecord
from evolute.train.protocol import Protocol

MOST_NAMED = 3
"""So many comparisons are told in the headline, or all of one rule; of more it says how many found
what."""


def bench_page(result: BenchResult, record: RunRecord) -> Page:
    """Put the page of a benchmark together."""
    badge, tendency, headline = _finding(result)
    return Page(
        kicker="Report of a benchmark",
        title=result.name,
        badge=badge,
        tendency=tendency,
        verdict=headline,
        evidence=sentence_case(result.sentence),
        small_print=_small_print(result),
        figures=_key_figures(result),
        sections=(
            Section(
                title="Verdicts",
                lead=f"Better means better than {_rival(result)}, on seeds and data never used for "
                "tuning, after correction for the number of comparisons.",
                blocks=tuple(
                    verdicts_table(task, f"task-{place}")
                    for place, task in enumerate(result.tasks, 1)
                ),
            ),
            Section(
                title="Over all tasks",
                lead="How soon each optimizer reaches the target set by the tuned hand-made ones, "
                "task by task compared with the fastest.",
                blocks=present([profiles_figure(result), scores_table(result)]),
            ),
            *(_task(result, task, f"task-{place}") for place, task in enumerate(result.tasks, 1)),
            _rules(result),
            Section(
                title="Settings",
                lead="How much work the benchmark did.",
                blocks=(config_table(result.config),),
            ),
        ),
        provenance=(
            ("Benchmark", result.digest[:12]),
            ("preset", result.preset),
            ("seed", str(result.seed)),
            *origin(record),
        ),
    )


def _finding(result: BenchResult) -> tuple[str, Tendency, str]:
    """Return badge, tendency and headline from the verdicts on discovered rules."""
    found = {
        name: [(verdict.finding or "", task.task) for task, verdict in _judged(result)
               if verdict.entrant == name]
        for name in _discovered(result)
    }  # fmt: skip
    kinds = {kind for each in found.values() for kind, _ in each}
    if not kinds:
        return "Compared", Tendency.OPEN, "Nothing discovered was compared here."
    badge, tendency = "Mixed", Tendency.OPEN
    if len(kinds) == 1:
        badge, tendency = FINDINGS[Finding(next(iter(kinds)))]
    if len(found) > 1 and sum(map(len, found.values())) > MOST_NAMED:
        return badge, tendency, sentence_case(findings_text(result))
    headline = "; ".join(f"{name}: {_said(each)}" for name, each in found.items() if each)
    return badge, tendency, f"{headline}."


def _rival(result: BenchResult) -> str:
    """Return whom a rule must beat to be called better."""
    if any(task.cross is None for task in result.tasks):
        return "the best hand-made update under the one schedule that was tried"
    return "the best of hand-made updates under hand-made schedules"


def _discovered(result: BenchResult) -> list[str]:
    return [score.entrant for score in result.scores if score.side is Side.DISCOVERED]


def _judged(result: BenchResult) -> Iterator[tuple[TaskResult, EntrantVerdict]]:
    """Yield the verdicts on discovered rules that found something."""
    names = set(_discovered(result))
    for task in result.tasks:
        for verdict in task.verdicts:
            if verdict.entrant in names and verdict.finding is not None:
                yield task, verdict


def findings_text(result: BenchResult) -> str:
    """Say how many comparisons of discovered rules with hand-made ones found what."""
    counts = Counter(verdict.finding for _, verdict in _judged(result))
    words = {
        Finding.BETTER: ("is better", "are better"),
        Finding.NO_DIFFERENCE: ("shows no difference", "show no difference"),
        Finding.WORSE: ("is worse", "are worse"),
    }
    said = [
        f"{counts[finding]} {one if counts[finding] == 1 else many}"
        for finding, (one, many) in words.items()
        if counts[finding]
    ]
    if not said:
        return "no discovered rule was compared with a hand-made one"
    compared = plural(sum(counts.values()), "comparison")
    return f"in {compared} with hand-made optimizers, {listed(said)}"


def _said(found: list[tuple[str, str]]) -> str:
    """Say on which tasks an optimizer was found what."""
    parts = []
    for finding in Finding:
        tasks = [task for kind, task in found if kind == finding.value]
        if tasks:
            parts.append(f"{finding.value} on {', '.join(tasks)}")
    return ", ".join(parts)


def _small_print(result: BenchResult) -> tuple[str, ...]:
    several = len(result.tasks) > 1
    return tuple(
        sentence_case(f"{task.task}: {note}" if several else note)
        for task in result.tasks
        for note in task.notes
    )


def _key_figures(result: BenchResult) -> tuple[tuple[str, str, str], ...]:
    discovered = sum(score.side is Side.DISCOVERED for score in result.scores)
    config = result.config
    return (
        (str(len(result.scores)), "optimizers", f"{discovered} discovered"),
        (str(len(result.tasks)), "task" if len(result.tasks) == 1 else "tasks",
         ", ".join(task.task for task in result.tasks)),
        (str(config.budget), "tuning trials", "for each optimizer and task"),
        (str(config.seeds), "fresh seeds", "for each measurement"),
        (f"{100 * config.confidence:g}%", "intervals", "and level of the findings"),
    )  # fmt: skip


def _task(result: BenchResult, task: TaskResult, name: str) -> Section:
    style = looks_of(result)
    blocks: list[Block | None] = [
        verdicts_figure(task, name),
        results_table(task, name, confidence=result.config.confidence),
        curves_figure(task, style, name),
    ]
    if task.cross is not None:
        blocks.append(cross_figure(task, task.cross, name))
        blocks += cross_tables(task, name)
        blocks += [
            gains_figure(task, attribution, f"{name}-gain-{place}")
            for place, attribution in enumerate(task.attributions, 1)
        ]
    blocks += [
        sensitivity_figure(task, style, name),
        tuning_figure(task, style, name),
        *tuning_tables(task, name),
        cost_figure(task, name),
        cost_table(task, name),
    ]
    return Section(
        title=f"Task {task.task}",
        lead=f"{plural(task.steps, 'optimizer step')}; compared by {measured_name(task)}. "
        f"{_target(task)}",
        blocks=present(blocks),
    )


def _target(task: TaskResult) -> str:
    if task.target is None:
        return "No hand-made optimizer finished, so there is no target."
    measure = "loss" if task.target.measure.value == "loss" else task.metric or "metric"
    return (
        f"The target is a validation {measure} of {task.target.value:.4g}, what "
        f"{task.target.source} reaches in the median."
    )


def _rules(result: BenchResult) -> Section:
    entrants = result.tasks[0].entrants if result.tasks else ()
    named = [
        Named(
            entrant.name,
            entrant.name if entrant.title == entrant.name else f"{entrant.name} ({entrant.title})",
            entrant.rule,
            (("origin", str(entrant.side)), ("schedule of its own", entrant.schedule or "none")),
        )
        for entrant in entrants
    ]
    return Section(
        title="The optimizers",
        lead="At their defaults. g is the gradient, v̂ and ŝ its averaged first and second moment, "
        "a with an index a base decay from 1 to 0.",
        blocks=winner_blocks(
            named, Protocol.from_json(result.tasks[0].protocol).training, prefix="optimizers-"
        )
        if entrants
        else (),
    )
