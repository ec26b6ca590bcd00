"""Figures of an ablation: what each part is worth, and what the decays do together."""

from __future__ import annotations

from evolute.benchmark.comparison import Measure as Compared
from evolute.benchmark.explained import ExplainResult, PartFinding, PartResult
from evolute.benchmark.part_table import by_cost
from evolute.lang.curve import curve
from evolute.report.interval_figure import Shown, interval_figure
from evolute.report.palette import Tone
from evolute.report.pictures import Axis, Dash, Figure, Line, Mark
from evolute.report.typeset import parse_or_none
from evolute.report.wording import plural, wrapped

_TONES: dict[str, Tone] = {
    PartFinding.COSTS: Tone.VERMILION,
    PartFinding.NOTHING: Tone.GREY,
    PartFinding.NOT_WORSE: Tone.BLUE,
    PartFinding.BETTER: Tone.GREEN,
}


def measured_name(result: ExplainResult) -> str:
    """Say what is compared: ``"loss"``, or the name of the metric."""
    return "loss" if result.measure is Compared.LOSS else result.metric or "metric"


def parts_figure(result: ExplainResult) -> Figure | None:
    """Show by how much each variant differs from the rule; None if none finishes."""
    rows = [row for part in by_cost(result) if (row := _row(part, result)) is not None]
    if not rows:
        return None
    is_loss = result.measure is Compared.LOSS
    nowhere = len(result.parts) - len(rows)
    missing = f" {plural(nowhere, 'variant')} finished nowhere." if nowhere else ""
    return interval_figure(
        rows,
        name="parts",
        title="What each part is worth",
        caption="Each line is the rule with one part changed, tuned like the rule, beside the "
        f"rule itself: mean paired difference on {plural(result.own.runs, 'seed')} with its "
        f"{100 * result.config.confidence:g}% interval. {'Left' if is_loss else 'Right'} of zero "
        "is better. A part is not worse if its whole interval lies on the good side of the dashed "
        f"margin; that it costs something, or that the variant is better, is said after correction "
        f"for their number.{missing}",
        axis=f"difference in validation {measured_name(result)}",
        tones=_TONES,
        bounds={"margin": result.margin if is_loss else -result.margin},
    )


def _row(part: PartResult, result: ExplainResult) -> Shown | None:
    found = part.comparison
    if found is None or found.interval is None:
        return None
    seen = found.interval
    rate = "" if part.learning_rate is None else f"\nat rate {part.learning_rate:.3g}"
    return Shown(
        label=part.part,
        interval=seen,
        group=result.shown(part).value,
        hover=f"{part.part}: {result.shown(part)}\n{seen.mean:+.4g} ({seen.lower:+.4g} to "
        f"{seen.upper:+.4g}){rate}\n{wrapped(part.rule)}",
    )


def effect_figure(result: ExplainResult) -> Figure | None:
    """Show what all decays together do to the update, like a learning rate; None without any."""
    if result.effect is None:
        return None
    count = len(result.effect)
    places = tuple(step / count for step in range(count))
    lines: list[Mark] = [
        Line(name="without decays", x=(0.0, 1.0), y=(1.0, 1.0), tone=Tone.MUTED, width=1.2,
             dash=Dash.DOTTED)
    ]  # fmt: skip
    rule = None if result.schedule is None else parse_or_none(f"none: [{result.schedule}]*g")
    if rule is not None and rule.schedule is not None:
        own = tuple(curve(rule.schedule, count).tolist())
        lines.append(
            Line(name="the schedule alone", x=places, y=own, tone=Tone.VERMILION, dash=Dash.DASHED)
        )
    lines.append(
        Line(name="all decays together", x=places, y=result.effect, tone=Tone.BLUE, width=2.8)
    )
    return Figure(
        name="effect",
        title="What the decays do together, like a learning rate",
        caption="The size of the update with decays by that without them, on weights and gradients "
        f"recorded from the task{_beside_schedule(result)}",
        x=Axis(title="part of the training done, t/T"),
        y=Axis(title="factor on the update", zero_line=True),
        marks=tuple(lines),
        height=380,
    )


def _beside_schedule(result: ExplainResult) -> str:
    if result.schedule is None:
        return "."
    return (
        ", times the schedule. Where the blue line leaves the dashed one, decays inside the update "
        "are at work."
    )
