"""Figures as Plotly's JSON: what a browser is given to lay out comes to rest."""

from __future__ import annotations

import pytest

from evolute.report.axes import linear_axis, log_axis, name_axis
from evolute.report.palette import Tone
from evolute.report.pictures import Axis, Dots, Figure
from evolute.report.plotly_data import figure_to_plotly

NUMBERS = linear_axis("loss", [0.1, 0.2])


def axes(x: Axis, y: Axis) -> tuple[object, object]:
    """Return whether and how the margins at both axes grow."""
    dots = Dots(name="a", x=(1.0,), y=(0.1,), tone=Tone.BLUE)
    figure = Figure(name="f", title="a figure", caption="", x=x, y=y, marks=(dots,))
    layout = figure_to_plotly(figure)["layout"]
    return layout["xaxis"]["automargin"], layout["yaxis"]["automargin"]


@pytest.mark.parametrize("texts", [name_axis(["adam", "lion"]), log_axis("rate", [0.1, 10.0])])
def test_a_margin_grows_with_texts_of_ours_and_in_one_direction(texts: Axis) -> None:
    assert axes(NUMBERS, texts) == (False, "width")
    assert axes(texts, NUMBERS) == ("height", False)


def test_numbers_that_plotly_chooses_by_the_room_do_not_change_that_room() -> None:
    assert axes(NUMBERS, NUMBERS) == (False, False)
