"""How a command starts: quickly, and with the collector of garbage at work."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, sys
from evolute.cli import main
sys.argv = ["evolute", "--version"]
try:
    main()
except SystemExit:
    print(gc.isenabled(), gc.get_freeze_count() > 100_000)
"""


def test_the_collector_of_garbage_is_spared_what_a_command_imports() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert said.stdout.splitlines()[-1] == "True True", said.stderr
