"""What an installation brings, and that it is the same everywhere."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normalised(name): version for name, version in pairs}


def normalised(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required() -> list[str]:
    groups = PROJECT["project"]["optional-dependencies"].values()
    lines = [
        *PROJECT["build-system"]["requires"],
        *PROJECT["project"]["dependencies"],
        *(line for group in groups for line in group),
    ]
    return [normalised(re.split(r"[<>=!~\[; ]", line)[0]) for line in lines]


@pytest.mark.parametrize("name", sorted(set(required())))
def test_every_requirement_has_one_pinned_version(name: str) -> None:
    assert name in pins()


def test_no_pin_asks_for_a_build_that_only_one_kind_of_machine_has() -> None:
    assert not {name: version for name, version in pins().items() if "+" in version}


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_carries_every_file_of_the_package(wheel_names: set[str]) -> None:
    source = ROOT / "src"
    files = {
        str(path.relative_to(source))
        for path in (source / "evolute").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "evolute/py.typed" in files
    assert files <= wheel_names


def test_the_wheel_carries_nothing_but_the_package(wheel_names: set[str]) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheel_names} == {"evolute"}
