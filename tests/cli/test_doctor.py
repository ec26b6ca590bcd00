"""``evolute doctor`` says what is active, and why not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.shell import Capture, run
from native_core import require_native

import evolute.native
from evolute.cli.doctor import Finding, examine
from evolute.compiler.native import status
from evolute.compiler.triton_lanes import status as kernel_status
from evolute.lanes import native_layers, native_status
from evolute.lanes.native_status import layers_status
from evolute.native import Opened, supported

FILES = {"rules": "libevolute_native.so", "layers": "libevolute_layers.so"}
FOLDERS = [*evolute.native.__path__]


def sound_library(name: str) -> Path:
    """Return a library as it was built."""
    return next(path for folder in FOLDERS if (path := Path(folder) / name).is_file())


def test_both_formats_say_the_same(capsys: Capture) -> None:
    assert run(["doctor", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [each.name for each in examine()]
    assert run(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert all(row["name"] in shown for row in rows)


def found() -> dict[str, Finding]:
    return {each.name: each for each in examine()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which the native libraries are looked for, nothing in it."""
    require_native()
    monkeypatch.setattr(evolute.native, "__path__", [str(tmp_path)])
    evolute.native._load.cache_clear()
    yield tmp_path
    evolute.native._load.cache_clear()


def test_it_tells_of_the_native_core_and_of_torch() -> None:
    told = found()
    rules, layers = told["native core: rules"], told["native core: layers"]
    assert rules.active is status().active
    assert rules.detail.startswith(status().reason)
    assert layers.active is layers_status().active
    assert layers.detail.startswith(layers_status().reason)
    assert told["torch"].detail == torch.__version__
    assert told["cuda"].active is torch.cuda.is_available()
    assert told["CUDA graphs"].active is torch.cuda.is_available()
    assert told["kernels for rules on a GPU"].active is kernel_status().active
    assert told["kernels for rules on a GPU"].detail == kernel_status().reason
    assert str(torch.get_num_threads()) in told["threads"].detail
    assert all(plan in told["plans for networks"].detail for plan in ("stacked", "vmap", "loop"))


def test_both_libraries_name_their_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    library = require_native()
    monkeypatch.delenv("EVOLUTE_NATIVE_ISA", raising=False)
    told = found()
    assert told["native core: rules"].detail.split(",")[0] == supported(library)[0]
    assert told["native core: layers"].detail.split(",")[0] == supported(library)[0]


@pytest.mark.parametrize("part", ["rules", "layers"])
def test_a_library_that_is_broken_differs_from_a_sound_one(folder: Path, part: str) -> None:
    (other,) = {"rules", "layers"} - {part}
    shutil.copy(sound_library(FILES[other]), folder)
    (folder / FILES[part]).write_bytes(b"not a library")
    told = found()
    assert not told[f"native core: {part}"].active
    assert "cannot be loaded" in told[f"native core: {part}"].detail
    assert "install evolute again" in told[f"native core: {part}"].detail
    assert told[f"native core: {other}"].active


@pytest.mark.parametrize("part", ["rules", "layers"])
def test_a_library_that_is_missing_is_told_with_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    del folder
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/g++" if name == "g++" else None)
    core = found()[f"native core: {part}"]
    assert not core.active
    assert "there is a C++ compiler now (g++): install evolute again" in core.detail
    assert f"torch computes {part}" in core.detail
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    evolute.native._load.cache_clear()
    assert "there is no C++ compiler" in found()[f"native core: {part}"].detail


def test_a_library_of_another_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    require_native()
    monkeypatch.setattr(native_layers, "ABI", 99)
    layers = found()["native core: layers"]
    assert not layers.active
    assert "built for another version" in layers.detail
    assert "not 99" in layers.detail


class _Library:
    """Stands for the native layers of another build or machine."""

    def __init__(self, *, paths: int, fast: int) -> None:
        self._paths, self._fast = paths, fast

    def evolute_layers_paths(self) -> int:
        return self._paths

    def evolute_paired_is_fast(self) -> int:
        return self._fast


@pytest.mark.parametrize(
    ("paths", "fast", "active", "words"),
    [
        (7, 1, True, "AVX512_BF16"),
        (7, 0, False, "this processor has no AVX512_BF16"),
        (3, 0, False, "built without AVX512_BF16"),
    ],
)
def test_it_says_whether_convolutions_in_bf16_are_native_and_why_not(
    monkeypatch: pytest.MonkeyPatch, paths: int, fast: int, active: bool, words: str
) -> None:
    library: Any = _Library(paths=paths, fast=fast)
    monkeypatch.setattr(native_status, "open_layers", lambda: Opened(library))
    bf16 = found()["native core: bf16 convolutions"]
    assert bf16.active is active
    assert words in bf16.detail


def test_a_native_core_that_is_switched_off_is_told_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EVOLUTE_NATIVE_ISA", "off")
    for part in ("rules", "layers"):
        core = found()[f"native core: {part}"]
        assert not core.active
        assert core.detail.startswith("switched off by EVOLUTE_NATIVE_ISA=off")
    assert not found()["native core: bf16 convolutions"].active


def test_it_says_where_the_times_of_plans_are_and_whether_they_can_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    times = found()["times of plans"]
    assert times.active
    assert times.detail == f"{tmp_path / 'evolute' / 'plans.json'}, not written yet"
    (tmp_path / "evolute").mkdir()
    (tmp_path / "evolute" / "plans.json").write_text("{}", encoding="utf-8")
    assert found()["times of plans"].detail == str(tmp_path / "evolute" / "plans.json")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert not found()["times of plans"].active
    assert "set XDG_CACHE_HOME" in found()["times of plans"].detail


def test_a_wrong_instruction_set_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("EVOLUTE_NATIVE_ISA", "mmx")
    assert run(["doctor"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_extra_that_is_not_installed_is_told_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs = ["torch>=2", "click>=8; extra == 'there'", "no-such-thing[x]>=1; extra == 'absent'"]
    monkeypatch.setattr(metadata, "requires", lambda _name: needs)
    told = found()
    assert told["extra there"].active
    assert not told["extra absent"].active
    assert told["extra absent"].detail == (
        "not installed: no-such-thing; pip install 'evolute[absent]'"
    )
