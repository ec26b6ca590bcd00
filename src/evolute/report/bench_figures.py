"""Figures of a benchmark: profiles over tasks, and for each task curves, sweeps and cross table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from evolute.benchmark.comparison import Measure as Compared
from evolute.benchmark.findings import Attribution, CrossTable
from evolute.benchmark.measured import EntrantResult, Measurement
from evolute.benchmark.result import BenchResult, TaskResult
from evolute.benchmark.verdict import Side
from evolute.report.axes import linear_axis, log_axis, loss_axis, name_axis
from evolute.report.intervals import Difference, difference_marks, interval_mark
from evolute.report.looks import Look, looks
from evolute.report.measure import Measure
from evolute.report.palette import Tone
from evolute.report.pictures import (
    Axis,
    Band,
    Bars,
    Dash,
    Figure,
    Heat,
    Line,
    Mark,
)
from evolute.report.wording import plural


def looks_of(result: BenchResult) -> Mapping[str, Look]:
    """Give each optimizer of a benchmark its look, the discovered ones first."""
    return looks([(score.entrant, score.side is Side.DISCOVERED) for score in result.scores])


def measured_name(task: TaskResult) -> str:
    """Say what is compared on a task: ``"loss"``, or the name of its metric."""
    return "loss" if task.measure is Compared.LOSS else task.metric or "metric"


def profiles_figure(result: BenchResult) -> Figure | None:
    """Show the performance profiles; None without tasks."""
    if not result.tasks or not result.taus:
        return None
    style = looks_of(result)
    lines = [
        Line(
            name=score.entrant,
            x=result.taus,
            y=score.profile,
            tone=style[score.entrant].tone,
            dash=style[score.entrant].dash,
            width=style[score.entrant].width,
            stepped=True,
        )
        for score in result.scores
    ]
    return Figure(
        name="profiles",
        title="Performance profiles",
        caption="For each optimizer the part of the tasks on which it reaches the target within τ "
        "times the steps of the fastest. Higher and further left is better; the area under a curve "
        "is the score.",
        x=Axis(title="τ: steps to the target / steps of the fastest", span=(1.0, result.taus[-1])),
        y=Axis(title="part of the tasks", span=(-0.03, 1.03)),
        marks=tuple(lines[::-1]),
        height=400,
    )


def verdicts_figure(task: TaskResult, name: str) -> Figure | None:
    """Show each optimizer's difference to the reference; None without a comparison."""
    sides = {entrant.name: entrant.side for entrant in task.entrants}
    rows = [
        Difference(verdict.entrant, sides[verdict.entrant], verdict.finding or "the reference",
                   versus.interval, versus.wins, len(versus.differences))
        for verdict in task.verdicts
        if (versus := verdict.comparison) is not None and versus.interval is not None
    ]  # fmt: skip
    if not rows:
        return None
    better = "left" if task.measure is Compared.LOSS else "right"
    return Figure(
        name=f"{name}-differences",
        title=f"Difference to {task.verdicts[0].reference}, the best hand-made update and schedule",
        caption="Mean paired difference on the fresh seeds and test data, each with an interval of "
        f"its own; {better} of zero is better. Findings are corrected by Holm for all comparisons "
        "of the benchmark, so they may be more careful than an interval.",
        x=Axis(title=f"difference in test {measured_name(task)}", zero_line=True),
        y=name_axis([row.name for row in rows]),
        marks=difference_marks(rows),
        height=130 + 40 * len(rows),
    )


def curves_figure(task: TaskResult, style: Mapping[str, Look], name: str) -> Figure | None:
    """Show learning curves at the tuned settings; None if nothing finished."""
    lines: list[Mark] = []
    bands: list[Mark] = []
    values: list[float] = []
    seeds = 0
    for entrant in task.entrants:
        points = [] if entrant.tuned is None else _spread(entrant.tuned)
        if entrant.tuned is None or not points:
            continue
        seeds = max(seeds, len(entrant.tuned.runs))
        steps, lower, middle, upper = (tuple(each) for each in zip(*points, strict=True))
        look = style[entrant.name]
        if entrant.side is Side.DISCOVERED:
            bands.append(Band(name=entrant.name, x=steps, lower=lower, upper=upper, tone=look.tone))
        lines.append(
            Line(name=entrant.name, x=steps, y=middle, tone=look.tone, dash=look.dash,
                 width=look.width)
        )  # fmt: skip
        values += middle
    if not lines:
        return None
    if task.target is not None and task.target.measure is Compared.LOSS:
        values.append(task.target.value)
        ends = (0.0, float(task.steps))
        target = Line(name=f"target, set by {task.target.source}", x=ends,
                      y=(task.target.value,) * 2, tone=Tone.MUTED, width=1.2,
                      dash=Dash.DOTTED)  # fmt: skip
        lines.append(target)
    return Figure(
        name=f"{name}-curves",
        title="Learning curves at the tuned settings",
        caption=f"Validation loss, median of up to {plural(seeds, 'fresh seed')}; the bands hold "
        "the middle half of the seeds of each discovered rule.",
        x=Axis(title="optimizer steps"),
        y=loss_axis("validation loss", values),
        marks=(*bands, *lines[::-1]),
        height=440,
    )


def _spread(measurement: Measurement) -> list[tuple[float, float, float, float]]:
    """Return step, lower quartile, median and upper quartile of the validation loss."""
    losses: dict[int, list[float]] = {}
    for run in measurement.runs:
        for step, loss in zip(run.curve.steps, run.curve.validation_loss, strict=True):
            losses.setdefault(step, []).append(loss)
    most = max(map(len, losses.values()), default=0)
    return [
        (float(step), *_quartiles(seen))
        for step, seen in sorted(losses.items())
        if len(seen) == most
    ]


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return (values[0],) * 3
    lower, middle, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, middle, upper


def sensitivity_figure(task: TaskResult, style: Mapping[str, Look], name: str) -> Figure | None:
    """Show the measure over learning rates around the tuned one; None without a sweep."""
    lines = []
    rates: list[float] = []
    values: list[float] = []
    for entrant in task.entrants:
        if entrant.sensitivity is None:
            continue
        points = entrant.sensitivity.points
        look = style[entrant.name]
        rates += [point.learning_rate for point in points]
        values += [point.value for point in points if point.value is not None]
        lines.append(
            Line(
                name=entrant.name,
                x=tuple(point.learning_rate for point in points),
                y=tuple(point.value for point in points),
                tone=look.tone,
                dash=look.dash,
                width=look.width,
            )
        )
    if not values:
        return None
    measure = Measure(f"test {measured_name(task)}", is_loss=task.measure is Compared.LOSS)
    return Figure(
        name=f"{name}-sensitivity",
        title="Sensitivity to the learning rate",
        caption="All else as tuned. A wide and high curve forgives a badly chosen rate; a gap is a "
        "rate at which a training ended without a score.",
        x=log_axis("peak learning rate", rates),
        y=measure.axis(values),
        marks=tuple(lines[::-1]),
        height=420,
    )


def tuning_figure(task: TaskResult, style: Mapping[str, Look], name: str) -> Figure | None:
    """Show the expected best result after so many tuning trials; None without any."""
    measure = Measure(
        "validation loss" if task.measure is Compared.LOSS else f"validation {measured_name(task)}",
        is_loss=task.measure is Compared.LOSS,
    )
    lines = [_expected(entrant, style[entrant.name], measure) for entrant in task.entrants]
    drawn = [line for line in lines if line is not None]
    values = [y for line in drawn for y in line.y if y is not None]
    if not values:
        return None
    return Figure(
        name=f"{name}-tuning",
        title="Expected best result against the tuning budget",
        caption="What the best of so many tuning trials reaches on average: an optimizer that is "
        "easy to tune is good from the first trials on (Dodge et al., 2019).",
        x=Axis(title="tuning trials", ticks=_count_ticks(max(len(line.x) for line in drawn))),
        y=measure.axis(values),
        marks=tuple(drawn[::-1]),
        height=380,
    )


def _count_ticks(most: int) -> tuple[tuple[float, str], ...]:
    """Return ticks at whole numbers, a dozen at most."""
    every = next(step for step in (1, 2, 5, 10, 20, 50, 100, 500) if most <= 12 * step)
    counts = sorted({1, *range(every, most + 1, every)})
    return tuple((float(count), str(count)) for count in counts)


def _expected(entrant: EntrantResult, look: Look, measure: Measure) -> Line | None:
    if entrant.expected_best is None:
        return None
    values = [measure.value(fitness) for fitness in entrant.expected_best]
    return Line(
        name=entrant.name,
        x=tuple(float(count) for count in range(1, len(values) + 1)),
        y=tuple(value if math.isfinite(value) else None for value in values),
        tone=look.tone,
        dash=look.dash,
        width=look.width,
    )


def cross_figure(task: TaskResult, cross: CrossTable, name: str) -> Figure:
    """Show every update under every schedule as a heat map of the test measure."""
    columns = tuple(column.label for column in cross.schedules)
    values: list[tuple[float | None, ...]] = []
    texts: list[tuple[str, ...]] = []
    for update in cross.updates:
        row: list[float | None] = []
        said: list[str] = []
        for column in columns:
            cell = cross.cell(update, column)
            own = cross.own_schedules.get(update) == column
            seen = None
            if cell is not None:
                seen = cell.loss if task.measure is Compared.LOSS else cell.metric
            row.append(None if seen is None else seen.mean)
            best = (update, column) == cross.best_hand_made
            text = "" if cell is None else "no score" if seen is None else f"{seen.mean:.3g}"
            said.append(f"{text}{' ★' if best else ''}{' ●' if own and text else ''}")
        values.append(tuple(row))
        texts.append(tuple(said))
    return Figure(
        name=f"{name}-cross",
        title="Equation or schedule? Every update under every schedule",
        caption=f"Mean test {measured_name(task)} on fresh seeds, each cell at its own tuned rate; "
        "the stronger the blue, the better its place among all cells. ● marks a rule as it is, ★ "
        "the best hand-made update and schedule in tuning, which a discovered rule has to beat.",
        x=Axis(title="schedule", ticks=tuple((float(i), text) for i, text in enumerate(columns))),
        y=name_axis(cross.updates),
        marks=(
            Heat(
                columns=columns,
                rows=cross.updates,
                values=_ranks(values),
                texts=tuple(texts),
                low_is_good=task.measure is Compared.LOSS,
            ),
        ),
        height=150 + 52 * len(cross.updates),
    )


def _ranks(
    values: Sequence[Sequence[float | None]],
) -> tuple[tuple[float | None, ...], ...]:
    """Return each value's place among all, so that one that is far off leaves the others apart."""
    order = sorted({value for row in values for value in row if value is not None})
    places = {value: float(place) for place, value in enumerate(order)}
    return tuple(tuple(None if value is None else places[value] for value in row) for row in values)


def gains_figure(task: TaskResult, attribution: Attribution, name: str) -> Figure | None:
    """Show how much of a gain is equation, schedule and decays; None where nothing can be said."""
    parts = [
        ("in all", attribution.total),
        ("by the equation", attribution.equation),
        ("by the schedule", attribution.schedule),
        ("by the inner decays", attribution.decays),
    ]
    known = [(label, interval) for label, interval in parts if interval is not None]
    if not known:
        return None
    ends = [end for _, interval in known for end in (interval.lower, interval.upper, 0.0)]
    axis = linear_axis(f"gain in test {measured_name(task)}", ends)
    return Figure(
        name=name,
        title=f"What {attribution.entrant} gains over {attribution.reference}, and by what",
        caption=f"{attribution.sentence[:1].upper()}{attribution.sentence[1:]}.",
        x=Axis(title=axis.title, span=axis.span, zero_line=True),
        y=name_axis([label for label, _ in known]),
        marks=(
            interval_mark(
                "gain",
                [interval for _, interval in known],
                tone=Tone.BLUE,
                heights=[float(place) for place in range(len(known))],
                hover=[
                    f"{label}: {interval.mean:+.4g}\n{interval.lower:+.4g} to {interval.upper:+.4g}"
                    for label, interval in known
                ],
            ),
        ),
        height=120 + 40 * len(known),
    )


def cost_figure(task: TaskResult, name: str) -> Figure | None:
    """Show the time of a step of each optimizer alone, its state on hover; None without any."""
    ordered = sorted(task.entrants, key=lambda entrant: entrant.cost.step_seconds)
    if not ordered:
        return None
    places = {entrant.name: float(place) for place, entrant in enumerate(ordered)}
    marks = []
    for side, tone in ((Side.DISCOVERED, Tone.BLUE), (Side.HAND_MADE, Tone.VERMILION)):
        chosen = [entrant for entrant in ordered if entrant.side is side]
        if chosen:
            marks.append(
                Bars(
                    name=str(side),
                    y=tuple(places[entrant.name] for entrant in chosen),
                    starts=(0.0,) * len(chosen),
                    lengths=tuple(1e6 * entrant.cost.step_seconds for entrant in chosen),
                    tone=tone,
                    hover=tuple(_cost_text(entrant) for entrant in chosen),
                )
            )
    weights = ordered[0].cost.parameters
    return Figure(
        name=f"{name}-cost",
        title="What a step costs",
        caption=f"Time of one step of the optimizer alone, on the {weights:,} weights of the "
        "task's network, median of several on this machine; shorter is better. Point at a bar to "
        "read what the optimizer keeps between steps; the table has it too.",
        x=Axis(title="microseconds for a step", zero_line=True),
        y=name_axis([entrant.name for entrant in ordered]),
        marks=tuple(marks),
        height=130 + 40 * len(ordered),
    )


def _cost_text(entrant: EntrantResult) -> str:
    cost = entrant.cost
    each = cost.state_bytes / max(1, cost.parameters)
    return (
        f"{entrant.name}: {1e6 * cost.step_seconds:.4g} µs a step\n"
        f"keeps {cost.state_bytes:,} bytes, {each:.3g} for each weight"
    )
