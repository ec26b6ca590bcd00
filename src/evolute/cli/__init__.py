"""The command line: one thin file per command, which parses, calls the public API and prints."""

from __future__ import annotations


def main() -> None:
    """Entry point of the command ``evolute``."""
    from evolute.cli.app import main as run  # torch takes seconds to import: not for mere imports

    run()
