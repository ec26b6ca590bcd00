"""A page is one file that needs nothing, and shows a stranger's text letter by letter."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from report.places import HOSTILE, hostile_store, open_run
from report.reading import OURS, read

from evolute.report.build import build_page
from evolute.report.html_page import MOST_ROWS, json_for_script, page_to_html, plotly_source
from evolute.report.page import Table
from evolute.report.plotly_data import escape_text
from evolute.store.sql import open_store


@pytest.fixture(scope="module")
def hostile_html() -> str:
    with hostile_store(":memory:") as store:
        return page_to_html(build_page(store, None, kind="search"))


@pytest.fixture(scope="module")
def real_html(searched: Path) -> str:
    with open_store(searched, create=False, read_only=True) as store:
        return page_to_html(build_page(store, None, kind="search"))


def test_hostile_texts_add_no_element_and_no_handler(hostile_html: str) -> None:
    reader = read(hostile_html)
    assert reader.foreign == set()
    links = [each["href"] for _, each in reader.elements if "href" in each]
    assert links
    assert all(re.fullmatch(r"#part-\d+", link or "") for link in links)


def test_hostile_texts_are_shown_letter_by_letter(hostile_html: str) -> None:
    text = read(hostile_html).text
    for attack in HOSTILE:
        assert attack in text, attack
        assert f"none: {attack}" in text


def test_no_script_is_there_but_data_plotly_and_ours(hostile_html: str) -> None:
    data, plotly, ours = read(hostile_html).scripts
    assert json.loads(data)
    assert plotly == plotly_source()
    assert "Plotly.react" in ours
    assert "<" not in data
    assert "alert" not in ours


def test_the_policy_allows_these_two_scripts_alone(hostile_html: str) -> None:
    reader = read(hostile_html)
    (policy,) = [each["content"] or "" for tag, each in reader.elements
                 if each.get("http-equiv") == "Content-Security-Policy"]  # fmt: skip
    assert policy.startswith("default-src 'none'; script-src ")
    hashes = re.findall(r"'sha256-([^']+)'", policy)
    assert hashes == [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in reader.scripts[1:]
    ]
    assert "unsafe-eval" not in policy
    assert "http:" not in policy
    assert "https:" not in policy


def test_texts_in_figures_are_escaped_once_more_for_plotly(hostile_html: str) -> None:
    def texts(value: object) -> list[str]:
        if isinstance(value, dict):
            return [text for part in value.values() for text in texts(part)]
        if isinstance(value, list):
            return [text for part in value for text in texts(part)]
        return [value] if isinstance(value, str) else []

    found = texts(read(hostile_html).figures)
    assert any("&lt;img src=x" in text for text in found)
    assert {tag for text in found for tag in re.findall(r"<[^>]*>", text)} <= {"<br>"}


@pytest.mark.parametrize("attack", HOSTILE)
def test_data_for_the_script_reads_back_and_ends_no_block(attack: str) -> None:
    text = json_for_script({attack: attack})
    assert json.loads(text) == {attack: attack}
    assert not set("<>&\u2028\u2029") & set(text)


def test_a_text_for_plotly_has_no_tag_but_new_lines() -> None:
    assert escape_text("<b>a</b>\n&lt;") == "&lt;b&gt;a&lt;/b&gt;<br>&amp;lt;"


def test_a_page_asks_for_nothing_from_anywhere(real_html: str) -> None:
    reader = read(real_html)
    loading = {"src", "srcset", "data", "action", "poster", "background", "xlink:href"}
    assert not {name for _, each in reader.elements for name in each} & loading
    assert reader.foreign == set()
    style = "".join(text for tag, text in reader.texts if tag == "style")
    assert "url(" not in style
    assert "@import" not in style


def test_the_same_store_gives_the_same_bytes(searched: Path, real_html: str) -> None:
    with open_store(searched, create=False, read_only=True) as store:
        assert page_to_html(build_page(store, None, kind="search")) == real_html


def test_a_page_is_mostly_plotly(real_html: str) -> None:
    assert len(real_html) - len(plotly_source()) < 600_000


def test_every_figure_has_a_place_a_title_and_units(real_html: str) -> None:
    reader = read(real_html)
    places = [each["data-figure"] for _, each in reader.elements if "data-figure" in each]
    assert sorted(places, key=str) == sorted(reader.figures)
    assert len(set(places)) == len(places)
    for figure in reader.figures.values():
        assert figure["data"]
        layout = figure["layout"]
        assert layout["xaxis"]["title"]["text"]
        assert layout["yaxis"]["title"]["text"] or layout["yaxis"]["ticktext"]


def test_every_name_in_the_page_is_given_once(real_html: str) -> None:
    names = [each["id"] for _, each in read(real_html).elements if "id" in each]
    assert len(set(names)) == len(names)


def test_a_very_long_table_is_cut_and_says_so() -> None:
    with open_store(":memory:") as store:
        open_run(store)
        page = build_page(store, None, kind="search")
    rows = tuple((number, "text") for number in range(MOST_ROWS + 5))
    long = Table(name="long", caption="Long", columns=("a#", "b"), rows=rows)
    section = replace(page.sections[-1], blocks=(long,))
    reader = read(page_to_html(replace(page, sections=(section,))))
    assert sum(tag == "tr" for tag, _ in reader.elements) == MOST_ROWS + 1
    assert "the first 1,000 of 1,005 rows" in reader.text


def test_every_table_has_a_caption_and_headings_that_sort(real_html: str) -> None:
    reader = read(real_html)
    count = {tag: sum(found == tag for found, _ in reader.elements) for tag in OURS}
    assert count["table"] == count["caption"] > 2
    assert count["th"] > 10
    assert count["button"] == count["th"]
