"""Every command on a real, tiny run: what it prints, in both formats, and how it refuses."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from cli.shell import Capture, refused, run, said
from tiny import TINY_CONFIG, TINY_TASK

from evolute.cli.app import cli
from evolute.lang.rule import Rule


class Workplace:
    """A folder with a store, and the command line run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = str(folder / "store.sqlite")
        config = folder / "tiny.toml"
        config.write_text(tomli_w.dumps(TINY_CONFIG))
        self.search = ["search", "--task", TINY_TASK, "--config", str(config), "--workers", "1"]
        self.search += ["--output", str(folder / "best.json"), "--store", self.store]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace in which the tiny search has been run to its end."""
    place = Workplace(tmp_path_factory.mktemp("workplace"))
    assert run([*place.search, "--format", "json"]) == 0
    return place


def test_search_ends_in_a_leaderboard_a_verdict_and_a_saved_rule(
    workplace: Workplace, capsys: Capture
) -> None:
    text = said(capsys, workplace.search)
    assert "Leaderboard (best 10 of" in text
    assert "Verdict (test split, 3 fresh seeds" in text
    for name in ("SGD with momentum", "Adam", "AdamW", "RMSprop", "Lion", "discovered #"):
        assert name in text
    saved = json.loads((workplace.folder / "best.json").read_text())
    assert str(Rule.from_json(saved["rule"])) == saved["text"]
    assert f"Best rule: {saved['text']}" in text
    assert f"evolute show best --store {workplace.store}" in "".join(text.splitlines())
    assert saved["verdict"] in " ".join(text.split())


def test_search_as_json_holds_all_that_the_table_shows(
    workplace: Workplace, capsys: Capture
) -> None:
    data = json.loads(said(capsys, [*workplace.search, "--format", "json"]))
    assert data["verdict"]["sentence"]
    assert data["trained"] >= len(data["leaderboard"]) > 3
    fitness = [row["fitness"] for row in data["leaderboard"]]
    assert fitness == sorted(fitness, reverse=True)
    assert data["best"]["learning_rate"] > 0


def test_the_best_rule_is_saved_under_a_safe_name_in_the_working_folder(
    workplace: Workplace, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "best.json").mkdir()
    (tmp_path / "x").mkdir()
    (tmp_path / "own.py").write_text(
        f"import sys; sys.path.insert(0, {str(Path(TINY_TASK).parent)!r})\n"
        "import tiny\n"
        "def build():\n"
        "    task = tiny.build()\n"
        "    object.__setattr__(task, 'name', '../my net/1')\n"
        "    return task\n"
    )
    monkeypatch.chdir(tmp_path)
    command = ["search", "--task", "own.py:build", "--config", workplace.search[4]]
    said(capsys, [*command, "--workers", "1", "--budget", "3", "--no-verdict"])
    (saved,) = tmp_path.glob("*.best.json")
    assert saved.name.startswith("_my_net_1-quick-0-")


def test_show_config_prints_toml_that_gives_the_same_settings(
    workplace: Workplace, capsys: Capture, tmp_path: Path
) -> None:
    text = said(capsys, [*workplace.search, "--show-config"])
    again = tmp_path / "again.toml"
    again.write_text(text)
    assert said(capsys, ["search", "--config", str(again), "--show-config"]) == text


def test_leaderboard_lists_runs_ranks_and_the_verdict(
    workplace: Workplace, capsys: Capture
) -> None:
    text = said(capsys, ["leaderboard", "--store", workplace.store, "--top", "3"])
    assert "Leaderboard of tiny-quick-0-" in text
    data: dict[str, Any] = json.loads(
        said(capsys, ["leaderboard", "--store", workplace.store, "--format", "json"])
    )
    assert [row["rank"] for row in data["leaderboard"]] == list(range(1, 11))
    runs = said(capsys, ["leaderboard", "--store", workplace.store, "--runs"])
    assert data["run"][:12] in runs


@pytest.mark.parametrize(
    "rule", ["best", "1", "adam", "nesterov: bessel_i1e([a13*a2]*g)", "sign_g"]
)
def test_show_prints_a_rule_by_any_of_its_names(
    workplace: Workplace, capsys: Capture, rule: str
) -> None:
    data = json.loads(said(capsys, ["show", rule, "--store", workplace.store, "--format", "json"]))
    text = said(capsys, ["show", rule, "--store", workplace.store])
    assert data["text"] in text.replace("\n", "")
    assert "LaTeX" in text
    for decay, values in data["decays"].items():
        assert f"Decay [{decay}]" in text
        assert len(values) == 100


def test_show_draws_decay_curves(workplace: Workplace, capsys: Capture) -> None:
    falling = said(capsys, ["show", "none: [a1]*g", "--store", workplace.store])
    rising = said(capsys, ["show", "none: [a2]*g", "--store", workplace.store])
    drawn = [text.split("Decay [", 1)[1].split("\n", 1)[1] for text in (falling, rising)]
    assert drawn[0] != drawn[1]
    assert any("\u2800" < character <= "\u28ff" for character in drawn[0])


def test_show_finds_a_trial_by_the_first_digits_of_its_digest(
    workplace: Workplace, capsys: Capture
) -> None:
    data = json.loads(said(capsys, ["leaderboard", "--store", workplace.store, "--format", "json"]))
    row = data["leaderboard"][0]
    shown = said(
        capsys,
        ["show", f"trial:{row['trial'][:16]}", "--store", workplace.store, "--format", "json"],
    )
    assert json.loads(shown)["text"] == row["rule"]


def test_export_writes_what_reads_back(
    workplace: Workplace, capsys: Capture, tmp_path: Path
) -> None:
    text = said(capsys, ["export", "lion", "--to", "json"])
    assert Rule.from_json(json.loads(text)) == Rule.parse(
        said(capsys, ["export", "lion", "--to", "text"]).strip()
    )
    target = tmp_path / "rule.tex"
    assert said(capsys, ["export", "lion", "--to", "latex", "--output", str(target)]) == ""
    assert r"\mathrm{sign}" in target.read_text()


def test_tasks_and_rules_list_what_there_is(capsys: Capture) -> None:
    assert "digits-conv" in said(capsys, ["tasks"])
    names = [row["name"] for row in json.loads(said(capsys, ["rules", "--format", "json"]))]
    assert {"adam", "lion", "opt10", "a5"} <= set(names)
    blocks = said(capsys, ["rules", "--blocks"])
    for name in ("qh_g3", "bessel_i1e(x)", "ema(x, beta)", "a14"):
        assert name in blocks


@pytest.mark.parametrize("command", cli.commands)
def test_help_shows_examples(capsys: Capture, command: str) -> None:
    assert "Examples:" in said(capsys, [command, "--help"])


def test_the_bare_command_shows_its_help(capsys: Capture) -> None:
    assert "evolute search --task digits" in said(capsys, ["--help"])
    assert said(capsys, []) == said(capsys, ["--help"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search"], "no task is given: add --task"),
        (["search", "--task", "digit"], "unknown task 'digit': did you mean 'digits'"),
        (["search", "--task", "no.py:build"], "no Python file that exists"),
        (["search", "--task", "digits", "--preset", "fast"], "unknown preset 'fast'"),
        (["search", "--task", "digits", "--budget", "soon"], "malformed budget 'soon'"),
        (["search", "--task", "digits", "--algorithm", "pso"], "unknown search algorithm 'pso'"),
        (["search", "--task", "digits", "--seed", "-1"], "Invalid value for '--seed'"),
        (["search", "--task", "digits", "--config", "no.toml"], "cannot read the config file"),
        (["search", "--tusk", "digits"], "No such option"),
        (["serch"], "No such command 'serch'"),
        (["show", "adamm"], "unknown rule 'adamm': did you mean 'adam'"),
        (["show", "none: tahn(g)"], "unknown function 'tahn': did you mean 'tanh'"),
        (["show", "none: gg"], "unknown operand 'gg'"),
        (["export", "adam", "--to", "pdf"], "Invalid value for '--to'"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_two(
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in refused(capsys, arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_rank_that_is_not_there_is_refused(workplace: Workplace, capsys: Capture) -> None:
    assert "rank 999 is not on the leaderboard" in refused(
        capsys, ["show", "999", "--store", workplace.store]
    )
    assert "unknown run 'mine'" in refused(
        capsys, ["leaderboard", "--run", "mine", "--store", workplace.store]
    )


def test_a_store_that_is_none_is_refused_and_left_as_it_is(
    workplace: Workplace, capsys: Capture, tmp_path: Path
) -> None:
    text, foreign = tmp_path / "text.sqlite", tmp_path / "foreign.sqlite"
    text.write_text("not a database, and of more than one hundred bytes" * 10)
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE somebody_elses (x)")
    connection.close()
    for path in (text, foreign, tmp_path / "missing" / "store.sqlite"):
        before = path.read_bytes() if path.exists() else None
        command = ["search", "--task", "digits", "--store", str(path)]
        assert str(path) in refused(capsys, command)
        assert (path.read_bytes() if path.exists() else None) == before
    missing = refused(capsys, ["leaderboard", "--store", str(tmp_path / "none.sqlite")])
    assert "does not exist" in missing


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise RuntimeError('rain')", "rain"),
        ("return 3", "returned int, not an evolute.Task"),
        (
            "d = torch.randn(8, 4), torch.randint(3, (9,))\n"
            "    return evolute.Task(name='x', model=lambda: torch.nn.Linear(4, 3), train=d,\n"
            "                        validation=d, test=d)",
            "train",
        ),
        (
            "d = torch.randn(8, 4), torch.randint(3, (8,))\n"
            "    return evolute.Task(name='x', model=lambda: torch.nn.Linear(5, 3), train=d,\n"
            "                        validation=d, test=d)",
            "its model's forward",
        ),
    ],
)
def test_a_task_at_fault_is_one_line(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(f"import torch\nimport evolute\ndef build():\n    {body}\n")
    assert says in refused(capsys, ["search", "--task", "mine.py:build"])
    assert not (tmp_path / "evolute.sqlite").exists()


def test_the_command_itself_leaves_no_traceback_and_status_two(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "evolute", "search", "--task", "digts"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stderr


def test_a_locked_store_is_one_line_and_keeps_what_it_holds(
    workplace: Workplace, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evolute.store.sqlite.BUSY_TIMEOUT_SECONDS", 0.2)
    holder = sqlite3.connect(workplace.store, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        assert "locked" in refused(capsys, [*workplace.search, "--seed", "1"])
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert "tiny-quick-0" in said(capsys, ["leaderboard", "--store", workplace.store, "--runs"])


def test_a_store_of_a_newer_version_is_refused(
    workplace: Workplace, capsys: Capture, tmp_path: Path
) -> None:
    newer = tmp_path / "newer.sqlite"
    newer.write_bytes(Path(workplace.store).read_bytes())
    with sqlite3.connect(newer) as connection:
        connection.execute("UPDATE evolute_version SET version_num = '9999'")
    connection.close()
    line = refused(capsys, ["leaderboard", "--store", str(newer)])
    assert "newer" in line


def test_an_unwritable_output_is_told_before_hours_of_search(
    workplace: Workplace, capsys: Capture, tmp_path: Path
) -> None:
    target = str(tmp_path / "missing" / "best.json")
    line = refused(capsys, [*workplace.search, "--output", target])
    assert target in line
    assert "--output" in line
