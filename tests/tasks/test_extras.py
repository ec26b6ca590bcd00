"""Optional libraries: one line where one is missing, and none is needed to list the tasks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evolute.errors import TaskError
from evolute.tasks.extras import optional_module
from evolute.tasks.user import load_task

LISTING = """
import sys
import evolute.tasks
heavy = {"sklearn", "gymnasium", "Box2D", "datasets", "pyarrow", "PIL", "timm", "safetensors",
         "pydoc_data.topics", "scipy.io"}
print(sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("name", "library", "extra"), [("cartpole", "gymnasium", "rl"), ("lunarlander", "Box2D", "rl")]
)
def test_a_task_whose_library_is_missing_names_the_extra(
    name: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library == "Box2D":
        pytest.importorskip("gymnasium", reason="gymnasium is not installed")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(TaskError) as caught:
        load_task(name)
    assert f"the task {name!r} needs the library {library!r}" in str(caught.value)
    assert f"run pip install 'evolute[{extra}]'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_library_that_is_broken_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_library.py").write_text("import warnings\nraise RuntimeError('wrong ABI')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TaskError, match=r"cannot be imported \(RuntimeError: wrong ABI\)"):
        optional_module("broken_library", extra="rl", what="this")


def test_warnings_of_a_library_at_its_import_are_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "noisy_library.py").write_text("import warnings\nwarnings.warn('old')\nvalue = 3")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert optional_module("noisy_library", extra="rl", what="this").value == 3


def test_listing_the_tasks_imports_no_library_and_reads_no_data() -> None:
    ran = subprocess.run([sys.executable, "-c", LISTING], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "[]"
