"""Figures as PNG or SVG by Matplotlib, for a paper: light, without interaction.

The same figure gives the same bytes with the same Matplotlib: no date is written, and SVG names are
salted by a constant.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from evolute.errors import InputError
from evolute.report.palette import HEAT_HIGH, HEAT_LOW, PALETTE, Tone
from evolute.report.pictures import (
    Axis,
    Band,
    Bars,
    Dash,
    Dots,
    Figure,
    Heat,
    Intervals,
    Line,
    Mark,
    Symbol,
)

ImageFormat = Literal["svg", "png"]

PIXELS_PER_INCH = 96
WIDTH_INCHES = 7.2
_DPI = 200
_SMALLEST_LINE_TO_DOT = 0.72
"""Points that a CSS pixel is wide."""

_DASHES = {Dash.SOLID: "-", Dash.DASHED: "--", Dash.DOTTED: ":", Dash.MIXED: "-."}
_SYMBOLS = {
    Symbol.CIRCLE: "o",
    Symbol.RING: "o",
    Symbol.CROSS: "x",
    Symbol.DIAMOND: "D",
    Symbol.DOWN: "v",
    Symbol.LEFT: "<",
    Symbol.RIGHT: ">",
}
_STYLE: Mapping[str, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "evolute",
    "text.parse_math": False,
}


def write_figures(
    figures: Sequence[Figure], folder: Path, *, image_format: ImageFormat
) -> tuple[Path, ...]:
    """Write figures to ``folder``, which is there, under their names; return the files.

    Raises
    ------
    InputError
        If Matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # optional, and slow to import
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        raise InputError(
            "figures as files need Matplotlib, which is not installed: "
            "pip install 'evolute[report]'"
        ) from None
    written = []
    settings: dict[Any, Any] = {**mpl.rcParamsDefault, **_colours(), **_STYLE}
    with mpl.rc_context(rc=settings):
        for figure in figures:
            canvas = Canvas(
                figsize=(WIDTH_INCHES, figure.height / PIXELS_PER_INCH), layout="constrained"
            )
            _draw(figure, canvas.subplots())
            path = folder / f"{figure.name}.{image_format}"
            metadata = {"Date": None} if image_format == "svg" else {}
            canvas.savefig(path, format=image_format, dpi=_DPI, metadata=metadata)
            written.append(path)
    return tuple(written)


def _colours() -> Mapping[str, str]:
    ink, muted = PALETTE[Tone.INK].light, PALETTE[Tone.MUTED].light
    names = ("text.color", "axes.labelcolor", "axes.titlecolor")
    return {
        **dict.fromkeys(names, ink),
        **dict.fromkeys(("xtick.color", "ytick.color", "axes.edgecolor"), muted),
        "grid.color": PALETTE[Tone.HAIRLINE].light,
    }


def _draw(figure: Figure, axes: Any) -> None:
    """Draw a figure on axes of Matplotlib."""
    for layer, mark in enumerate(figure.marks, 2):
        _DRAWERS[type(mark)](mark, axes, layer)
    axes.set(xscale="log" if figure.x.log else "linear", yscale="log" if figure.y.log else "linear")
    _set_axis(figure.x, axes.xaxis, axes.set_xlim, axes.axvline)
    _set_axis(figure.y, axes.yaxis, axes.set_ylim, axes.axhline)
    axes.set_title(textwrap.fill(figure.title, 80))
    handles, labels = axes.get_legend_handles_labels()
    if figure.has_legend:
        order = -1 if figure.layered else 1
        axes.figure.legend(handles[::order], labels[::order], loc="outside lower left", ncols=3)


def _set_axis(axis: Axis, drawn: Any, set_span: Any, draw_zero: Any) -> None:
    if axis.ticks:
        values, texts = zip(*axis.ticks, strict=True)
        drawn.set_ticks(values, texts)
        drawn.set_minor_formatter("")
    if axis.span is not None:
        set_span(*axis.span)
    if axis.zero_line:
        draw_zero(0, color=PALETTE[Tone.MUTED].light, linewidth=0.8)
    drawn.set_label_text(axis.title)


def _color(tone: Tone) -> str:
    return PALETTE[tone].light


def _line(mark: Line, axes: Any, layer: int) -> None:
    gaps = [float("nan") if y is None else y for y in mark.y]
    axes.plot(
        mark.x,
        gaps,
        color=_color(mark.tone),
        linestyle=_DASHES[mark.dash],
        linewidth=mark.width * _SMALLEST_LINE_TO_DOT,
        drawstyle="steps-post" if mark.stepped else "default",
        label=mark.name if mark.legend else None,
        zorder=layer,
    )


def _dots(mark: Dots, axes: Any, layer: int) -> None:
    axes.plot(
        mark.x,
        mark.y,
        linestyle="none",
        marker=_SYMBOLS[mark.symbol],
        markersize=mark.size * _SMALLEST_LINE_TO_DOT,
        markerfacecolor="none" if mark.symbol is Symbol.RING else _color(mark.tone),
        markeredgecolor=_color(mark.tone),
        markeredgewidth=0.8,
        alpha=mark.opacity,
        label=mark.name if mark.legend else None,
        zorder=layer,
    )


def _band(mark: Band, axes: Any, layer: int) -> None:
    axes.fill_between(mark.x, mark.lower, mark.upper, color=_color(mark.tone), alpha=0.16,
                      linewidth=0, zorder=layer)  # fmt: skip


def _bars(mark: Bars, axes: Any, layer: int) -> None:
    axes.barh(mark.y, mark.lengths, left=mark.starts, height=0.65, color=_color(mark.tone),
              label=mark.name, zorder=layer)  # fmt: skip


def _intervals(mark: Intervals, axes: Any, layer: int) -> None:
    below = [x - end for x, end in zip(mark.x, mark.lower, strict=True)]
    above = [end - x for x, end in zip(mark.x, mark.upper, strict=True)]
    axes.errorbar(mark.x, mark.y, xerr=(below, above), fmt="o", color=_color(mark.tone),
                  capsize=3, markersize=5, label=mark.name, zorder=layer)  # fmt: skip


def _heat(mark: Heat, axes: Any, layer: int) -> None:
    from matplotlib.colors import LinearSegmentedColormap  # optional, as above

    ends = [HEAT_LOW.light, HEAT_HIGH.light]
    colours = LinearSegmentedColormap.from_list("evolute", ends if mark.low_is_good else ends[::-1])
    values = [[float("nan") if value is None else value for value in row] for row in mark.values]
    image = axes.imshow(values, cmap=colours, aspect="auto", zorder=layer)
    axes.grid(visible=False)
    for row, texts in enumerate(mark.texts):
        for column, text in enumerate(texts):
            strong = mark.values[row][column] is not None and _is_strong(
                image.norm(values[row][column]), mark
            )
            axes.text(column, row, text, ha="center", va="center", zorder=layer + 1,
                      color=_color(Tone.RAISED if strong else Tone.INK))  # fmt: skip


def _is_strong(share: float, mark: Heat) -> bool:
    return (1 - share if mark.low_is_good else share) > 0.5


_DRAWERS: Mapping[type[Mark], Any] = {
    Line: _line,
    Dots: _dots,
    Band: _band,
    Bars: _bars,
    Intervals: _intervals,
    Heat: _heat,
}
