"""``evolute bench`` on a real, tiny task: what it prints and writes, and how it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from cli.shell import Capture, run
from tiny import TINY_CONFIG, TINY_TASK

from evolute.cli.bench import split_list

CONFIG: dict[str, Any] = {
    "main": TINY_CONFIG["main"],
    "bench": {
        "budget": 2,
        "seeds": 2,
        "tuning_seeds": 1,
        "sensitivity_seeds": 1,
        "sensitivity_half_width": 1,
        "grid_half_width": 1,
        "widenings": 0,
        "resamples": 100,
    },
}


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A benchmark as it is typed, already run once."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "tiny.toml").write_text(tomli_w.dumps(CONFIG))
    typed = ["bench", "--optimizers", "[a3]*clip(g, v),adamw", "--tasks", TINY_TASK]
    typed += ["--config", str(folder / "tiny.toml"), "--store", str(folder / "store.sqlite")]
    typed += ["--workers", "1"]
    assert run([*typed, "--format", "json"]) == 0
    return typed


def test_bench_prints_tables_verdicts_and_where_it_is_stored(
    command: list[str], capsys: Capture
) -> None:
    assert run(command) == 0
    text = capsys.readouterr().out
    for part in (
        "tiny: optimizers on fresh seeds",
        "tiny: ranges of the tuning, 2 trials each",
        "tiny: every update under every schedule",
        "best hand-made at defaults",
        "verdict:",
        "Scores over all tasks",
        "Stored as bench-tiny-quick-0-",
    ):
        assert part in text


def test_bench_writes_json_and_a_csv_file_for_every_table(
    command: list[str], capsys: Capture, tmp_path: Path
) -> None:
    written = ["--json", str(tmp_path / "b.json"), "--csv", str(tmp_path / "tables")]
    assert run([*command, *written, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "b.json").read_text())
    files = {path.stem for path in (tmp_path / "tables").iterdir()}
    assert files == {
        *(f"tiny-{name}" for name in ("optimizers", "verdicts", "cross", "gains")),
        *("tiny-ranges", "tiny-budget", "scores"),
    }
    with (tmp_path / "tables" / "tiny-optimizers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["optimizer"] for row in rows} >= {"[a3]*clip(g, v)", "adamw"}
    assert all(float(row["test loss"]) > 0 for row in rows if row["optimizer"] == "adamw")


def test_without_the_cross_table_only_own_schedules_are_tried(
    command: list[str], capsys: Capture
) -> None:
    assert run([*command, "--no-cross", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"][0]["cross"] is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--optimizers", "adm,lion"], "unknown rule 'adm': did you mean"),
        (["--seeds", "1"], "one fresh seed shows no difference"),
        (["--tasks", "digts"], "unknown task 'digts': did you mean 'digits'"),
        (["--optimizers", "best:mine"], "the store holds no run yet"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_two(
    command: list[str], capsys: Capture, changed: list[str], message: str
) -> None:
    capsys.readouterr()
    assert run([*command, *changed]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_commas_inside_brackets_part_no_optimizers() -> None:
    assert split_list("a1,none: clip(v, sqrt(s)), [max(a1, a2)]*g,") == [
        *("a1", "none: clip(v, sqrt(s))", "[max(a1, a2)]*g")
    ]
