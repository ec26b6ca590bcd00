"""``evolute report`` on a real, tiny run: what it writes and prints, and how it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from cli.shell import Capture, refused, run
from report.ablations import made_up_ablation
from report.benchmarks import made_up_benchmark
from report.eliminations import made_up_elimination
from report.places import search_into

from evolute.benchmark.elimination import EliminationResult
from evolute.benchmark.explained import ExplainResult
from evolute.store.base import RunRecord
from evolute.store.sql import open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with a tiny search and a made-up benchmark."""
    path = tmp_path_factory.mktemp("report") / "store.sqlite"
    search_into(path)
    result = made_up_benchmark()
    with open_store(path) as opened:
        opened.open_run(RunRecord(result.digest, "a bench", '{"kind":"benchmark"}', "1"))
        opened.put_document(result.digest, "benchmark", result.to_dict())
    return str(path)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_report_writes_one_page_and_says_what_it_found(
    store: str, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["report", "--store", store]) == 0
    said = capsys.readouterr().out
    assert said.startswith("tiny-quick-0-")
    assert "Open report.html in a browser." in said
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("typed", [["{name}"], ["{digits}"], ["--run", "{name}"]])
def test_a_run_is_named_as_in_other_commands(store: str, typed: list[str], capsys: Capture) -> None:
    with open_store(store, read_only=True) as opened:
        record = opened.runs()[0]
    names = [each.format(name=record.name, digits=record.digest[:8]) for each in typed]
    assert run(["report", *names, "--store", store, "--output", "other.html"]) == 0
    assert record.name in capsys.readouterr().out
    assert Path("other.html").exists()


def test_report_bench_shows_the_newest_benchmark_or_a_named_one(
    store: str, capsys: Capture
) -> None:
    for name in ([], ["a bench"]):
        assert run(["report", "bench", *name, "--store", store, "--output", "b.html"]) == 0
        assert "found: better on tiny." in capsys.readouterr().out
    assert "Performance profiles" in Path("b.html").read_text(encoding="utf-8")


def test_a_name_alone_is_found_whatever_it_is_the_name_of(store: str, capsys: Capture) -> None:
    assert run(["report", "a bench", "--store", store, "--output", "b.html"]) == 0
    assert "found: better on tiny." in capsys.readouterr().out
    with open_store(store, read_only=True) as opened:
        search = opened.runs()[0].name
    line = refused(capsys, ["report", "bench", search, "--store", store])
    assert line.endswith(f'{search!r} is the name of a search: give "evolute report {search}"')
    line = refused(capsys, ["report", "explain", "a bench", "--store", store])
    assert line.endswith("""a benchmark: give "evolute report bench 'a bench'\"""")
    assert "did you mean 'a bench'" in refused(capsys, ["report", "a bensh", "--store", store])


def test_a_name_of_two_kinds_asks_which(tmp_path: Path, capsys: Capture) -> None:
    place = str(tmp_path / "s.sqlite")
    with open_store(place) as opened:
        for kind in ("ablation", "benchmark"):
            opened.open_run(RunRecord(kind * 8, "mine", f'{{"kind":"{kind}"}}', "1"))
    line = refused(capsys, ["report", "mine", "--store", place])
    assert "'mine' is the name of a benchmark and an ablation: give" in line
    assert '"evolute report bench mine" or "evolute report explain mine"' in line


def test_a_search_that_shares_its_name_is_told_apart_by_its_digest(
    tmp_path: Path, capsys: Capture
) -> None:
    place = str(tmp_path / "s.sqlite")
    with open_store(place) as opened:
        opened.open_run(RunRecord("ab" * 32, "mine", '{"task":"digits"}', "1"))
        opened.open_run(RunRecord("cd" * 32, "mine", '{"kind":"benchmark"}', "1"))
    line = refused(capsys, ["report", "mine", "--store", place])
    assert "'mine' is the name of a search and a benchmark: give" in line
    assert '"evolute report abababababab" or "evolute report bench mine"' in line


@pytest.mark.parametrize(
    ("word", "kind", "result", "says"),
    [
        ("eliminate", "elimination", made_up_elimination(), "1 of 4 candidates came through."),
        ("explain", "ablation", made_up_ablation(), "a rule of 3 nodes is not worse"),
    ],
)
def test_report_shows_an_elimination_or_an_ablation(
    word: str,
    kind: str,
    result: EliminationResult | ExplainResult,
    says: str,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    place = str(tmp_path / "s.sqlite")
    with open_store(place) as opened:
        opened.open_run(RunRecord(result.digest, "mine", f'{{"kind":"{kind}"}}', "1"))
        line = "has no result yet"
        assert line in refused(capsys, ["report", word, "--store", place])
        opened.put_document(result.digest, kind, result.to_dict())
    for name in ([], ["mine"], ["--run", "mine"]):  # a store without a search
        assert run(["report", "--store", place]) == 0
        assert says in capsys.readouterr().out
        assert run(["report", word, *name, "--store", place, "--csv", "t"]) == 0
        assert says in capsys.readouterr().out
    assert "<math" in Path("report.html").read_text(encoding="utf-8")
    assert f"unknown run '{word}ed'" in refused(capsys, ["report", word, f"{word}ed",
                                                         "--store", place])  # fmt: skip


def test_figures_and_tables_are_written_beside_the_page(store: str, capsys: Capture) -> None:
    options = ["--figures", "f/g", "--image-format", "png", "--csv", "t", "--format", "json"]
    assert run(["report", "--store", store, *options]) == 0
    files = [Path(path) for path in json.loads(capsys.readouterr().out)["files"]]
    assert all(path.stat().st_size for path in files)
    assert {path.suffix for path in Path("f/g").iterdir()} == {".png"}
    with Path("t/leaderboard.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rank"]) for row in rows] == list(range(1, len(rows) + 1))
    assert all(": " in row["rule"] for row in rows)


def test_more_files_are_counted_for_people(store: str, capsys: Capture) -> None:
    assert run(["report", "--store", store, "--csv", "t"]) == 0
    assert "4 more files are in t." in capsys.readouterr().out


def test_an_unknown_run_names_the_known_ones(store: str, capsys: Capture) -> None:
    line = refused(capsys, ["report", "tiny-quick-9", "--store", store])
    assert "unknown run 'tiny-quick-9': did you mean 'tiny-quick-0" in line
    assert "unknown run 'other'" in refused(capsys, ["report", "bench", "other", "--store", store])


def test_two_names_are_one_too_many(store: str, capsys: Capture) -> None:
    line = refused(capsys, ["report", "a", "--run", "b", "--store", store])
    assert "one report is of one run, got 'a' and 'b'" in line


def test_a_missing_store_is_one_line(capsys: Capture) -> None:
    assert "nowhere.sqlite" in refused(capsys, ["report", "--store", "nowhere.sqlite"])


@pytest.mark.parametrize("option", ["--output", "--csv", "--figures"])
def test_a_place_that_cannot_be_written_is_one_line(
    store: str, option: str, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "file").write_text("")
    line = refused(capsys, ["report", "--store", store, option, "file/in/it"])
    assert "cannot write to 'file/in/it'" in line
    assert "choose a place" in line


def test_an_unknown_image_format_names_the_known(store: str, capsys: Capture) -> None:
    line = refused(capsys, ["report", "--store", store, "--image-format", "gif"])
    assert "svg" in line
    assert "png" in line
