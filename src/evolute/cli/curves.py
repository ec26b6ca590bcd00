"""Decay curves drawn in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotext

from evolute.lang.curve import curve
from evolute.lang.expression import Expression

POINTS = 100
HEIGHT, WIDTH = 12, 64


def draw_decay(schedule: Expression) -> str:
    """Return a drawing of a decay function over t/T in [0, 1), as text without colour."""
    return draw_values(curve(schedule, POINTS).tolist())


def draw_values(values: Sequence[float]) -> str:
    """Return a drawing of values at equal steps of t/T in [0, 1), as text without colour."""
    placed = ((step / len(values), value) for step, value in enumerate(values))
    finite = [(place, value) for place, value in placed if math.isfinite(value)]
    figure = plotext.figure
    figure.clear()  # plotext has one figure for the whole process
    figure.plot_size(WIDTH, HEIGHT)
    points = figure.signal([x for x, _ in finite], [y for _, y in finite], marker="braille")
    points.lines()
    figure.draw(points)
    figure.label("t/T")
    drawing: str = plotext.uncolorize(str(figure.build()))
    return drawing
