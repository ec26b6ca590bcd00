"""The tests of tests/gpu hold in Triton's interpreter, where there is no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_lanes import require_triton

require_triton()

TESTS = Path(__file__).parent.parent / "gpu"


@pytest.mark.parametrize("name", sorted(each.name for each in TESTS.glob("test_*_in_kernels.py")))
def test_the_tests_of_a_gpu_hold_in_the_interpreter(name: str) -> None:
    # Triton asks whether to interpret when it is imported: a process of its own.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS / name)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        cwd=TESTS.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
