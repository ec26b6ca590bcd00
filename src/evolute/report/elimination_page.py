"""The page of an elimination: who came through which round, the winners, and their benchmark."""

from __future__ import annotations

from evolute.benchmark.elimination import EliminationResult, RungResult
from evolute.benchmark.round_tables import CONFIDENCE
from evolute.report.bench_page import bench_page, findings_text
from evolute.report.elimination_figures import (
    interval_of,
    label,
    measure_of,
    round_figure,
    survival_figure,
)
from evolute.report.origin import origin
from evolute.report.page import Between, Block, Cell, Page, Section, Table, Tendency, present
from evolute.report.typeset import typeset
from evolute.report.winners import Named, winner_blocks
from evolute.report.wording import plural, sentence_case
from evolute.store.base import RunRecord
from evolute.train.protocol import Protocol


def elimination_page(result: EliminationResult, record: RunRecord) -> Page:
    """Put the page of an elimination together; its benchmark, if there is one, is its last part."""
    began, left = len(result.rungs[0].standings), len(result.rungs[-1].remaining)
    measured = None if result.benchmark is None else bench_page(result.benchmark, record)
    badge, tendency = _finding(left, measured)
    through = f"{left} of {plural(began, 'candidate')} came through"
    evidence = result.sentence
    if result.benchmark is not None:
        through = f"{through}; {findings_text(result.benchmark)}"
        evidence = result.benchmark.sentence
    return Page(
        kicker="Report of an elimination",
        title=result.name,
        badge=badge,
        tendency=tendency,
        verdict=sentence_case(through),
        evidence=sentence_case(evidence),
        small_print=() if measured is None else measured.small_print,
        figures=_key_figures(result, began, left),
        sections=(
            Section(
                title="The rounds",
                lead="The best candidates of the search met in ever larger set-ups, each round on "
                "fresh seeds, so that luck does not accumulate. Each round kept the best.",
                blocks=_rounds(result),
            ),
            *((_winners(result),) if measured is None else measured.sections),
        ),
        provenance=(
            ("Elimination", result.digest[:12]),
            ("search", result.run),
            *origin(record),
        ),
    )


def _finding(left: int, measured: Page | None) -> tuple[str, Tendency]:
    """Return badge and tendency: those of the benchmark, if there is one."""
    if measured is not None:
        return measured.badge, measured.tendency
    if left == 0:
        return "Nobody came through", Tendency.BAD
    return plural(left, "winner"), Tendency.OPEN


def _key_figures(
    result: EliminationResult, began: int, left: int
) -> tuple[tuple[str, str, str], ...]:
    trainings = sum(len(rung.standings) * len(rung.seeds) for rung in result.rungs)
    failed = sum(each.failed for rung in result.rungs for each in rung.standings)
    return (
        (str(began), "candidates", "the best of the search"),
        (str(len(result.rungs)), "rounds", "each on fresh seeds"),
        (f"{trainings:,}", "trainings", f"{failed:,} without a score"),
        (str(left), "came through", "the benchmark follows" if result.benchmark else "all rounds"),
    )


def _rounds(result: EliminationResult) -> tuple[Block, ...]:
    blocks: list[Block | None] = [survival_figure(result), _overview(result)]
    for number, rung in enumerate(result.rungs, 1):
        blocks += [round_figure(result, number), _round_table(result, number, rung)]
    return present(blocks)


def _overview(result: EliminationResult) -> Table:
    rows = []
    for number, rung in enumerate(result.rungs, 1):
        protocol = Protocol.from_json(rung.protocol)
        stay = sum(each.stays for each in rung.standings)
        width = "as in the search" if protocol.width is None else str(protocol.width)
        facts = (len(rung.standings), stay, len(rung.seeds), protocol.training.steps, width)
        rows.append((number, rung.task, *facts))
    return Table(
        name="rounds",
        caption="The rounds",
        columns=("round#", "task", "candidates#", "stay#", "seeds#", "steps#", "width"),
        rows=tuple(rows),
    )


def _round_table(result: EliminationResult, number: int, rung: RungResult) -> Table:
    measure = measure_of(rung)
    rows: list[tuple[Cell, ...]] = []
    for place, each in enumerate(rung.standings, 1):
        known: tuple[Cell, Cell] = (None, None)
        if each.fitness is not None:
            found = interval_of(each, measure)
            has_width = each.interval(confidence=CONFIDENCE) is not None
            known = (found.mean, Between(found.lower, found.upper) if has_width else None)
        rows.append((
            *(place, label(each.name, result.run), typeset(each.rule), *known),
            *(each.failed, each.learning_rate, "goes on" if each.stays else "leaves"),
        ))  # fmt: skip
    return Table(
        name=f"round-{number}-table",
        caption=f"Round {number} on {rung.task}, with {100 * CONFIDENCE:g}% intervals",
        columns=(
            *("place#", "candidate", "rule", f"{measure.name}#", "interval#"),
            *("failed seeds#", "rate#", "outcome"),
        ),
        rows=tuple(rows),
        shown=10,
        marked=frozenset(at for at, each in enumerate(rung.standings) if each.stays),
    )


def _winners(result: EliminationResult) -> Section:
    last = result.rungs[-1]
    measure = measure_of(last)
    named = [
        Named(
            label(each.name, result.run),
            each.name,
            each.rule,
            (
                ("learning rate", f"{each.learning_rate:.3g}"),
                (f"{measure.name} in the last round", f"{interval_of(each, measure).mean:.4g}"),
            ),
        )
        for each in last.remaining
    ]
    return Section(
        title="Winners",
        lead="Those that came through, best in the last round first: the update u, the learning "
        "rate η with its schedule factor, and how weights w move. g is the gradient, v̂ and ŝ its "
        "averaged first and second moment, a with an index a base decay from 1 to 0.",
        blocks=winner_blocks(named, Protocol.from_json(last.protocol).training),
    )
