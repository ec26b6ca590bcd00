"""Figures for papers: each is written, again to the byte, and says why where it cannot be."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from report.places import HOSTILE, hostile_store

from evolute.errors import InputError
from evolute.report.build import build_page
from evolute.report.matplotlib_files import write_figures
from evolute.report.palette import Tone
from evolute.report.pictures import Axis, Figure, Heat, Line


def line(title: str = "A line", name: str = "line") -> Figure:
    mark = Line(name=HOSTILE[0], x=(0.0, 1.0), y=(1.0, None), tone=Tone.BLUE)
    return Figure(name=name, title=title, caption="", x=Axis(title="x"), y=Axis(title="y"),
                  marks=(mark,))  # fmt: skip


def heat() -> Figure:
    cells = Heat(columns=("a", "b"), rows=("c",), values=((1.0, None),), texts=(("1", ""),))
    return Figure(name="heat", title="Heat", caption="", x=Axis(title="x"), y=Axis(title="y"),
                  marks=(cells,))  # fmt: skip


def test_every_figure_of_a_run_is_written(searched: Path, tmp_path: Path) -> None:
    from evolute.store.sql import open_store

    with open_store(searched, create=False, read_only=True) as store:
        figures = tuple(build_page(store, None, kind="search").pictures())
    written = write_figures(figures, tmp_path, image_format="png")
    assert {path.stem for path in written} == {figure.name for figure in figures}
    assert {path.read_bytes()[:4] for path in written} == {b"\x89PNG"}


def test_the_same_figure_gives_the_same_svg(tmp_path: Path) -> None:
    (first,) = write_figures([line()], tmp_path, image_format="svg")
    before = first.read_bytes()
    (again,) = write_figures([line()], tmp_path, image_format="svg")
    assert again.read_bytes() == before


def test_hostile_texts_are_texts_in_an_svg(tmp_path: Path) -> None:
    with hostile_store(":memory:") as store:
        figures = tuple(build_page(store, None, kind="search").pictures())
    for path in write_figures([*figures, line(HOSTILE[4], "own"), heat()], tmp_path,
                              image_format="svg"):  # fmt: skip
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(path).iter()}
        assert not tags & {"script", "img", "a", "foreignObject"}


def test_without_matplotlib_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'evolute\[report\]'"):
        write_figures([line()], tmp_path, image_format="svg")
