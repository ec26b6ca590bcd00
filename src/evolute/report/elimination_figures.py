"""Figures of an elimination: who came through which round, and how far apart they were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from evolute.benchmark.comparison import Measure as Compared
from evolute.benchmark.elimination import EliminationResult, RungResult, Standing
from evolute.benchmark.round_tables import CONFIDENCE
from evolute.benchmark.statistics import Interval
from evolute.report.interval_figure import Shown, interval_figure
from evolute.report.measure import Measure
from evolute.report.palette import Tone
from evolute.report.pictures import Axis, Dots, Figure, Line, Mark, Symbol
from evolute.report.wording import plural, wrapped

STAYS, LEAVES = "goes on", "leaves"
_TONES = {STAYS: Tone.BLUE, LEAVES: Tone.GREY}

Path = list[tuple[int, int]]
"""Stage and place of a candidate in each stage that it took part in; stage 0 is the search."""


def measure_of(rung: RungResult) -> Measure:
    """Return what fitness stands for in a round."""
    is_loss = rung.measure is Compared.LOSS
    return Measure("validation loss" if is_loss else "validation metric", is_loss=is_loss)


def label(name: str, run: str) -> str:
    """Return how figures call a candidate: #3 for the third of the search.

    >>> label("3:digits-quick-0", "digits-quick-0"), label("mine", "digits-quick-0")
    ('#3', 'mine')
    """
    rank, _, owner = name.partition(":")
    return f"#{rank}" if owner == run and rank.isdigit() else name


def survival_figure(result: EliminationResult) -> Figure | None:
    """Show each candidate's place round by round; None if nobody began."""
    paths = _paths(result)
    if not paths:
        return None
    winners = {each.name for each in result.rungs[-1].remaining}
    lines = [
        Line(name=label(name, result.run), x=tuple(float(stage) for stage, _ in path),
             y=tuple(float(place) for _, place in path),
             tone=Tone.BLUE if name in winners else Tone.FAINT,
             width=2.4 if name in winners else 1.2, legend=False)
        for name, path in sorted(paths.items(), key=lambda each: each[0] in winners)
    ]  # fmt: skip
    most = max(len(rung.standings) for rung in result.rungs)
    stages = [(0.0, "the search"), *((float(n), _stage(n, r)) for n, r in _numbered(result))]
    begun = min(stage for path in paths.values() for stage, _ in path)
    return Figure(
        name="survival",
        title="Who came through which round",
        caption="Each line is a candidate, at its place among those still there; the best is on "
        "top. Blue lines came through all rounds, crosses mark where the others left. Lines cross "
        "where a figure of one seed, or of the smaller set-up, was partly luck. Point at a mark to "
        "read the rule; #3 is the search's third.",
        x=Axis(
            title="", ticks=tuple(stages[begun:]), span=(begun - 0.15, len(result.rungs) + 0.15)
        ),
        y=Axis(title="place", ticks=_place_ticks(most), span=(most + 0.7, 0.3)),
        marks=(*lines, *_standing_marks(result, begun)),
        height=min(900, max(320, 150 + 22 * most)),
    )


def _numbered(result: EliminationResult) -> Iterator[tuple[int, RungResult]]:
    yield from enumerate(result.rungs, 1)


def _stage(number: int, rung: RungResult) -> str:
    return f"round {number}: {rung.task}\n{plural(len(rung.seeds), 'seed')}"


def _place_ticks(most: int) -> tuple[tuple[float, str], ...]:
    every = 1 if most <= 12 else 5
    shown = [place for place in range(1, most + 1) if place == 1 or place % every == 0]
    return tuple((float(place), str(place)) for place in shown)


def _paths(result: EliminationResult) -> Mapping[str, Path]:
    paths: dict[str, Path] = {}
    first = result.rungs[0].standings if result.rungs else ()
    ranks = {each.name: label(each.name, result.run)[1:] for each in first}
    if all(rank.isdigit() for rank in ranks.values()):
        ordered = sorted(ranks, key=lambda name: int(ranks[name]))
        paths = {name: [(0, place)] for place, name in enumerate(ordered, 1)}
    for number, rung in _numbered(result):
        for place, each in enumerate(rung.standings, 1):
            paths.setdefault(each.name, []).append((number, place))
    return paths


def _standing_marks(result: EliminationResult, begun: int) -> Iterator[Mark]:
    """Yield the marks of those that went on and of those that left, with what the pointer reads."""
    if begun == 0:
        start = [(0, place, each) for each, place in _starts(result)]
        yield _dots("in the search", start, result, Tone.GREY, Symbol.RING)
    stood = [
        (number, place, each)
        for number, rung in _numbered(result)
        for place, each in enumerate(rung.standings, 1)
    ]
    for name, symbol, chosen in (
        (LEAVES, Symbol.CROSS, [each for each in stood if not each[2].stays]),
        (STAYS, Symbol.CIRCLE, [each for each in stood if each[2].stays]),
    ):
        if chosen:
            yield _dots(name, chosen, result, _TONES[name], symbol)


def _starts(result: EliminationResult) -> Iterator[tuple[Standing, int]]:
    places = {name: path[0][1] for name, path in _paths(result).items()}
    for each in result.rungs[0].standings:
        yield each, places[each.name]


def _dots(
    name: str,
    chosen: Sequence[tuple[int, int, Standing]],
    result: EliminationResult,
    tone: Tone,
    symbol: Symbol,
) -> Dots:
    return Dots(
        name=name,
        x=tuple(float(stage) for stage, _, _ in chosen),
        y=tuple(float(place) for _, place, _ in chosen),
        tone=tone,
        hover=tuple(
            f"{label(each.name, result.run)}, place {place} in the search\n{wrapped(each.rule)}"
            if stage == 0
            else _hover(each, result.rungs[stage - 1], label(each.name, result.run))
            for stage, place, each in chosen
        ),
        symbol=symbol,
        size=9.0,
    )


def _hover(each: Standing, rung: RungResult, name: str) -> str:
    measure = measure_of(rung)
    if each.fitness is None:
        return f"{name}: finished on no seed\n{wrapped(each.rule)}"
    found = interval_of(each, measure)
    failed = f", failed on {plural(each.failed, 'seed')}" if each.failed else ""
    return (
        f"{name}: {measure.name} {found.mean:.4g} ({found.lower:.4g} to {found.upper:.4g})\n"
        f"at rate {each.learning_rate:.3g}{failed}\n{wrapped(each.rule)}"
    )


def interval_of(each: Standing, measure: Measure) -> Interval:
    """Return a standing's mean measure with its interval, of no width if it has none."""
    fitness = 0.0 if each.fitness is None else each.fitness
    found = each.interval(confidence=CONFIDENCE) or Interval(fitness, fitness, fitness)
    ends = sorted(measure.value(end) for end in (found.lower, found.upper))
    return Interval(measure.value(found.mean), *ends)


def round_figure(result: EliminationResult, number: int) -> Figure | None:
    """Show what each candidate of a round reached, with intervals; None if none finished."""
    rung = result.rungs[number - 1]
    measure = measure_of(rung)
    rows = [
        Shown(
            label=label(each.name, result.run),
            interval=interval_of(each, measure),
            group=STAYS if each.stays else LEAVES,
            hover=_hover(each, rung, label(each.name, result.run)),
        )
        for each in rung.standings
        if each.fitness is not None
    ]
    if not rows:
        return None
    lost = len(rung.standings) - len(rows)
    direction = "left" if measure.is_loss else "right"
    missing = f" {plural(lost, 'candidate')} finished on no seed." if lost else ""
    return interval_figure(
        rows,
        name=f"round-{number}",
        title=f"Round {number} on {rung.task}",
        caption=f"Mean on {plural(len(rung.seeds), 'fresh seed')} with its {100 * CONFIDENCE:g}% "
        f"interval; further {direction} is better, and one that failed on a seed stands behind "
        f"those that did not.{missing}",
        axis=measure.name,
        tones=_TONES,
    )
