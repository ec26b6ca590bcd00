"""Pages in a real browser: plots are drawn, the pointer is answered, nothing fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report.benchmarks import hostile_benchmark, made_up_benchmark
from report.places import hostile_store

from evolute.report.bench_page import bench_page
from evolute.report.build import build_page, report
from evolute.report.html_page import page_to_html
from evolute.store.base import RunRecord

# As root in a sandbox; the others keep the browser from calling its maker.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


def missing(what: str) -> None:
    """Skip with the reason; in CI, where it must be installed, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is not installed, which CI must do")
    pytest.skip(f"{what} is not installed")


def test_a_missing_browser_fails_in_ci_and_is_said_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI must"):
        missing("it")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="it is not installed"):
        missing("it")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        missing("Debian's chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield opened
        opened.close()


class Tab:
    """A page opened without a network, and all that went wrong in it."""

    def __init__(self, browser: Any, path: Path, **settings: object) -> None:
        context = browser.new_context(
            **{"offline": True, "viewport": {"width": 1280, "height": 900}, **settings}
        )
        self.page = context.new_page()
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda said: self.faults.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('[data-figure]')]"
            ".every(place => place.querySelector('svg.main-svg'))"
        )

    def check(self) -> None:
        """Check that nothing failed and nothing was asked for."""
        assert self.faults == []
        assert [url for url in self.requests if not url.startswith(("file:", "data:"))] == []

    def count(self, selector: str) -> int:
        found: int = self.page.locator(selector).count()
        return found


@pytest.fixture(scope="module")
def run_html(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(store=searched, output=tmp_path_factory.mktemp("run") / "report.html")


@pytest.fixture(scope="module")
def opened(browser: Any, run_html: Path) -> Tab:
    """The report of the tiny search, opened once: each test leaves it as light and as wide."""
    return Tab(browser, run_html)


@pytest.fixture
def tab(opened: Tab) -> Iterator[Tab]:
    yield opened
    opened.page.emulate_media(media="screen", color_scheme="light")
    opened.page.set_viewport_size({"width": 1280, "height": 900})
    opened.check()


def test_every_plot_of_a_run_is_drawn(tab: Tab) -> None:
    for name in ("differences", "particles", "candidates", "endings", "sensitivity"):
        assert tab.count(f"#{name} svg.main-svg") >= 1, name
    assert tab.count("#particles .scatterlayer .points path") > 5
    assert tab.count("#endings .barlayer .point path") >= 2
    assert tab.count("#learning-curves .scatterlayer .js-line") >= 2


def test_the_pointer_reads_the_rule_off_a_dot(tab: Tab) -> None:
    tab.page.locator("#candidates").scroll_into_view_if_needed()
    dot = tab.page.locator("#candidates .scatterlayer .trace:nth-child(2) .points path").first
    place = dot.bounding_box()
    for off in (1, 0):
        tab.page.mouse.move(
            place["x"] + place["width"] / 2 - off, place["y"] + place["height"] / 2 - off
        )
    label = tab.page.locator("#candidates .hoverlayer .hovertext").first
    label.wait_for()
    said = label.text_content()
    assert ": " in said
    assert "validation loss" in said
    assert "candidate" in said


def test_a_heading_sorts_its_table_both_ways(tab: Tab) -> None:
    heading = tab.page.locator("#leaderboard th").filter(has_text="rank")
    cells = tab.page.locator("#leaderboard tbody tr td:first-child")
    ranks = [int(text) for text in cells.all_text_contents()]
    assert ranks == sorted(ranks)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert [int(text) for text in cells.all_text_contents()] == ranks[::-1]


def test_long_tables_unfold(tab: Tab) -> None:
    rows = "#settings tbody tr"
    shown = tab.count(f"{rows}:not([hidden])")
    assert 0 < shown < tab.count(rows)
    tab.page.locator("#settings .more").click()
    assert tab.count(f"{rows}:not([hidden])") == tab.count(rows)


LINE_IS = """([colour, wanted]) => {
    const line = [...document.querySelectorAll("#particles .scatterlayer .js-line")].at(-1);
    return (getComputedStyle(line).stroke === colour) === wanted;
}"""


def stroke(tab: Tab) -> str:
    drawn = tab.page.locator("#particles .scatterlayer .js-line").last
    colour: str = drawn.evaluate("line => getComputedStyle(line).stroke")
    return colour


def test_the_page_follows_the_colours_that_its_reader_prefers(tab: Tab) -> None:
    grounds = []
    tab.page.emulate_media(color_scheme="light")
    light = stroke(tab)
    for scheme in ("light", "dark"):
        tab.page.emulate_media(color_scheme=scheme)
        grounds.append(tab.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        tab.page.wait_for_function(LINE_IS, arg=[light, scheme == "light"])
    assert grounds == ["rgb(251, 250, 247)", "rgb(20, 23, 28)"]


def test_a_page_on_paper_is_light_whatever_its_reader_prefers(tab: Tab) -> None:
    light = stroke(tab)
    tab.page.emulate_media(media="screen", color_scheme="dark")
    tab.page.wait_for_function(LINE_IS, arg=[light, False])
    tab.page.emulate_media(media="print", color_scheme="dark")
    tab.page.wait_for_function(LINE_IS, arg=[light, True])
    ink = "getComputedStyle(document.documentElement).getPropertyValue('--paper')"
    assert tab.page.evaluate(ink) == "#fbfaf7"
    assert tab.page.locator("nav").is_hidden()


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_no_page_is_wider_than_its_screen(tab: Tab, width: int) -> None:
    tab.page.set_viewport_size({"width": width, "height": 800})
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width


def test_equations_are_typeset_by_the_browser(tab: Tab) -> None:
    assert tab.page.locator(".equation math").first.bounding_box()["height"] > 10


def test_hostile_texts_run_nothing(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    with hostile_store(":memory:") as store:
        path.write_text(page_to_html(build_page(store, None, kind="search")), encoding="utf-8")
    tab = Tab(browser, path)
    assert tab.count("img") == 0
    assert tab.count("a[href^=javascript]") == 0
    assert tab.count("svg a") == 0
    assert tab.page.evaluate("document.scripts.length") == 3
    tab.check()


def test_the_policy_stops_a_script_that_would_slip_through(
    browser: Any, tmp_path: Path, run_html: Path
) -> None:
    path = tmp_path / "broken.html"
    attack = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
    html = run_html.read_text(encoding="utf-8").replace("<main>", f"<main>{attack}")
    path.write_text(html, encoding="utf-8")
    tab = Tab(browser, path)
    assert tab.page.title() != "taken"
    assert any("Content Security Policy" in fault for fault in tab.faults)


@pytest.mark.parametrize("made", [made_up_benchmark, hostile_benchmark])
def test_every_plot_of_a_benchmark_is_drawn(browser: Any, tmp_path: Path, made: Any) -> None:
    result = made()
    record = RunRecord(result.digest, result.name, "{}", "1", "2026-01-01T00:00:00")
    path = tmp_path / "bench.html"
    path.write_text(page_to_html(bench_page(result, record)), encoding="utf-8")
    tab = Tab(browser, path)
    assert tab.count("#profiles .scatterlayer .js-line") == len(result.scores)
    assert tab.count("#task-1-cross .heatmaplayer image") == 1
    assert tab.count("#task-1-cross .annotation-text") == 4
    assert tab.count("#task-1-differences .errorbars") >= 1
    tab.check()
