"""What every test shares, and the Python blocks of README.md and docs/*.md as tests.

Hypothesis draws the same examples on every machine. A page's blocks run as one program, in a fresh
folder of their own.
"""

from __future__ import annotations

import contextlib
import doctest
import tempfile
from typing import Any

from hypothesis import settings
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("ci")

_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_STACK = "_leave_folder"


def _enter_folder(namespace: dict[str, Any]) -> None:
    with contextlib.ExitStack() as stack:
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
