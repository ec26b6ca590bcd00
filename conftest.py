"""What every test shares, and the Python blocks of README.md and docs/*.md as tests.

Hypothesis draws the same examples on every machine. A session has a cache of its own, in which
plans of the lanes are remembered. A page's blocks run as one program, in a fresh folder of their
own.
"""

from __future__ import annotations

import contextlib
import doctest
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from _pytest.doctest import DoctestItem
from hypothesis import settings
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from evolute.lang.registry import BASE_DECAYS, FUNCTIONS, OPERANDS, Registry

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("ci")

_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_STACK = "_leave_folder"


@contextlib.contextmanager
def _own_registries() -> Iterator[None]:
    """Let an example define operations of its own that no other example meets."""
    registries: tuple[Registry[Any], ...] = (OPERANDS, FUNCTIONS, BASE_DECAYS)
    before = [dict(registry) for registry in registries]
    yield
    for registry, rows in zip(registries, before, strict=True):
        registry._rows = rows


@pytest.fixture(autouse=True)
def own_registries_of_a_docstring(request: pytest.FixtureRequest) -> Iterator[None]:
    with _own_registries() if isinstance(request.node, DoctestItem) else contextlib.nullcontext():
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let this session, and the processes that it starts, find each plan once and remember it.

    What the user's machine remembers from before decides nothing here, and a process that finds a
    plan for the user is not waited for.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def _enter_folder(namespace: dict[str, Any]) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(_own_registries())
        stack.enter_context(contextlib.chdir(stack.enter_context(tempfile.TemporaryDirectory())))
        namespace[_STACK] = stack.pop_all()


def _leave_folder(namespace: dict[str, Any]) -> None:
    namespace.pop(_STACK).close()


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=_OPTIONS), SkipParser()],
    patterns=["README.md", "docs/*.md"],
    setup=_enter_folder,
    teardown=_leave_folder,
).pytest()
