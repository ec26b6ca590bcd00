"""``evolute tasks`` and ``evolute data`` as a user types them."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path

import pytest

from evolute.cli.app import cli, main
from evolute.cli.data import add_data_dir
from evolute.tasks.adverse import CONDITIONS
from evolute.tasks.downloads import DATA_SETS, DataSet, Download
from evolute.tasks.registry import TASKS

Capture = pytest.CaptureFixture[str]


def run(capture: Capture, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    captured = capture.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.out, captured.err


def test_tasks_lists_every_task_and_condition_in_both_formats(capsys: Capture) -> None:
    status, text, _ = run(capsys, "tasks")
    assert status == 0
    plain = json.loads(run(capsys, "tasks", "--format", "json")[1])
    for name in TASKS:
        assert name in text
    assert [row["name"] for row in plain["tasks"]] == list(TASKS)
    assert [row["name"] for row in plain["conditions"]] == list(CONDITIONS)
    help_text = run(capsys, "tasks", "--help")[1]
    for name in CONDITIONS:
        assert f"{name}=X" in help_text


def test_a_task_states_its_size_splits_metric_licence_and_source(capsys: Capture) -> None:
    for name in TASKS:
        facts = json.loads(run(capsys, "tasks", "show", name, "--format", "json")[1])
        for fact in ("examples", "splits", "inputs", "classes", "network", "metric", "licence",
                     "source", "needs"):  # fmt: skip
            assert facts[fact]
    _, text, _ = run(capsys, "tasks", "show", "digits+label-noise=0.2")
    assert "CC BY 4.0" in text
    assert "a share 0.2 of the training labels is wrong" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("tasks", "show", "digit"), "did you mean 'digits'"),
        (("tasks", "show", "digits+noise=1"), "unknown condition 'noise'"),
        (("data", "fetch", "cifar"), "did you mean 'cifar10'"),
        (
            ("search", "--task", "cifar10", "--data-dir", "/nowhere/at/all"),
            "is not on this machine",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: tuple[str, ...], says: str, capsys: Capture, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    status, out, error = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert error.count("\n") == 1
    assert says in error


@pytest.fixture
def small_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A data set of one file, and the address of the folder in which it lies."""
    content = gzip.compress(b"content")
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "file.gz").write_bytes(content)
    checksum = hashlib.sha256(content).hexdigest()
    download = Download("https://example.invalid/file.gz", len(content), "sha256", checksum)
    monkeypatch.setitem(DATA_SETS, "small", DataSet("small", "A small set", "MIT", (download,)))
    return mirror.as_uri()


def test_data_fetch_puts_a_data_set_where_tasks_look_and_list_says_so(
    small_set: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("EVOLUTE_DATA", raising=False)
    rows = {
        row["name"]: row for row in json.loads(run(capsys, "data", "list", "--format", "json")[1])
    }
    assert rows["small"]["fetched"] is False
    status, text, _ = run(capsys, "data", "fetch", "small", "--mirror", small_set)
    folder = tmp_path / "evolute" / "data" / "small"
    assert status == 0
    assert str(folder) in text.replace("\n", "")
    assert (folder / "file.gz").is_file()
    _, text, _ = run(capsys, "data", "list")
    line = next(line for line in text.splitlines() if line.startswith("small"))
    assert line.rstrip().endswith("yes")
    assert "already" in run(capsys, "data", "fetch", "small")[1]


def test_data_fetch_without_a_network_is_one_line(
    small_set: str, capsys: Capture, tmp_path: Path
) -> None:
    status, _, error = run(
        capsys, "data", "fetch", "small", "--data-dir", str(tmp_path), "--mirror",
        "http://127.0.0.1:1",
    )  # fmt: skip
    assert status == 2
    assert "is this machine online?" in error
    assert error.count("\n") == 1


def test_every_command_that_loads_tasks_takes_a_data_folder_for_as_long_as_it_runs(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVOLUTE_DATA", raising=False)
    for name in ("search", "leaderboard", "show", "export", "bench"):
        assert "--data-dir" in run(capsys, name, "--help")[1]
    file = tmp_path / "own.py"
    file.write_text(
        "import os, pathlib\n"
        "def build():\n"
        f"    pathlib.Path({str(tmp_path / 'seen')!r}).write_text(os.environ['EVOLUTE_DATA'])\n"
        "    raise ValueError\n"
    )
    command = ["leaderboard", "--task", f"{file}:build", "--data-dir", str(tmp_path / "x")]
    run(capsys, *command)
    assert (tmp_path / "seen").read_text() == str(tmp_path / "x")
    assert "EVOLUTE_DATA" not in os.environ


def test_the_option_is_added_once() -> None:
    search = cli.commands["search"]
    add_data_dir(search)
    assert [option.name for option in search.params].count("data_dir") == 1
