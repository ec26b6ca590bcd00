"""Decay curves drawn in the terminal."""

from __future__ import annotations

import math

import plotext

from evolute.lang.curve import curve
from evolute.lang.expression import Expression

POINTS = 100
HEIGHT, WIDTH = 12, 64


def draw_decay(schedule: Expression) -> str:
    """Return a drawing of a decay function over t/T in [0, 1), as text without colour."""
    values = enumerate(curve(schedule, POINTS).tolist())
    finite = [(step / POINTS, value) for step, value in values if math.isfinite(value)]
    figure = plotext.figure
    figure.clear()  # plotext has one figure for the whole process
    figure.plot_size(WIDTH, HEIGHT)
    points = figure.signal([x for x, _ in finite], [y for _, y in finite], marker="braille")
    points.lines()
    figure.draw(points)
    figure.label("t/T")
    drawing: str = plotext.uncolorize(str(figure.build()))
    return drawing
