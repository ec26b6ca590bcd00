"""Figures as Plotly's JSON: plain data that the page's script hands to Plotly.js.

Colours are written ``{"tone": "blue", "opacity": 1.0}``: the script puts in those of the page,
light or dark. Plotly reads a few HTML tags in every text, so each text is escaped here once more.
"""

from __future__ import annotations

import html
import math
from typing import Any

from evolute.report.palette import Tone
from evolute.report.pictures import (
    Axis,
    Band,
    Bars,
    Dots,
    Figure,
    Heat,
    Intervals,
    Line,
    Mark,
    Symbol,
)

_MARGIN = {"l": 76, "r": 18, "t": 12, "b": 52}
_LEGEND = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
_THIN = (Symbol.CROSS,)


def figure_to_plotly(figure: Figure) -> dict[str, Any]:
    """Return traces and layout of a figure, without colours of either theme."""
    traces = [_trace(mark) for mark in figure.marks]
    layout: dict[str, Any] = {
        "xaxis": _axis(figure.x, grows="height"),
        "yaxis": _axis(figure.y, grows="width"),
        "height": figure.height,
        "margin": _MARGIN,
        "showlegend": figure.has_legend,
        "legend": _LEGEND | {"traceorder": "reversed" if figure.layered else "normal"},
        "hovermode": "closest",
        "barmode": "overlay",
        "bargap": 0.35,
        "dragmode": "zoom",
    }
    heat = next((mark for mark in figure.marks if isinstance(mark, Heat)), None)
    if heat is not None:
        layout["annotations"] = _cell_texts(heat)
    plain: dict[str, Any] = _without_infinity({"data": traces, "layout": layout})
    return plain


def _without_infinity(data: Any) -> Any:
    """Return the data with null for each number that JSON cannot hold, which is drawn as a gap."""
    match data:
        case float() if not math.isfinite(data):
            return None
        case dict():
            return {key: _without_infinity(value) for key, value in data.items()}
        case list() | tuple():
            return [_without_infinity(value) for value in data]
        case _:
            return data


def escape_text(text: str) -> str:
    """Return a text that Plotly shows letter by letter, its newlines as new lines.

    >>> escape_text("<b>a</b>")
    '&lt;b&gt;a&lt;/b&gt;'
    """
    return html.escape(text, quote=False).replace("\n", "<br>")


def _tone(tone: Tone, opacity: float = 1.0) -> dict[str, Any]:
    return {"tone": tone.value, "opacity": opacity}


def _axis(axis: Axis, *, grows: str) -> dict[str, Any]:
    """Return an axis whose margin grows only with texts of ours, in its own direction.

    Plotly chooses its own numbers by the room that a plot has: margins that grew with them would
    change that room, and with some fonts and widths come to no rest.
    """
    data: dict[str, Any] = {
        "title": {"text": escape_text(axis.title), "standoff": 12},
        "type": "log" if axis.log else "linear",
        "zeroline": axis.zero_line,
        "hoverformat": ".4g",
        "automargin": grows if axis.ticks else False,
    }
    if axis.span is not None:
        data["range"] = [math.log10(end) if axis.log else end for end in axis.span]
    if axis.ticks:
        data |= {
            "tickvals": [value for value, _ in axis.ticks],
            "ticktext": [escape_text(text) for _, text in axis.ticks],
        }
    return data


def _named(name: str, *, legend: bool) -> dict[str, Any]:
    return {"name": escape_text(name), "legendgroup": escape_text(name), "showlegend": legend}


def _hovering(hover: tuple[str, ...]) -> dict[str, Any]:
    if not hover:
        return {"hoverinfo": "x+y+name"}
    return {"hoverinfo": "text", "hovertext": [escape_text(text) for text in hover]}


def _trace(mark: Mark) -> dict[str, Any]:
    match mark:
        case Line():
            return _line(mark)
        case Dots():
            return _dots(mark)
        case Band():
            return _band(mark)
        case Bars():
            return _bars(mark)
        case Intervals():
            return _intervals(mark)
        case Heat():
            return _heat(mark)


def _line(mark: Line) -> dict[str, Any]:
    return _named(mark.name, legend=mark.legend) | {
        "type": "scatter",
        "mode": "lines",
        "x": mark.x,
        "y": mark.y,
        "line": {
            "color": _tone(mark.tone),
            "dash": mark.dash.value,
            "width": mark.width,
            "shape": "hv" if mark.stepped else "linear",
        },
        "connectgaps": False,
        "hoverinfo": "x+y+name" if mark.legend else "skip",
    }


def _dots(mark: Dots) -> dict[str, Any]:
    thin = mark.symbol in _THIN
    marker: dict[str, Any] = {
        "color": _tone(mark.tone, mark.opacity),
        "symbol": mark.symbol.value,
        "size": mark.size,
        "line": {"width": 1.4 if thin or mark.symbol is Symbol.RING else 0.8},
    }
    if mark.symbol not in (Symbol.RING, Symbol.CROSS):
        marker["line"] |= {"color": _tone(Tone.RAISED)}
    return (
        _named(mark.name, legend=mark.legend)
        | {"type": "scatter", "mode": "markers", "x": mark.x, "y": mark.y, "marker": marker}
        | _hovering(mark.hover)
    )


def _band(mark: Band) -> dict[str, Any]:
    return _named(mark.name, legend=False) | {
        "type": "scatter",
        "mode": "lines",
        "x": (*mark.x, *reversed(mark.x)),
        "y": (*mark.lower, *reversed(mark.upper)),
        "fill": "toself",
        "fillcolor": _tone(mark.tone, 0.16),
        "line": {"width": 0},
        "hoverinfo": "skip",
    }


def _bars(mark: Bars) -> dict[str, Any]:
    data = _named(mark.name, legend=True) | {
        "type": "bar",
        "orientation": "h",
        "base": mark.starts,
        "x": mark.lengths,
        "y": mark.y,
        "marker": {"color": _tone(mark.tone), "line": {"width": 0}},
    }
    return data | _hovering(mark.hover)


def _intervals(mark: Intervals) -> dict[str, Any]:
    return (
        _named(mark.name, legend=True)
        | {
            "type": "scatter",
            "mode": "markers",
            "x": mark.x,
            "y": mark.y,
            "marker": {"color": _tone(mark.tone), "size": 11, "symbol": "circle"},
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [end - x for x, end in zip(mark.x, mark.upper, strict=True)],
                "arrayminus": [x - end for x, end in zip(mark.x, mark.lower, strict=True)],
                "color": _tone(mark.tone),
                "thickness": 2.2,
                "width": 5,
            },
        }
        | _hovering(mark.hover)
    )


def _heat(mark: Heat) -> dict[str, Any]:
    good, other = {"heat": "low"}, {"heat": "high"}
    ends = [[0, good], [1, other]] if mark.low_is_good else [[0, other], [1, good]]
    hover = [
        [
            escape_text(f"{row}\n{column}\n{text}")
            for column, text in zip(mark.columns, texts, strict=True)
        ]
        for row, texts in zip(mark.rows, mark.texts, strict=True)
    ]
    return {
        "type": "heatmap",
        "x": list(range(len(mark.columns))),
        "y": list(range(len(mark.rows))),
        "z": mark.values,
        "colorscale": ends,
        "showscale": False,
        "xgap": 3,
        "ygap": 3,
        "hoverinfo": "text",
        "text": hover,
    }


def _cell_texts(mark: Heat) -> list[dict[str, Any]]:
    """Return the texts in the cells, light on the dark end of the scale."""
    known = [value for row in mark.values for value in row if value is not None]
    lowest, highest = min(known, default=0.0), max(known, default=1.0)
    texts: list[dict[str, Any]] = []
    for row, (values, cells) in enumerate(zip(mark.values, mark.texts, strict=True)):
        for column, (value, cell) in enumerate(zip(values, cells, strict=True)):
            share = 0.5 if value is None else (value - lowest) / ((highest - lowest) or 1.0)
            strong = value is not None and (share if not mark.low_is_good else 1 - share) > 0.5
            color = _tone(Tone.RAISED if strong else Tone.INK)
            texts.append({"x": column, "y": row, "text": escape_text(cell), "showarrow": False,
                          "font": {"color": color}})  # fmt: skip
    return texts
