"""The page of a run says what was found, and is honest where nothing was."""

from __future__ import annotations

from pathlib import Path

import pytest
from report.places import open_run, proposal, record, run_config, trial
from report.reading import read

from evolute.benchmark.verdict import Side, Verdict
from evolute.errors import InputError
from evolute.leaderboard import find_run
from evolute.report.build import build_page
from evolute.report.facts import read_run
from evolute.report.html_page import page_to_html
from evolute.report.page import Page, Tendency
from evolute.report.pictures import Line
from evolute.report.run_page import run_page
from evolute.store.base import Store
from evolute.store.sql import open_store
from evolute.trial import OutcomeKind


def page_of(store: Store) -> Page:
    """The page of the newest run, which must also be one that can be shown."""
    page = build_page(store, None, kind="search")
    assert read(page_to_html(page)).text
    return page


def figures(page: Page) -> set[str]:
    return {figure.name for figure in page.pictures()}


def tables(page: Page) -> set[str]:
    return {table.name for table in page.tables()}


@pytest.fixture
def store() -> Store:
    return open_store(":memory:")


def test_a_judged_run_shows_verdict_winners_search_and_cost(searched: Path) -> None:
    with open_store(searched, create=False, read_only=True) as store:
        page = page_of(store)
        verdict = Verdict.from_json(store.document(find_run(store, None).digest, "verdict"))
    said = f"{page.verdict[:-1]}: {page.evidence[:-1]}" if page.evidence else page.verdict[:-1]
    assert said.lower() == verdict.sentence.lower()
    assert figures(page) >= {
        *("differences", "learning-curves", "sensitivity", "particles", "candidates"),
        *("endings", "training-time"),
    }
    assert tables(page) == {"comparison", "leaderboard", "endings-table", "settings"}
    assert {name for _, name, _ in page.figures} >= {"proposed", "trained", "failed"}


def test_the_leaderboard_gives_judged_rules_their_interval(searched: Path) -> None:
    with open_store(searched, create=False, read_only=True) as store:
        page = page_of(store)
        facts = read_run(store, find_run(store, None))
    assert facts.verdict is not None
    (board,) = [table for table in page.tables() if table.name == "leaderboard"]
    assert len(board.rows) == len(facts.leaderboard)
    judged = {finalist.rule for finalist in facts.verdict.of_side(Side.DISCOVERED)}
    column = board.columns.index("interval#")
    with_interval = {row.rule for row, cells in zip(facts.leaderboard, board.rows, strict=True)
                     if cells[column] is not None}  # fmt: skip
    assert with_interval == judged


def test_learning_curves_are_those_of_the_fresh_seeds(searched: Path) -> None:
    with open_store(searched, create=False, read_only=True) as store:
        facts = read_run(store, find_run(store, None))
    page = run_page(facts)
    for contender in facts.contenders:
        scored = [run for run in contender.finalist.runs if run.loss is not None]
        found = [trial for trial in contender.trials if trial.score is not None]
        assert [run.loss for run in scored] == [trial.score.loss for trial in found if trial.score]
    (curves,) = [figure for figure in page.pictures() if figure.name == "learning-curves"]
    drawn = {mark.name for mark in curves.marks if isinstance(mark, Line)}
    assert facts.contenders[0].finalist.name in drawn
    assert drawn & {"Adam", "AdamW", "Lion", "RMSprop", "SGD with momentum"}


def test_an_empty_run_says_so(store: Store) -> None:
    open_run(store)
    page = page_of(store)
    assert (page.badge, page.tendency) == ("Nothing tried yet", Tendency.OPEN)
    assert figures(page) == set()
    assert tables(page) == {"settings"}


def test_a_run_whose_candidates_all_failed_says_how(store: Store) -> None:
    run = open_run(store)
    kinds = [OutcomeKind.DEGENERATE, OutcomeKind.DIVERGED, OutcomeKind.DIVERGED]
    made = [(proposal(number), trial(f"none: g*{number + 2}", kind=kind), kind)
            for number, kind in enumerate(kinds)]  # fmt: skip
    record(store, run, *made)
    page = page_of(store)
    assert page.tendency is Tendency.BAD
    assert page.verdict == (
        "None of the 3 candidates was trained to the end, so there is nothing to compare."
    )
    assert page.evidence == "2 diverged, 1 degenerate."
    assert figures(page) == {"endings", "training-time"}


def test_a_run_without_a_verdict_claims_nothing(store: Store) -> None:
    run = open_run(store)
    made = (proposal(0), trial("none: g", fitness=-0.5), OutcomeKind.FINISHED)
    record(store, run, made)
    page = page_of(store)
    assert page.badge == "Not judged"
    assert "nothing shows that it found a better optimizer" in page.verdict
    assert "differences" not in figures(page)
    assert "leaderboard" in tables(page)


def test_a_run_without_particles_has_no_paths(store: Store) -> None:
    run = open_run(store)
    record(store, run, (proposal(0), trial("none: g", fitness=-0.5), OutcomeKind.FINISHED))
    assert "particles" not in figures(page_of(store))
    assert "candidates" in figures(page_of(store))


def test_the_curves_of_a_winner_with_a_schedule_are_drawn(store: Store) -> None:
    run = open_run(store)
    rule = "none: [a3]*(v-[a2]*g)"
    record(store, run, (proposal(0), trial(rule, fitness=-0.5), OutcomeKind.FINISHED))
    page = page_of(store)
    drawn = {figure.name: figure for figure in page.pictures()}
    lines = [mark for mark in drawn["learning-rate"].marks if isinstance(mark, Line)]
    base, own = lines
    assert "warm-up cosine" in base.name
    assert own.y[0] == 0.0 == base.y[0]
    half = len(own.y) // 2
    reduced, plain = own.y[half], base.y[half]
    assert reduced is not None
    assert plain is not None
    assert 0 < reduced < plain
    (inner,) = [mark for mark in drawn["decays-1"].marks if isinstance(mark, Line)]
    assert inner.name == "[a2]"


def test_a_rule_that_is_none_here_is_shown_as_text(store: Store) -> None:
    run = open_run(store)
    rule = "none: my_own(g)"
    record(store, run, (proposal(0), trial(rule, fitness=-0.5), OutcomeKind.FINISHED))
    html = page_to_html(page_of(store))
    assert "none: my_own(g)" in read(html).text


def test_a_run_that_selects_by_its_metric_shows_the_metric(searched: Path) -> None:
    from dataclasses import replace

    with open_store(searched, create=False, read_only=True) as store:
        facts = read_run(store, find_run(store, None))
    main = replace(run_config().main, fitness="metric")
    page = run_page(replace(facts, settings=replace(facts.settings, main=main)))
    (paths,) = [figure for figure in page.pictures() if figure.name == "candidates"]
    assert paths.y.title == "validation accuracy (higher is better)"


def test_a_damaged_verdict_is_one_clear_line(store: Store) -> None:
    run = open_run(store)
    store.put_document(run.digest, "verdict", {"measure": "loss"})
    with pytest.raises(InputError, match="not a verdict: metric"):
        build_page(store, None, kind="search")


def test_the_store_is_only_read(searched: Path, tmp_path: Path) -> None:
    import evolute

    before = searched.read_bytes()
    evolute.report(store=searched, output=tmp_path / "report.html")
    assert searched.read_bytes() == before
