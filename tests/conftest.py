"""What all tests share: a cache of their own, in which plans of the lanes are remembered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let this session, and the processes that it starts, find each plan once and remember it.

    What the user's machine remembers from before decides nothing here, and a process that finds a
    plan for the user is not waited for.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
