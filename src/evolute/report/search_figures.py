"""Figures of a search: every candidate, the particles' paths, endings and cost."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from evolute.report.axes import name_axis
from evolute.report.facts import Proposed, RunFacts
from evolute.report.measure import Measure
from evolute.report.palette import Tone
from evolute.report.pictures import Axis, Bars, Dash, Dots, Figure, Line, Mark, Symbol
from evolute.report.wording import seconds_text, wrapped
from evolute.search.base import ProposalKind
from evolute.trial import OutcomeKind

ENDINGS = (
    OutcomeKind.FINISHED,
    OutcomeKind.BELOW_THRESHOLD,
    OutcomeKind.DIVERGED,
    OutcomeKind.TIMED_OUT,
    OutcomeKind.CRASHED,
    OutcomeKind.DUPLICATE,
    OutcomeKind.DEGENERATE,
)
"""Endings in the order shown: those that cost a training first, the best on top."""

ItemT = TypeVar("ItemT")

_KINDS = {
    ProposalKind.RANDOM: ("random candidates", Tone.ORANGE),
    ProposalKind.PROMOTION: ("promoted to particles", Tone.GREEN),
    ProposalKind.MUTATION: ("mutations", Tone.BLUE),
}
MOST_DOTS = 4_000
"""Dots of one kind that are drawn: of more, evenly chosen ones, so that a browser stays quick."""

_SHOWN_PART = 0.8
"""Part of the children left behind that the axis of the paths has room for, the better ones."""

_SPREAD = 0.62
"""Part of a time step over which its candidates are spread, so that dots do not hide dots."""


def candidates_figure(facts: RunFacts, measure: Measure) -> Figure | None:
    """Show every candidate in the order of asking, and the best so far; None if none scored."""
    scored = [each for each in facts.proposals if each.fitness is not None]
    if not scored:
        return None
    axis = measure.axis(_values(scored, measure))
    marks: list[Mark] = [_failed(facts.proposals, lambda each: each.number, axis, measure)]
    for kind, (name, tone) in _KINDS.items():
        chosen = [each for each in scored if each.kind is kind]
        if chosen:
            marks.append(_scored_dots(name, chosen, [each.number for each in chosen], measure,
                                      tone=tone))  # fmt: skip
    marks.append(_best_so_far(scored, measure))
    return Figure(
        name="candidates",
        title="Every candidate, and the best so far",
        caption="Each dot is a rule that was trained, or the twin of one; crosses on the lower "
        "edge are candidates without a score. Point at a dot to read its rule.",
        x=Axis(title="candidates proposed"),
        y=axis,
        marks=tuple(marks),
    )


def paths_figure(facts: RunFacts, measure: Measure) -> Figure | None:
    """Show the chains: each child a dot, a line through those moved to; None without chains."""
    proposals = sorted(facts.of_particles(), key=lambda each: (each.particle, each.number))
    scored = [each for each in proposals if each.fitness is not None]
    if not scored:
        return None
    places = _places(proposals)
    paths = [path for path in accepted_steps(proposals).values() if path]
    best = max(paths, key=lambda path: max(map(_fitness, path)))
    taken = [each for path in paths for each in path]
    left = [each for each in scored if each not in taken]
    axis = measure.axis([*_values(taken, measure), *_upper_part(_values(left, measure), measure)])
    off = [each for each in left if measure.is_worse(_shown(each, measure), measure.floor(axis))]
    marks: list[Mark] = [_failed(proposals, lambda each: places[each.number], axis, measure)]
    if off:
        marks.append(_off_the_axis(off, [places[each.number] for each in off], axis, measure))
    lines = [_path(path, places, measure, best=path is best) for path in paths]
    marks += sorted(lines, key=_width)
    groups = (
        ("children left behind", [e for e in left if e not in off], Tone.GREY, Symbol.RING),
        ("moved to", [e for e in taken if e not in best], Tone.SKY, Symbol.CIRCLE),
        ("best path", best, Tone.BLUE, Symbol.CIRCLE),
    )
    marks += [
        _scored_dots(name, chosen, [places[each.number] for each in chosen], measure,
                     tone=tone, symbol=symbol)
        for name, chosen, tone, symbol in groups
        if chosen
    ]  # fmt: skip
    depths = sorted({each.depth for each in proposals})
    return Figure(
        name="particles",
        title="The particles' paths",
        caption="Each particle draws children at every time step and moves to one of them: the "
        "line follows its moves. Rings are children that were scored and left behind; on the lower "
        "edge, triangles are children worse than shown and crosses children without a score. Point "
        "at a dot to read its rule.",
        x=Axis(title="time step", ticks=tuple((float(depth), str(depth)) for depth in depths)),
        y=axis,
        marks=tuple(marks),
        height=520,
    )


def accepted_steps(proposals: Iterable[Proposed]) -> Mapping[int, list[Proposed]]:
    """Return for each particle the proposals it stood on, by rising time step.

    A proposal was moved to if a later one of the same particle is its child. Of the last step there
    is no child: the fittest is shown.
    """
    chains: dict[int, list[Proposed]] = defaultdict(list)
    for each in proposals:
        if each.particle is not None:
            chains[each.particle].append(each)
    return {particle: _moves(chain) for particle, chain in chains.items()}


def _moves(chain: Sequence[Proposed]) -> list[Proposed]:
    parents = {each.parent for each in chain}
    moves = [each for each in chain if each.fitness is not None and (
        each.number in parents or each.depth == 0)]  # fmt: skip
    last = max(each.depth for each in chain)
    reached = max((each.depth for each in moves), default=-1)
    final = [each for each in chain if each.depth == last and each.fitness is not None]
    if final and last > reached:
        moves.append(max(final, key=_fitness))
    return sorted(moves, key=lambda each: each.depth)


def endings_figure(facts: RunFacts) -> Figure | None:
    """Show how many candidates ended how; None if there are none."""
    if not facts.proposals:
        return None
    counts = Counter((each.outcome, each.kind) for each in facts.proposals)
    totals = Counter(each.outcome for each in facts.proposals)
    endings = [ending for ending in ENDINGS if totals[ending]]
    heights = tuple(float(place) for place in range(len(endings)))
    starts = tuple(0.0 for _ in endings)
    bars = []
    for kind, (name, tone) in _KINDS.items():
        lengths = tuple(float(counts[ending, kind]) for ending in endings)
        if any(lengths):
            hover = tuple(
                f"{length:,.0f} {name}: {ending}"
                for ending, length in zip(endings, lengths, strict=True)
            )
            bars.append(
                Bars(name=name, y=heights, starts=starts, lengths=lengths, tone=tone, hover=hover)
            )
            starts = tuple(map(sum, zip(starts, lengths, strict=True)))
    return Figure(
        name="endings",
        title="Where candidates ended",
        caption="Degenerate candidates fail a check that costs no training, and duplicates move "
        "weights as a rule trained before does; neither is trained. All others were.",
        x=Axis(title="candidates"),
        y=name_axis([f"{ending}  {totals[ending]:,}" for ending in endings]),
        marks=tuple(bars),
        height=130 + 38 * len(endings),
    )


def time_figure(facts: RunFacts) -> Figure | None:
    """Show how long trainings of each ending took in all; None if nothing was trained."""
    seconds: dict[OutcomeKind, float] = defaultdict(float)
    for trial in facts.trained:
        seconds[trial.outcome.kind] += trial.provenance.seconds
    endings = [ending for ending in ENDINGS if seconds.get(ending)]
    if not endings:
        return None
    bars = Bars(
        name="training time",
        y=tuple(float(place) for place in range(len(endings))),
        starts=(0.0,) * len(endings),
        lengths=tuple(seconds[ending] for ending in endings),
        tone=Tone.BLUE,
        hover=tuple(f"{ending}: {seconds_text(seconds[ending])}" for ending in endings),
    )
    return Figure(
        name="training-time",
        title="Where the training time went",
        caption="Time of all trainings of the search by how they ended, added up over workers.",
        x=Axis(title="training time in seconds"),
        y=name_axis([f"{ending}  {seconds_text(seconds[ending])}" for ending in endings]),
        marks=(bars,),
        height=120 + 38 * len(endings),
    )


def _fitness(each: Proposed) -> float:
    assert each.fitness is not None  # callers pass scored ones
    return each.fitness


def _last_fitness(path: Sequence[Proposed]) -> float:
    return _fitness(path[-1])


def _values(scored: Iterable[Proposed], measure: Measure) -> list[float]:
    return [measure.value(_fitness(each)) for each in scored]


def _shown(each: Proposed, measure: Measure) -> float:
    return measure.value(_fitness(each))


def _upper_part(values: Sequence[float], measure: Measure) -> list[float]:
    """Return the better part of values: the worst would squeeze what is of interest."""
    best_first = sorted(values, reverse=not measure.is_loss)
    return best_first[: math.ceil(_SHOWN_PART * len(best_first))]


def _thinned(items: Sequence[ItemT]) -> Sequence[ItemT]:
    return items[:: math.ceil(len(items) / MOST_DOTS) or 1]


def _width(mark: Mark) -> float:
    return mark.width if isinstance(mark, Line) else 0.0


def _off_the_axis(
    chosen: Sequence[Proposed], x: Sequence[float], axis: Axis, measure: Measure
) -> Dots:
    return Dots(
        name="worse than shown",
        x=tuple(x),
        y=(measure.floor(axis),) * len(chosen),
        tone=Tone.GREY,
        hover=tuple(_hover(each, measure) for each in chosen),
        symbol=Symbol.DOWN,
        size=6.0,
    )


def _places(proposals: Sequence[Proposed]) -> Mapping[int, float]:
    """Spread the candidates of each time step around it, particle by particle."""
    steps: dict[int, list[int]] = defaultdict(list)
    for each in proposals:
        steps[each.depth].append(each.number)
    return {
        number: depth + _SPREAD * ((place + 0.5) / len(numbers) - 0.5)
        for depth, numbers in steps.items()
        for place, number in enumerate(numbers)
    }


def _path(
    path: Sequence[Proposed], places: Mapping[int, float], measure: Measure, *, best: bool
) -> Line:
    return Line(
        name="best path" if best else f"particle {path[0].particle}",
        x=tuple(places[each.number] for each in path),
        y=tuple(_values(path, measure)),
        tone=Tone.BLUE if best else Tone.SKY,
        width=3.0 if best else 1.2,
        legend=False,
    )


def _best_so_far(scored: Sequence[Proposed], measure: Measure) -> Line:
    points: list[tuple[float, float]] = []
    best: float | None = None
    for each in scored:
        if best is None or _fitness(each) > best:
            best = _fitness(each)
            points.append((each.number, measure.value(best)))
    points.append((scored[-1].number, points[-1][1]))
    x, y = zip(*points, strict=True)
    return Line(name="best so far", x=x, y=y, tone=Tone.INK, dash=Dash.SOLID, width=1.6,
                stepped=True)  # fmt: skip


def _scored_dots(
    name: str,
    chosen: Sequence[Proposed],
    x: Sequence[float],
    measure: Measure,
    *,
    tone: Tone,
    symbol: Symbol = Symbol.CIRCLE,
) -> Dots:
    chosen, x = _thinned(chosen), _thinned(x)
    return Dots(
        name=name,
        x=tuple(x),
        y=tuple(_values(chosen, measure)),
        tone=tone,
        hover=tuple(_hover(each, measure) for each in chosen),
        symbol=symbol,
    )


def _failed(
    proposals: Iterable[Proposed],
    place: Callable[[Proposed], float],
    axis: Axis,
    measure: Measure,
) -> Dots:
    chosen = _thinned([each for each in proposals if each.fitness is None])
    return Dots(
        name="without a score",
        x=tuple(place(each) for each in chosen),
        y=(measure.floor(axis),) * len(chosen),
        tone=Tone.GREY,
        hover=tuple(_hover(each, measure) for each in chosen),
        symbol=Symbol.CROSS,
        size=5.0,
        opacity=0.7,
    )


def _hover(each: Proposed, measure: Measure) -> str:
    lines = [wrapped(each.rule)]
    if each.fitness is None:
        lines.append(wrapped(each.sentence))
    else:
        lines.append(f"{measure.name} {measure.value(each.fitness):.4g}")
    place = f"candidate {each.number}, {each.kind}"
    if each.particle is not None:
        place += f", particle {each.particle}, step {each.depth}"
    if each.parent is not None:
        place += f", from {each.parent}"
    if each.outcome is OutcomeKind.DUPLICATE:
        place += "; duplicate, with the score of its twin"
    return "\n".join([*lines, place])
