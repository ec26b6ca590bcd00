"""The native core is built where none of the instructions is known that it names."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "src" / "evolute" / "native" / "core"
PATHS = {"EVOLUTE_PATH": "baseline", "EVOLUTE_PAIRED": "plain"}


def compiler() -> str:
    """Return a C++ compiler; skip where there is none, but fail in CI."""
    found = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("needs a C++ compiler")
        pytest.skip("needs a C++ compiler")
    return found


def test_every_file_compiles_where_no_vector_instruction_is_known() -> None:
    defined = [f"-D{name}={value}" for name, value in PATHS.items()]
    options = ["-std=gnu++17", "-fsyntax-only", "-w", "-U__SSE2__", *defined]
    files = sorted(CORE.glob("*.cpp"))
    assert files
    done = subprocess.run([compiler(), *options, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
