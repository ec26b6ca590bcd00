"""The page of an ablation says what each part is worth, and escapes strangers' texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report.ablations import RULE, hostile_ablation, made_up_ablation
from report.places import HOSTILE
from report.reading import read

from evolute.benchmark.comparison import Finding
from evolute.benchmark.explained import ExplainResult, PartFinding
from evolute.benchmark.part_table import part_table
from evolute.report.ablation_page import ablation_page
from evolute.report.csv_files import write_tables
from evolute.report.html_page import page_to_html
from evolute.report.matplotlib_files import write_figures
from evolute.report.page import Equation, Page, Table, Tendency
from evolute.report.pictures import Dots, Figure, Intervals, Line, Symbol
from evolute.store.base import RunRecord


def page_of(result: ExplainResult) -> Page:
    return ablation_page(result, RunRecord(result.digest, result.name, "{}", "1", "2026-01-01"))


def figure_of(page: Page, name: str) -> Figure:
    (found,) = [figure for figure in page.pictures() if figure.name == name]
    return found


@pytest.mark.parametrize(
    ("confirmed", "badge", "tendency"),
    [
        (True, "Simpler rule", Tendency.GOOD),
        (False, "Not confirmed", Tendency.OPEN),
        (None, "No simpler rule", Tendency.OPEN),
    ],
)
def test_a_simpler_rule_is_offered_only_if_fresh_seeds_confirm_it(
    confirmed: bool | None, badge: str, tendency: Tendency
) -> None:
    page = page_of(made_up_ablation(confirmed=confirmed))
    assert (page.badge, page.tendency) == (badge, tendency)
    equations = [block.title for section in page.sections for block in section.blocks
                 if isinstance(block, Equation)]  # fmt: skip
    assert ("The simplest rule that is not worse" in equations) is (confirmed is True)


def test_parts_are_coloured_by_what_is_shown_about_them() -> None:
    figure = figure_of(page_of(made_up_ablation()), "parts")
    marks = {mark.name: mark.x for mark in figure.marks if isinstance(mark, Intervals)}
    assert marks == {
        PartFinding.COSTS: (0.1,),
        PartFinding.NOT_WORSE: (-0.001,),
        PartFinding.NOTHING: (0.01,),
    }
    assert [text for _, text in figure.y.ticks] == [
        *("schedule removed", "constant halved", "decay [a3] on g removed")
    ]
    assert "1 variant finished nowhere" in figure.caption


def test_a_variant_shown_better_by_the_margin_is_said_to_be() -> None:
    result = made_up_ablation()
    part = result.parts[0]
    assert part.comparison is not None
    assert part.comparison.interval is not None
    gain = replace(part.comparison.interval, mean=-0.1, lower=-0.11, upper=-0.09)
    for known, said in ((0.001, PartFinding.BETTER), (0.2, PartFinding.NOT_WORSE)):
        better = replace(
            part,
            comparison=replace(part.comparison, interval=gain, finding=Finding.BETTER),
            adjusted_p_value=known,
            not_worse=True,
        )
        assert result.shown(better) is said


def test_page_and_terminal_say_the_same_of_each_part_after_correction() -> None:
    result = made_up_ablation()
    raw = replace(result.parts[0], part="shown alone, not among all", adjusted_p_value=0.2)
    assert raw.comparison is not None
    assert raw.comparison.finding is Finding.WORSE
    result = replace(result, parts=(*result.parts, raw))
    table = part_table(result)
    assert "corrected for 4 comparisons (Holm)" in table.title
    terminal = {row[0]: row[table.columns.index("finding")] for row in table.rows}
    assert terminal[raw.part] == "nothing shown"
    (shown,) = [
        block
        for section in page_of(result).sections
        for block in section.blocks
        if isinstance(block, Table) and block.name == "parts-table"
    ]
    assert {row[0]: row[-1] for row in shown.rows} == terminal
    assert "corrected for 4 comparisons (Holm)" in shown.caption


@pytest.mark.parametrize(("measure", "margin"), [("loss", 0.008), ("metric", -0.008)])
def test_the_margin_is_marked_on_the_side_that_is_worse(measure: str, margin: float) -> None:
    figure = figure_of(page_of(made_up_ablation(measure=measure)), "parts")
    assert {mark.x for mark in figure.marks if isinstance(mark, Line)} == {(margin, margin)}


def test_the_pointer_reads_the_variant_off_a_part() -> None:
    figure = figure_of(page_of(made_up_ablation()), "parts")
    (hover,) = next(
        mark.hover
        for mark in figure.marks
        if isinstance(mark, Intervals)
        if mark.name == PartFinding.NOT_WORSE
    )
    assert "decay [a3] on g removed: not worse\n-0.001 (-0.003 to +0.001)" in hover
    assert RULE in hover


def test_a_part_far_off_the_others_is_a_triangle_on_the_edge() -> None:
    result = made_up_ablation()
    near = [result.parts[1]] * 6
    figure = figure_of(page_of(replace(result, parts=(result.parts[0], *near))), "parts")
    (far,) = [mark for mark in figure.marks if isinstance(mark, Dots)]
    assert (far.name, far.symbol, far.y) == (PartFinding.COSTS, Symbol.RIGHT, (0.0,))
    assert figure.x.span is not None
    assert far.x[0] < figure.x.span[1] < 0.1
    assert "+0.1" in far.hover[0]


def test_the_decays_are_a_curve_beside_the_schedule_alone() -> None:
    page = page_of(made_up_ablation())
    lines = {mark.name: mark for mark in figure_of(page, "effect").marks if isinstance(mark, Line)}
    assert lines["all decays together"].y[50] == pytest.approx(0.5)
    assert lines["the schedule alone"].y[50] == pytest.approx(0.5)
    titles = [block.title for section in page.sections for block in section.blocks
              if isinstance(block, Equation)]  # fmt: skip
    assert "Its schedule, which works with any optimizer" in titles
    assert figure_of(page, "decays").marks
    none = page_of(replace(made_up_ablation(), effect=None))
    assert "effect" not in {figure.name for figure in none.pictures()}


def test_what_limits_the_finding_stands_below_it_in_small_print() -> None:
    page = page_of(replace(made_up_ablation(), notes=("the best rate is the edge",)))
    assert page.small_print == ("The best rate is the edge.",)


@pytest.mark.filterwarnings("error")
def test_it_is_written_as_csv_and_figures(tmp_path: Path) -> None:
    page = page_of(made_up_ablation())
    (tmp_path / "tables").mkdir()
    written = write_tables(page, tmp_path / "tables")
    assert {path.name for path in written} == {"parts-table.csv", "settings.csv"}
    for path in write_figures(tuple(page.pictures()), tmp_path, image_format="svg"):
        assert path.stat().st_size > 1000


def test_hostile_texts_add_no_element_and_are_shown() -> None:
    reader = read(page_to_html(page_of(hostile_ablation())))
    assert reader.foreign == set()
    for attack in HOSTILE[:4]:
        assert attack in reader.text, attack
