"""Pages of eliminations and ablations in a real browser, harmless ones and attacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report.ablations import hostile_ablation, made_up_ablation
from report.eliminations import hostile_elimination, made_up_elimination
from report.test_browser import Tab, browser  # noqa: F401

from evolute.report.ablation_page import ablation_page
from evolute.report.elimination_page import elimination_page
from evolute.report.html_page import page_to_html
from evolute.report.page import Page
from evolute.store.base import RunRecord


def record(name: str) -> RunRecord:
    return RunRecord("f" * 64, name, "{}", "1", "2026-01-01T00:00:00")


def elimination(hostile: bool) -> Page:
    result = hostile_elimination() if hostile else made_up_elimination(benchmark=True)
    return elimination_page(result, record(result.name))


def ablation(hostile: bool) -> Page:
    result = hostile_ablation() if hostile else made_up_ablation()
    return ablation_page(result, record(result.name))


def point_at(tab: Tab, selector: str) -> str:
    """Put the pointer on a mark; return what is read off it."""
    mark = tab.page.locator(selector).first
    mark.scroll_into_view_if_needed()
    place = mark.bounding_box()
    for off in (1, 0):
        tab.page.mouse.move(
            place["x"] + place["width"] / 2 - off, place["y"] + place["height"] / 2 - off
        )
    label = tab.page.locator(f"{selector.split()[0]} .hoverlayer .hovertext").first
    label.wait_for()
    said: str = label.text_content()
    return said


@pytest.mark.parametrize("hostile", [False, True])
@pytest.mark.parametrize("make", [elimination, ablation])
def test_every_plot_is_drawn_and_nothing_fails(
    browser: Any,  # noqa: F811
    tmp_path: Path,
    make: Any,
    hostile: bool,
) -> None:
    page = make(hostile)
    path = tmp_path / "page.html"
    path.write_text(page_to_html(page), encoding="utf-8")
    tab = Tab(browser, path)
    assert tab.count("svg.main-svg") >= len(tuple(page.pictures())) >= 2
    assert tab.count("img") == 0
    assert tab.count("svg a") == 0
    assert tab.page.evaluate("document.scripts.length") == 3
    tab.check()


@pytest.mark.parametrize(
    ("make", "mark", "says"),
    [
        (elimination, "#survival .scatterlayer .points path", "#"),
        (ablation, "#parts .scatterlayer .points path", "schedule removed: costs something"),
    ],
)
def test_the_pointer_reads_a_candidate_and_a_part(
    browser: Any,  # noqa: F811
    tmp_path: Path,
    make: Any,
    mark: str,
    says: str,
) -> None:
    path = tmp_path / "page.html"
    path.write_text(page_to_html(make(False)), encoding="utf-8")
    tab = Tab(browser, path)
    assert says in point_at(tab, mark)
    tab.check()
