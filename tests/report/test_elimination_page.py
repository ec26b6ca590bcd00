"""The page of an elimination says who came through which round, and escapes strangers' texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report.eliminations import RULES, RUN, hostile_elimination, made_up_elimination
from report.places import HOSTILE
from report.reading import read

from evolute.benchmark.elimination import EliminationResult
from evolute.report.csv_files import write_tables
from evolute.report.elimination_figures import LEAVES, STAYS
from evolute.report.elimination_page import elimination_page
from evolute.report.html_page import page_to_html
from evolute.report.matplotlib_files import write_figures
from evolute.report.page import Between, Equation, Page, Table, Tendency
from evolute.report.palette import Tone
from evolute.report.pictures import Dots, Figure, Intervals, Line
from evolute.store.base import RunRecord


def page_of(result: EliminationResult) -> Page:
    return elimination_page(result, RunRecord(result.digest, result.name, "{}", "1", "2026-01-01"))


def figure_of(page: Page, name: str) -> Figure:
    (found,) = [figure for figure in page.pictures() if figure.name == name]
    return found


def table_of(page: Page, name: str) -> Table:
    (found,) = [table for table in page.tables() if table.name == name]
    return found


def test_the_headline_counts_who_came_through() -> None:
    page = page_of(made_up_elimination())
    assert page.verdict == "1 of 4 candidates came through."
    assert (page.badge, page.tendency) == ("1 winner", Tendency.OPEN)


def test_with_a_benchmark_it_says_what_that_found_and_holds_its_parts() -> None:
    page = page_of(made_up_elimination(benchmark=True))
    assert page.verdict == (
        "1 of 4 candidates came through; in 1 comparison with hand-made optimizers, 1 is better."
    )
    assert (page.badge, page.tendency) == ("Better than hand-made", Tendency.GOOD)
    assert {"profiles", "task-1-cross", "task-1-cost"} <= {f.name for f in page.pictures()}
    names = [*(each.name for each in page.tables()), *(each.name for each in page.pictures())]
    assert len(names) == len(set(names))


def test_every_candidate_is_a_line_through_its_places_and_winners_stand_out() -> None:
    survival = figure_of(page_of(made_up_elimination()), "survival")
    lines = {mark.name: mark for mark in survival.marks if isinstance(mark, Line)}
    assert {name: (line.x, line.y) for name, line in lines.items()} == {
        "#3": ((0.0, 1.0, 2.0), (3.0, 1.0, 2.0)),
        "#1": ((0.0, 1.0, 2.0), (1.0, 2.0, 1.0)),
        "#2": ((0.0, 1.0), (2.0, 3.0)),
        "#7": ((0.0, 1.0), (4.0, 4.0)),
    }
    assert [name for name, line in lines.items() if line.tone is Tone.BLUE] == ["#1"]


def test_the_pointer_reads_rule_and_interval_off_a_candidate() -> None:
    survival = figure_of(page_of(made_up_elimination()), "survival")
    dots = {mark.name: mark for mark in survival.marks if isinstance(mark, Dots)}
    first = dots[STAYS].hover[0]
    assert "#3: validation loss 0.2 (0.1752 to 0.2248)" in first
    assert RULES[0] in first
    assert any("finished on no seed" in hover for hover in dots[LEAVES].hover)


def test_a_round_shows_intervals_and_says_who_finished_nowhere() -> None:
    page = page_of(made_up_elimination())
    figure = figure_of(page, "round-1")
    marks = {mark.name: mark for mark in figure.marks if isinstance(mark, Intervals)}
    assert marks[STAYS].x == pytest.approx((0.2, 0.3))
    assert marks[STAYS].lower[0] < 0.2 < marks[STAYS].upper[0]
    assert "1 candidate finished on no seed" in figure.caption
    table = table_of(page, "round-1-table")
    assert table.marked == {0, 1}
    seen = [row[table.columns.index("interval#")] for row in table.rows]
    assert [type(cell) for cell in seen] == [Between, Between, Between, type(None)]
    assert [row[-1] for row in table.rows] == [STAYS, STAYS, LEAVES, LEAVES]


def test_a_result_without_figures_of_each_seed_is_shown_without_intervals() -> None:
    result = made_up_elimination()
    older = tuple(
        replace(rung, standings=tuple(replace(each, fitnesses=()) for each in rung.standings))
        for rung in result.rungs
    )
    page = page_of(replace(result, rungs=older))
    table = table_of(page, "round-1-table")
    assert {row[table.columns.index("interval#")] for row in table.rows} == {None}


def test_candidates_without_a_rank_begin_at_the_first_round() -> None:
    names = ("mine", "yours", "his", "hers")
    survival = figure_of(page_of(made_up_elimination(names=names)), "survival")
    lines = {mark.name: mark.x for mark in survival.marks if isinstance(mark, Line)}
    assert lines["mine"] == (1.0, 2.0)
    assert [text for _, text in survival.x.ticks] == [
        *("round 1: tiny\n3 seeds", "round 2: tiny\n3 seeds")
    ]


def test_winners_are_typeset() -> None:
    page = page_of(made_up_elimination())
    equations = [block for section in page.sections for block in section.blocks
                 if isinstance(block, Equation)]  # fmt: skip
    assert [each.title for each in equations] == [f"1:{RUN}"]
    assert equations[0].rule.mathml.startswith("<math")


@pytest.mark.filterwarnings("error")
def test_it_is_written_as_csv_and_figures(tmp_path: Path) -> None:
    page = page_of(made_up_elimination(benchmark=True))
    tables = {path.name for path in write_tables(page, tmp_path)}
    assert {"rounds.csv", "round-1-table.csv", "round-2-table.csv"} <= tables
    header = (tmp_path / "round-1-table.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "interval from,interval to" in header
    drawn = [figure_of(page, name) for name in ("survival", "round-1")]
    for path in write_figures(drawn, tmp_path, image_format="svg"):
        assert path.stat().st_size > 1000


def test_hostile_names_add_no_element_and_are_shown() -> None:
    reader = read(page_to_html(page_of(hostile_elimination())))
    assert reader.foreign == set()
    for attack in HOSTILE[:3]:
        assert attack in reader.text, attack
