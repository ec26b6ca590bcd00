"""Figures of a verdict: differences with intervals, learning curves, learning-rate sensitivity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from evolute.benchmark.verdict import Side, Verdict
from evolute.report.axes import log_axis, loss_axis, name_axis
from evolute.report.facts import Contender, RunFacts
from evolute.report.intervals import Difference, difference_marks
from evolute.report.looks import looks
from evolute.report.measure import Measure
from evolute.report.pictures import (
    Axis,
    Band,
    Dots,
    Figure,
    Line,
    Mark,
    Symbol,
)
from evolute.report.wording import plural
from evolute.trial import Trial


def difference_figure(verdict: Verdict, label: str) -> Figure | None:
    """Show each optimizer's difference to the best hand-made one; None without a comparison.

    Parameters
    ----------
    verdict
        The comparison.
    label
        What is compared: ``"test loss"``.
    """
    reference = verdict.champion(Side.HAND_MADE)
    rows = [
        Difference(row.finalist.name, row.finalist.side, versus.finding, versus.interval,
                   versus.wins, len(versus.differences))
        for row in verdict.table
        if (versus := row.versus_reference) is not None and versus.interval is not None
    ]  # fmt: skip
    if reference is None or not rows:
        return None
    direction = "left" if verdict.measure.value == "loss" else "right"
    return Figure(
        name="differences",
        title=f"Difference to {reference.name}, the best hand-made optimizer in tuning",
        caption=f"Mean paired difference on {plural(rows[0].seeds, 'fresh seed')} with its "
        f"{100 * verdict.confidence:g}% interval; {direction} of zero is better. An interval that "
        "holds zero shows no difference.",
        x=Axis(title=f"difference in {label}", zero_line=True),
        y=name_axis([row.name for row in rows]),
        marks=difference_marks(rows),
        height=130 + 40 * len(rows),
    )


def learning_curves_figure(contenders: Sequence[Contender]) -> Figure | None:
    """Show validation loss over steps of the champion and the hand-made optimizers.

    None if the store holds no curve of theirs.
    """
    shown = [c for place, c in enumerate(contenders) if place == 0 or not c.discovered]
    style = looks([(c.finalist.name, c.discovered) for c in contenders])
    bands: list[Mark] = []
    lines: list[Mark] = []
    values: list[float] = []
    seeds = 0
    for contender in shown:
        points = _spread(contender.trials)
        if not points:
            continue
        name, look = contender.finalist.name, style[contender.finalist.name]
        steps, lower, means, upper = (tuple(each) for each in zip(*points, strict=True))
        seeds = max(seeds, len(contender.trials))
        values += means
        if contender.discovered:
            bands.append(Band(name=name, x=steps, lower=lower, upper=upper, tone=look.tone))
            values += lower + upper
        lines.append(
            Line(name=name, x=steps, y=means, tone=look.tone, dash=look.dash, width=look.width)
        )
    if not lines:
        return None
    return Figure(
        name="learning-curves",
        title="Learning curves at the tuned learning rates",
        caption=f"Validation loss after each epoch, mean of up to {plural(seeds, 'fresh seed')}; "
        "the band holds all seeds of the discovered rule. Both sides were tuned on the same grid.",
        x=Axis(title="optimizer steps"),
        y=loss_axis("validation loss", values),
        marks=(*bands, *lines[::-1]),
        height=440,
    )


def _spread(trials: Sequence[Trial]) -> list[tuple[float, float, float, float]]:
    """Return step, lowest, mean and highest validation loss of trainings, epoch by epoch."""
    losses: dict[int, list[float]] = defaultdict(list)
    for trial in trials:
        if trial.score is not None:
            for record in trial.curve:
                losses[record.step].append(record.validation_loss)
    most = max(map(len, losses.values()), default=0)
    return [
        (float(step), min(values), sum(values) / len(values), max(values))
        for step, values in sorted(losses.items())
        if len(values) == most
    ]


def sensitivity_figure(facts: RunFacts, measure: Measure) -> Figure | None:
    """Show the score of each contender over the learning rates of its tuning; None without any."""
    style = looks([(c.finalist.name, c.discovered) for c in facts.contenders])
    marks: list[Mark] = []
    tops: list[Mark] = []
    for contender in facts.contenders:
        finalist, look = contender.finalist, style[contender.finalist.name]
        points = finalist.tuning.points
        marks.append(
            Line(
                name=finalist.name,
                x=tuple(point.learning_rate for point in points),
                y=tuple(
                    None if point.fitness is None else measure.value(point.fitness)
                    for point in points
                ),
                tone=look.tone,
                dash=look.dash,
                width=look.width,
            )
        )
        best = finalist.tuning.best
        if best is not None and best.fitness is not None:
            value = measure.value(best.fitness)
            text = (
                f"{finalist.name}\nbest rate {best.learning_rate:.3g}\n{measure.name} {value:.4g}"
            )
            tops.append(
                Dots(name=finalist.name, x=(best.learning_rate,), y=(value,), tone=look.tone,
                     hover=(text,), symbol=Symbol.DIAMOND, size=10.0, legend=False)
            )  # fmt: skip
    if not marks:
        return None
    rates = [p.learning_rate for c in facts.contenders for p in c.finalist.tuning.points]
    values = [y for mark in marks if isinstance(mark, Line) for y in mark.y if y is not None]
    return Figure(
        name="sensitivity",
        title="Sensitivity to the learning rate",
        caption="Mean over the tuning seeds at each rate of the finer grid; the diamond is the "
        "rate that was chosen. A gap is a rate at which a training ended without a score.",
        x=log_axis("peak learning rate", rates),
        y=measure.axis(values),
        marks=(*marks[::-1], *tops),
        height=440,
    )
