"""Record the picture in README.md: what a real run of the demo prints, as an SVG.

Run it where the demo has been run, and it answers from the store::

    .venv/bin/python docs/record_demo.py docs/images/demo.svg
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMAND = ("evolute", "search", "--task", "digits", "--preset", "quick", "--seed", "0")
WIDTH = 118
REMOTE_FONT = re.compile(r"@font-face {.*?}", re.DOTALL)
"""A page shows the reader's own monospaced font rather than fetch one."""


def main() -> None:
    """Run the command, and write what it prints as a picture of a terminal."""
    target = Path(sys.argv[1])
    program = Path(sys.executable).parent / COMMAND[0]
    ended = subprocess.run(
        [program, *COMMAND[1:]],
        env=os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(WIDTH)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    screen = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    screen.print(Text.from_ansi(f"$ {' '.join(COMMAND)}\n{ended.stdout}"))
    target.parent.mkdir(parents=True, exist_ok=True)
    picture = screen.export_svg(title="evolute")
    target.write_text(REMOTE_FONT.sub("", picture), encoding="utf-8")


if __name__ == "__main__":
    main()
