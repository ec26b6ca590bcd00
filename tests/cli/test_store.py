"""``evolute store``: what each of its commands says and does."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from evolute.cli.app import cli, main
from evolute.cli.store import store_commands
from evolute.store import schema
from evolute.store.sql import open_store
from evolute.testing.store_examples import RUN, example_entry, example_trial

ASSET = Path(__file__).parent.parent / "store" / "assets" / "schema-0001.sql"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store.sqlite"
    with open_store(path) as store:
        trials = store.put_many([example_trial(n, fitness=-float(n)) for n in range(3)])
        store.put(example_trial(3))
        store.open_run(RUN)
        store.record_many(RUN.digest, [example_entry(n, trial) for n, trial in enumerate(trials)])
    return path


@pytest.fixture
def damaged(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE trials SET loss = 7 WHERE id = 2")
    return path


def say(*arguments: object) -> str:
    result = CliRunner().invoke(cli, ["store", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refuse(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["store", *map(str, arguments)])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("evolute: ")
    return line


@pytest.mark.parametrize("command", sorted(store_commands.commands))
def test_every_command_has_help_with_examples(command: str) -> None:
    assert f"evolute store {command}" in say(command, "--help")


def test_info_says_what_a_store_holds(path: Path) -> None:
    facts = json.loads(say("info", path, "--format", "json"))
    assert (facts["kind"], facts["revision"]) == ("sqlite", schema.REVISIONS[-1])
    assert (facts["trials"], facts["runs"], facts["entries"]) == (4, 1, 3)
    assert facts["outcomes"] == {"diverged": 1, "finished": 3}
    assert facts["tasks"] == {"digits": 4}
    assert "1 diverged, 3 finished" in say("info", path)


def test_check_finds_a_sound_store_sound(path: Path) -> None:
    assert "is sound" in say("check", path)
    assert json.loads(say("check", path, "--format", "json"))["faults"] == []


def test_check_tells_what_is_damaged_and_what_to_do(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is damaged (1 fault): run 'evolute store repair'" in refuse(capsys, "check", damaged)
    result = CliRunner().invoke(cli, ["store", "check", str(damaged)])
    assert "trial 2: its figures and its checksum do not belong together" in result.output


def test_repair_saves_the_rest_and_the_saved_store_is_sound(damaged: Path, tmp_path: Path) -> None:
    before = damaged.read_bytes()
    said = say("repair", damaged, "--output", tmp_path / "new")
    said = " ".join(said.split())  # a terminal wraps where it likes
    assert "3 trials (3 new)" in said
    assert "1 without their trial left out" in said
    assert "1 damaged" in said
    assert damaged.read_bytes() == before
    assert "is sound" in say("check", tmp_path / "new")


def test_backup_copies_and_never_replaces(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Copied to" in say("backup", path, "--output", tmp_path / "copy")
    assert "is sound" in say("check", tmp_path / "copy")
    assert "is there already" in refuse(capsys, "backup", path, "--output", tmp_path / "copy")


def test_merge_adds_and_tells_conflicts(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    with open_store(target) as store:
        store.put(example_trial(0, fitness=0.5))
    said = say("merge", path, path, "--into", target, "--format", "json")
    first, second = (json.loads(part) for part in said.replace("}\n{", "}\0{").split("\0"))
    assert (first["new_trials"], second["new_trials"]) == (3, 0)
    assert "was kept" in first["conflicts"][0]
    assert "Conflict: trial" in say("merge", path, "--into", target)


def test_migrate_updates_an_old_store_and_keeps_a_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "old one"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(ASSET.read_text("utf-8"))
    assert f"run \"evolute store migrate '{path}'\", or" in refuse(capsys, "info", path)
    said = json.loads(say("migrate", path, "--format", "json"))
    assert said == {"before": "0001", "after": schema.REVISIONS[-1], "copy": f"{path}.schema-0001"}
    assert Path(said["copy"]).exists()
    assert "already" in say("migrate", path)
    assert "is sound" in say("check", path)


@pytest.mark.parametrize("command", ["info", "check", "migrate"])
def test_a_store_that_is_not_there_is_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "does not exist" in refuse(capsys, command, tmp_path / "none")
    (tmp_path / "text").write_text("x" * 5000)
    assert "is not a database" in refuse(capsys, command, tmp_path / "text")


def test_an_address_is_never_repeated_with_its_password(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = "postgresql+psycopg://me:topsecret@127.0.0.1:1/trials"
    for arguments in (("info", address), ("check", address), ("merge", path, "--into", address)):
        assert "topsecret" not in refuse(capsys, *arguments)
