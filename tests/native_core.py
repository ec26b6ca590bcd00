"""What tests of the native core share: whether it is there, and its instruction sets."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import pytest

from evolute.native import load, supported


def require_native() -> ctypes.CDLL:
    """Return the library; skip where it was not built, but never in continuous integration."""
    loaded = load()
    if loaded.library is None:
        reason = f"the native core is {loaded.reason}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason, allow_module_level=True)
    return loaded.library


def instruction_sets() -> tuple[str, ...]:
    """Return the instruction sets that this machine has."""
    return supported(require_native())


def using(name: str) -> Iterator[str]:
    """Use one instruction set until the iterator is closed."""
    library, before = require_native(), load().instruction_set
    assert library.evolute_choose(name.encode()) == 1
    yield name
    assert before is not None
    library.evolute_choose(before.encode())
