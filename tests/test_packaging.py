"""What an installation brings, and that it is the same everywhere."""

from __future__ import annotations

import os
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


def built_wheel(folder: Path, **variables: str) -> set[str]:
    """Names of the files of the wheel that is built with these environment variables."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    environment = {**os.environ, **variables}
    subprocess.run(
        [*command, "-w", str(folder), str(ROOT)], check=True, capture_output=True, env=environment
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    return built_wheel(tmp_path_factory.mktemp("wheel"))


def files_of_the_package() -> set[str]:
    source = ROOT / "src"
    native = source / "evolute" / "native"
    return {
        str(path.relative_to(source))
        for path in (source / "evolute").rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and path.parent != native / "core"
        and path != native / "CMakeLists.txt"
        and path.suffix != ".so"
    }


def test_the_wheel_carries_every_file_of_the_package(wheel_names: set[str]) -> None:
    files = files_of_the_package()
    assert "evolute/py.typed" in files
    assert files <= wheel_names


def test_the_wheel_carries_nothing_but_the_package(wheel_names: set[str]) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheel_names} == {"evolute"}
    inside = {name for name in wheel_names if name.startswith("evolute/")}
    libraries = {name for name in inside if name.endswith(".so")}
    assert inside - libraries == files_of_the_package()
    assert "evolute/native/libevolute_native.so" in libraries


def test_without_a_compiler_the_wheel_is_built_without_the_native_core(tmp_path: Path) -> None:
    names = built_wheel(tmp_path, CXX="no-such-compiler")
    assert {name for name in names if name.startswith("evolute/")} == files_of_the_package()


def locked() -> str:
    return (ROOT / ".ci/requirements.lock").read_text(encoding="utf-8")


def test_what_ci_locks_is_what_the_constraints_pin() -> None:
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", locked(), re.MULTILINE)
    versions = {normalised(name): version.partition("+")[0] for name, version in found}
    both = versions.keys() & pins().keys()
    assert {name: versions[name] for name in both} == {name: pins()[name] for name in both}
    assert set(required()) <= versions.keys()


def test_every_locked_file_has_a_hash() -> None:
    blocks = re.split(r"\n(?=\S)", locked())
    assert all("--hash=sha256:" in block for block in blocks if "==" in block)


def test_of_a_build_of_one_kind_of_machine_only_its_own_file_is_allowed() -> None:
    blocks = [block for block in re.split(r"\n(?=\S)", locked()) if "==" in block]
    own = [block for block in blocks if "+" in block.partition("==")[2].split()[0]]
    assert [block.partition("==")[0] for block in own] == ["torch"]
    assert [block.count("--hash=") for block in own] == [1]


def dry_run(target: str, *variables: str) -> list[str]:
    """Return the commands that make would run in a fresh clone.

    A make that runs these tests hands its own variables down, which are not wanted here.
    """
    handed_down = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "LOCK", "EXTRAS")
    plain = {name: value for name, value in os.environ.items() if name not in handed_down}
    ran = subprocess.run(
        ["make", "-n", target, "VENV=no-such-folder", *variables],
        cwd=ROOT,
        env=plain,
        check=True,
        capture_output=True,
        text=True,
    )
    return [line for line in ran.stdout.splitlines() if "pip install" in line]


def test_ci_installs_nothing_but_locked_files_and_users_by_the_constraints() -> None:
    locked_installs = dry_run("installed", "LOCK=.ci/requirements.lock")
    assert len(locked_installs) == 2
    assert all("--no-deps" in line for line in locked_installs)
    assert "--require-hashes" in locked_installs[0]
    for target in ("test", "demo"):
        assert all("-c constraints.txt" in line for line in dry_run(target))
