"""Figures of rules: the learning rate over a training, and the decays inside the update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evolute.lang.curve import curve, decays_of
from evolute.lang.rule import Rule
from evolute.report.palette import DISCOVERED_TONES, Tone
from evolute.report.pictures import Axis, Dash, Figure, Line
from evolute.schedules import base_schedule
from evolute.train.protocol import Training

POINTS = 200
_DASHES = (Dash.SOLID, Dash.DASHED, Dash.DOTTED, Dash.MIXED)
_DECAY_TONES = (Tone.BLUE, Tone.VERMILION, Tone.GREEN, Tone.PURPLE, Tone.ORANGE, Tone.GREY)


@dataclass(frozen=True, slots=True)
class Winner:
    """A rule whose curves are drawn, under its name."""

    name: str
    rule: Rule


def learning_rate_figure(
    winners: Sequence[Winner], training: Training, *, name: str = "learning-rate"
) -> Figure | None:
    """Show the learning rate over the training as a multiple of its peak; None without winners.

    Parameters
    ----------
    winners
        Rules; those without a schedule of their own are one line.
    training
        The training of the protocol.
    name
        Of the figure.
    """
    if not winners:
        return None
    base = _base(training)
    shape = training.schedule
    lines = []
    for place, winner in enumerate(winners):
        if winner.rule.schedule is None:
            continue
        own = curve(winner.rule.schedule, POINTS).tolist()
        lines.append(
            Line(
                name=f"{winner.name}: its own factor × warm-up {shape}",
                x=_progress(),
                y=tuple(_finite(a * b) for a, b in zip(base, own, strict=True)),
                tone=DISCOVERED_TONES[place % len(DISCOVERED_TONES)],
                dash=_DASHES[place % len(_DASHES)],
                width=2.6,
            )
        )
    plain = [winner.name for winner in winners if winner.rule.schedule is None]
    shared = f" (also {', '.join(plain)})" if plain else ""
    lines.append(
        Line(name=f"warm-up {shape}{shared}", x=_progress(), y=tuple(base), tone=Tone.VERMILION,
             dash=Dash.DASHED)
    )  # fmt: skip
    return Figure(
        name=name,
        title="The learning rate over a training",
        caption="Hand-made optimizers are trained under the dashed curve alone. A rule that "
        "carries a schedule factor of its own multiplies it.",
        x=Axis(title="part of the training done, t/T"),
        y=Axis(title="learning rate / its peak", zero_line=True),
        marks=tuple(lines[::-1]),
        height=360,
    )


def decay_figure(winner: Winner, *, name: str) -> Figure | None:
    """Show each decay inside the update of a rule; None if it has none."""
    inner = dict(decays_of(Rule(winner.rule.update)))
    lines = [
        Line(
            name=f"[{text}]",
            x=_progress(),
            y=tuple(_finite(value) for value in curve(decay, POINTS).tolist()),
            tone=_DECAY_TONES[place % len(_DECAY_TONES)],
            dash=_DASHES[place % len(_DASHES)],
            width=2.2,
        )
        for place, (text, decay) in enumerate(inner.items())
    ]
    if not lines:
        return None
    return Figure(
        name=name,
        title=f"Decays inside the update of {winner.name}",
        caption="Each curve multiplies the part of the update that it stands before.",
        x=Axis(title="part of the training done, t/T"),
        y=Axis(title="factor", zero_line=True),
        marks=tuple(lines[::-1]),
        height=340,
    )


def _progress() -> tuple[float, ...]:
    return tuple(point / POINTS for point in range(POINTS))


def _base(training: Training) -> list[float]:
    warmup = round(POINTS * training.warmup_steps / training.steps)
    hold = round(POINTS * training.hold_steps / training.steps)
    rates = (
        base_schedule(point, POINTS, warmup_steps=warmup, hold_steps=hold, shape=training.schedule)
        for point in range(POINTS)
    )
    return [rate for rate, _momentum in rates]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
