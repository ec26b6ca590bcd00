"""The page of a benchmark says what was found, and escapes what strangers named."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from report.benchmarks import NAMES, hostile_benchmark, made_up_benchmark
from report.places import HOSTILE, open_run
from report.reading import read

from evolute.benchmark.result import BenchResult
from evolute.benchmark.verdict import Side
from evolute.errors import InputError, StoreError
from evolute.report.bench_page import bench_page
from evolute.report.build import build_page
from evolute.report.csv_files import write_tables
from evolute.report.html_page import page_to_html
from evolute.report.page import Between, Page, Table, Tendency
from evolute.report.pictures import Bars, Heat, Line
from evolute.store.base import RunRecord
from evolute.store.sql import open_store


def page_of(result: BenchResult) -> Page:
    record = RunRecord(result.digest, result.name, "{}", "1", "2026-01-01T00:00:00")
    return bench_page(result, record)


@pytest.mark.parametrize(
    ("findings", "badge", "tendency"),
    [
        (("better",), "Better than hand-made", Tendency.GOOD),
        (("worse", "worse"), "Worse than hand-made", Tendency.BAD),
        (("no difference shown",), "No difference shown", Tendency.OPEN),
        (("better", "worse"), "Mixed", Tendency.OPEN),
    ],
)
def test_the_badge_says_good_only_where_every_task_does(
    findings: tuple[str, ...], badge: str, tendency: Tendency
) -> None:
    page = page_of(made_up_benchmark(findings=findings))
    assert (page.badge, page.tendency) == (badge, tendency)


def test_the_headline_says_what_was_found_on_which_task() -> None:
    page = page_of(made_up_benchmark(findings=("better", "worse", "better")))
    assert page.verdict == "found: better on tiny, tiny2, worse on tiny1."


def test_a_benchmark_without_discovered_rules_claims_nothing() -> None:
    result = made_up_benchmark()
    known = tuple(replace(score, side=Side.HAND_MADE) for score in result.scores)
    page = page_of(replace(result, scores=known))
    assert page.badge == "Compared"


def test_a_page_has_profiles_and_for_each_task_its_figures_and_tables() -> None:
    page = page_of(made_up_benchmark(findings=("better", "worse")))
    figures = {figure.name for figure in page.pictures()}
    wanted = ("differences", "curves", "cross", "gain-1", "sensitivity", "tuning", "cost")
    assert figures == {
        *("profiles", "optimizers-learning-rate", "optimizers-decays-1"),
        *(f"task-{n}-{each}" for n in (1, 2) for each in wanted),
    }
    tables = {table.name for table in page.tables()}
    wanted = ("verdicts", "results", "cross-table", "gains", "ranges", "budget", "cost-table")
    assert tables == {
        "scores", "settings", *(f"task-{n}-{each}" for n in (1, 2) for each in wanted)
    }  # fmt: skip


def test_the_cross_table_marks_own_schedules_and_the_best_hand_made() -> None:
    page = page_of(made_up_benchmark())
    (cross,) = [figure for figure in page.pictures() if figure.name == "task-1-cross"]
    (heat,) = cross.marks
    assert isinstance(heat, Heat)
    assert heat.texts == (("0.2 ●", "0.25"), ("0.3", "0.35 ★ ●"))
    assert heat.values == ((0.0, 1.0), (2.0, 3.0))


def test_lower_and_upper_ends_stand_in_one_cell() -> None:
    page = page_of(made_up_benchmark())
    (verdicts,) = [table for table in page.tables() if table.name == "task-1-verdicts"]
    column = verdicts.columns.index("interval#")
    assert [row[column] for row in verdicts.rows] == [Between(-0.13, -0.09), None]


def table_of(page: Page, name: str) -> Table:
    (found,) = [table for table in page.tables() if table.name == name]
    return found


def test_the_results_state_an_interval_of_the_loss_over_the_seeds() -> None:
    results = table_of(page_of(made_up_benchmark()), "task-1-results")
    seen = results.rows[0][results.columns.index("interval#")]
    assert isinstance(seen, Between)
    half_width = 4.302652729911275 * 0.01 / 3**0.5  # of Student's t with two degrees of freedom
    assert (seen.lower, seen.upper) == pytest.approx((0.21 - half_width, 0.21 + half_width))


def test_step_time_and_state_of_every_optimizer_are_a_figure_and_a_table() -> None:
    page = page_of(made_up_benchmark())
    costs = table_of(page, "task-1-cost-table")
    kept = [costs.columns.index(name) for name in ("step µs#", "state bytes#", "bytes per weight#")]
    assert [[row[at] for at in kept] for row in costs.rows] == [[100.0, 400, 4.0]] * 2
    (figure,) = [figure for figure in page.pictures() if figure.name == "task-1-cost"]
    bars = [mark for mark in figure.marks if isinstance(mark, Bars)]
    assert [bar.lengths for bar in bars] == [(100.0,), (100.0,)]
    assert bars[0].hover == ("found: 100 µs a step\nkeeps 400 bytes, 4 for each weight",)


def test_the_reference_says_that_it_is_it() -> None:
    verdicts = table_of(page_of(made_up_benchmark()), "task-1-verdicts")
    assert [row[1] for row in verdicts.rows] == ["better", "what others are compared with"]


def test_of_many_comparisons_the_headline_says_how_many_found_what() -> None:
    result = made_up_benchmark(findings=("better", "worse", "worse", "worse"))
    assert page_of(result).verdict == "found: better on tiny, worse on tiny1, tiny2, tiny3."
    tasks = tuple(
        replace(
            task,
            entrants=(*task.entrants, replace(task.entrants[0], name="other")),
            verdicts=(*task.verdicts, replace(task.verdicts[0], entrant="other")),
        )
        for task in result.tasks
    )
    scores = (*result.scores, replace(result.scores[0], entrant="other"))
    page = page_of(replace(result, tasks=tasks, scores=scores))
    assert (
        page.verdict == "In 8 comparisons with hand-made optimizers, 2 are better and 6 are worse."
    )
    assert page.evidence == "Found and adamw were compared."


def test_a_rate_without_a_score_is_a_gap() -> None:
    page = page_of(made_up_benchmark())
    (sweep,) = [figure for figure in page.pictures() if figure.name == "task-1-sensitivity"]
    assert [mark.y for mark in sweep.marks if isinstance(mark, Line)] == [(0.3, 0.2, None)] * 2


def test_hostile_names_add_no_element_and_are_shown() -> None:
    html = page_to_html(page_of(hostile_benchmark()))
    reader = read(html)
    assert reader.foreign == set()
    for attack in HOSTILE[:4]:
        assert attack in reader.text, attack


def test_hostile_names_name_no_file(tmp_path: Path) -> None:
    result = made_up_benchmark(("../../a", "b/c"), task="../../../etc/x")
    written = write_tables(page_of(result), tmp_path)
    assert {path.parent for path in written} == {tmp_path}
    assert all(re.fullmatch(r"[a-z0-9-]+\.csv", path.name) for path in written)


def test_a_stored_benchmark_is_found_and_a_search_is_none() -> None:
    result = made_up_benchmark()
    with open_store(":memory:") as store:
        open_run(store, "a search")
        with pytest.raises(StoreError, match="no benchmark"):
            build_page(store, None, kind="benchmark")
        record = RunRecord(result.digest, result.name, '{"kind":"benchmark"}', "1")
        store.open_run(record)
        with pytest.raises(InputError, match="has no result yet"):
            build_page(store, None, kind="benchmark")
        store.put_document(result.digest, "benchmark", result.to_dict())
        page = build_page(store, result.name, kind="benchmark")
        assert page.title == result.name
        assert build_page(store, None, kind="search").title == "a search"
    assert NAMES[0] in read(page_to_html(page)).text


def test_the_same_benchmark_gives_the_same_bytes() -> None:
    pages = [page_to_html(page_of(made_up_benchmark())) for _ in range(2)]
    assert pages[0] == pages[1]


def test_the_page_names_the_rival_that_was_tried() -> None:
    made = made_up_benchmark()
    record = RunRecord(made.digest, made.name, "{}", "1", "2026-01-01T00:00:00")
    plain = replace(made, tasks=tuple(replace(task, cross=None) for task in made.tasks))
    leads = [bench_page(result, record).sections[0].lead for result in (made, plain)]
    assert "hand-made updates under hand-made schedules" in leads[0]
    assert "under the one schedule that was tried" in leads[1]
