"""The command line: one thin file per command, which parses, calls the public API and prints."""

from __future__ import annotations

import gc


def main() -> None:
    """Entry point of the command ``evolute``."""
    # What is imported stays: the collector of garbage would look at it again and again, half a
    # second while it is imported and as much at the end.
    was_on = gc.isenabled()
    gc.disable()
    try:
        from evolute.cli.app import main as run  # not above: the import of torch takes seconds

        gc.freeze()
    finally:
        if was_on:
            gc.enable()
    run()
