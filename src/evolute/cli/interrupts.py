"""An interrupt (Ctrl-C) that is not lost, wherever it falls."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self


class Interrupts:
    """Raises KeyboardInterrupt at once, and again at the next look; used in a ``with`` block.

    Python drops an exception that is raised in a callback of a weak reference or in a finaliser,
    such as those that run by the hundred while a large library is imported: a search would go on
    as if nobody had asked it to stop.
    """

    def __init__(self) -> None:
        self._was_asked = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self._was_asked = True
        raise KeyboardInterrupt

    def look(self) -> None:
        """Raise KeyboardInterrupt if an interrupt came since the block began."""
        if self._was_asked:
            raise KeyboardInterrupt
