"""What tests of optional libraries share: skipped with a reason at home, never in CI."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest


def require_library(library: str, *, extra: str) -> None:
    """Skip the test where a library is not installed; fail in continuous integration."""
    if find_spec(library) is not None:
        return
    reason = f"{library} is not installed: pip install 'evolute[{extra}]'"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
