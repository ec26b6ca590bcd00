"""What tests of tasks share: optional libraries, which no test is skipped for where CI runs."""

from __future__ import annotations

import importlib.util
import os

import pytest

LIBRARIES = ("PIL", "pyarrow", "datasets", "gymnasium", "Box2D", "safetensors")


@pytest.fixture
def optional() -> None:
    """Skip a test, outside CI, where an optional library of tasks is missing."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        assert not os.environ.get("CI"), f"CI installs the extras, and {missing} is missing"
        pytest.skip(f"not installed: {', '.join(missing)}")
