"""Display: what is drawn while work goes on; where there is no terminal, a line now and then."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol, Self, TypeVar

from rich.console import Console
from rich.text import Text

from evolute.cli.interrupts import Interrupts
from evolute.store.address import shown

SECONDS_BETWEEN_LINES = 15.0


class Drawing(Protocol):
    """What rich draws anew again and again, once it is started."""

    def start(self) -> None:
        """Begin to draw."""

    def stop(self) -> None:
        """Draw no more."""


class Display:
    """Shows how work goes, and loses no interrupt meanwhile; used in a ``with`` block.

    Parameters
    ----------
    console
        Where to draw, usually standard error so that standard output holds results alone.
    drawing
        What is drawn there if it is a terminal.
    first_line_after
        Seconds before the first line where it is none.
    """

    def __init__(
        self, console: Console, drawing: Drawing, *, first_line_after: float = 0.0
    ) -> None:
        self._console = console
        self._drawing = drawing
        self._next_line = time.monotonic() + first_line_after
        self._interrupts = Interrupts()

    def __enter__(self) -> Self:
        self._interrupts.__enter__()
        if self._console.is_terminal:
            self._drawing.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._interrupts.__exit__(*error)
        if self._console.is_terminal:
            self._drawing.stop()

    def show(self, draw: Callable[[], None], line: Callable[[], str]) -> None:
        """Draw on a terminal; elsewhere print a line if the last one is long ago.

        Raises
        ------
        KeyboardInterrupt
            If an interrupt came since the block began.
        """
        self._interrupts.look()
        if self._console.is_terminal:
            draw()
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            self._console.print(Text(line()), soft_wrap=True)


Drawn = TypeVar("Drawn", bound=Display)


@contextlib.contextmanager
def resumable(display: Callable[[Console], Drawn], store: str) -> Iterator[Drawn]:
    """Show work that the same command resumes; after an interrupt say so.

    What a task or a library prints meanwhile goes to standard error: it is no part of the answer.

    Parameters
    ----------
    display
        Makes the display, on a console that draws on standard error.
    store
        The store as it was typed; an address is repeated without its password.
    """
    errors = Console(stderr=True)
    try:
        with display(errors) as drawn, contextlib.redirect_stdout(sys.stderr):
            yield drawn
    except KeyboardInterrupt:
        typed = [each.replace(store, shown(store)) for each in sys.argv[1:]]
        again = shlex.join(["evolute", *typed])
        errors.print(Text("\nStopped; every finished trial is stored."), end=" ")
        errors.print(Text(f"To resume: {again}"), soft_wrap=True)  # whole, to be copied
        raise
