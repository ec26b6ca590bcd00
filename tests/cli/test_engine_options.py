"""Options of ``evolute search`` that say what trials are trained with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomli_w
from cli.shell import Capture, refused, said
from tiny import TINY_CONFIG, TINY_TASK

from evolute.presets import resolve
from evolute.settings import merge

OPTIONS = ["--lanes", "3", "--memory", "200M", "--plan", "loop", "--precision", "bf16"]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A search for three candidates in one worker."""
    config = tmp_path / "tiny.toml"
    config.write_text(tomli_w.dumps(TINY_CONFIG))
    name = ["search", "--task", TINY_TASK, "--config", str(config), "--budget", "3", "--seed", "0"]
    name += ["--workers", "1", "--no-verdict", "--format", "json"]
    return [*name, "--output", str(tmp_path / "b"), "--store", str(tmp_path / "s.sqlite")]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--lanes", "0"], "config key 'lanes' is 0"),
        (["--lanes", "many"], "Invalid value for '--lanes'"),
        (["--memory", "plenty"], "malformed memory 'plenty': give an amount such as 512M or 4G"),
        (["--memory", "0G"], "malformed memory '0G'"),
        (["--plan", "stakced"], "unknown plan 'stakced': did you mean 'stacked'"),
        (["--precision", "fp8"], "Invalid value for '--precision'"),
        (["--device", "gpu0"], "malformed device 'gpu0': give 'cpu', 'cuda' or 'cuda:1'"),
        (["--device", "cuda:99"], "there is no device 'cuda:99': "),
        (["--plan", "plain", "--device", "cuda"], "plan 'plain' trains on the CPU alone"),
    ],
)
def test_a_value_that_is_not_allowed_is_one_line_and_status_two(
    capsys: Capture, command: list[str], options: list[str], says: str
) -> None:
    assert says in refused(capsys, [*command, *options])


@pytest.mark.parametrize(
    "words",
    [
        ["bench", "--optimizers", "adam,lion", "--tasks", "digits"],
        ["eliminate", "--task", "digits"],
        ["explain", "adam", "--task", "digits"],
    ],
)
def test_every_command_that_trains_refuses_a_device_that_torch_has_not(
    capsys: Capture, tmp_path: Path, words: list[str]
) -> None:
    store = ["--store", str(tmp_path / "s.sqlite")]
    said_so = refused(capsys, [*words, "--device", "cuda:99", *store])
    assert "there is no device 'cuda:99': " in said_so
    assert "give 'cpu', or leave --device out" in said_so


def test_what_is_given_reaches_the_settings(capsys: Capture, command: list[str]) -> None:
    text = said(capsys, [*command, *OPTIONS, "--show-config"])
    assert 'lanes = 3\nmemory = "200M"\nplan = "loop"\n' in text
    assert text.count('precision = "bf16"') == 2


def test_precision_is_part_of_what_a_run_is_and_what_trains_it_is_not() -> None:
    plain, *others = (
        resolve("quick", merge(TINY_CONFIG, given), {"task": "tiny"}).run_config("tiny").identity()
        for given in (
            {},
            {"lanes": 3, "memory": "200M", "plan": "loop"},
            {"main": {"precision": "bf16"}},
        )
    )
    assert [other == plain for other in others] == [True, False]


def test_a_search_in_bf16_in_a_few_lanes_finds_something(
    capsys: Capture, command: list[str]
) -> None:
    board = json.loads(said(capsys, [*command, "--budget", "4", *OPTIONS]))["leaderboard"]
    assert board
