"""One tiny search for all tests of reports."""

from __future__ import annotations

from pathlib import Path

import pytest
from report.places import search_into


@pytest.fixture(scope="package")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a tiny search that ran to its verdict."""
    path = tmp_path_factory.mktemp("searched") / "store.sqlite"
    search_into(path)
    return path
