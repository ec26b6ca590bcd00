"""The command line: one thin file per command, which parses, calls the public API and prints."""

from __future__ import annotations

import gc


def main() -> None:
    """Entry point of the command ``evolute``."""
    # What is imported stays: the collector of garbage would look at it again and again, half a
    # second while it is imported and as much at the end.
    gc.disable()
    from evolute.cli.app import main as run  # torch takes seconds to import: not for mere imports

    gc.freeze()
    gc.enable()
    run()
