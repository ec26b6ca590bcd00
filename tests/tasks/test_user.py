"""Loading tasks by name, and from a file of the user's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tasks.tiny_files import write_everything

from evolute.errors import TaskError, UnknownNameError
from evolute.tasks.registry import TASKS
from evolute.tasks.user import load_task

GOOD = """
import neighbour
import torch
from torch import nn
import evolute

runs = neighbour.RUNS
runs.append(1)

def build():
    pair = (torch.rand(4, 2), torch.rand(4, 1))
    return evolute.Task(name=f"own{len(runs)}", model=lambda: nn.Linear(2, 1), loss="mse",
                        train=pair, validation=pair, test=pair)

def build_number():
    return 3

def build_badly():
    raise ValueError("two\\nlines")

def leave():
    raise SystemExit(2)

constant = 5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    paths, modules = list(sys.path), set(sys.modules)
    (tmp_path / "neighbour.py").write_text("RUNS = []\n")
    (tmp_path / "own.py").write_text(GOOD)
    yield tmp_path
    sys.path[:] = paths
    for name in set(sys.modules) - modules:
        if name == "neighbour" or name.startswith("evolute_user_task_"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_everything(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("name", TASKS)
def test_every_task_of_the_table_loads_under_its_name(
    name: str, tiny_data: Path, optional: None
) -> None:
    assert load_task(name, data_dir=tiny_data).name == name
    assert TASKS[name].name == name
    assert "\n" not in TASKS[name].description


def test_the_environment_names_the_data_folder_where_no_argument_does(
    tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOLUTE_DATA", str(tiny_data))
    assert load_task("cifar10").version == load_task("cifar10", data_dir=tiny_data).version


def test_a_file_imports_its_neighbours_and_is_run_once_until_it_changes(folder: Path) -> None:
    file = folder / "own.py"
    assert [load_task(f"{file}:build").name for _ in range(2)] == ["own1", "own1"]
    os.utime(file, (1, 1))
    assert load_task(f"{file}:build").name == "own2"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("none.py:build", "no Python file that exists"),
        ("own.txt:build", "no Python file that exists"),
        (":build", "no Python file that exists"),
        ("own.py", "names a file but no function in it: write own.py:build"),
        ("own.py:bild", "defines build, build_badly, build_number, leave"),
        ("own.py:constant", "which the file does not define"),
        ("own.py:build_number", "build_number() returned int, not an evolute.Task"),
        ("own.py:build_badly", "build_badly() raised ValueError: two lines"),
        ("own.py:leave", "leave() raised SystemExit: 2"),
        ("broken.py:build", "running the file raised SyntaxError"),
        ("raising.py:build", "running the file raised ZeroDivisionError"),
        ("empty.py:build", "it defines no function"),
    ],
)
def test_a_file_that_gives_no_task_is_refused_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    (folder / "broken.py").write_text("def build(:\n")
    (folder / "raising.py").write_text("1 / 0\n")
    (folder / "empty.py").write_text("")
    monkeypatch.chdir(folder)
    for _ in range(2):
        with pytest.raises(TaskError) as caught:
            load_task(text)
        assert says in str(caught.value)
        assert text in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_unknown_name_says_the_nearest_and_that_a_path_is_allowed() -> None:
    with pytest.raises(UnknownNameError, match="'digit': did you mean 'digits'") as caught:
        load_task("digit")
    assert "path/to/file.py:build" in str(caught.value)
