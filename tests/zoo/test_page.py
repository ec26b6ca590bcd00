"""The page on the zoo says what the entries say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
sys.path.insert(0, "docs")
from build_zoo_page import PAGE, build
page = PAGE.read_text(encoding="utf-8")
sys.exit(0 if build(page) == page else "run 'python docs/build_zoo_page.py' and commit it")
"""


def test_the_tables_of_the_page_are_those_of_the_entries() -> None:
    # In a process of its own: other tests add rows to the registries of this one.
    ran = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
