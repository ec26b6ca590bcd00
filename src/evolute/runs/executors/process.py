"""One worker process as its owner sees it: pipes, a thread that listens, and what is under way."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import IO, Any

from evolute.errors import shorten


class WorkerProcess:
    """A worker and what it was given; used by one thread.

    Parameters
    ----------
    greeting
        The first line that it is told.
    inbox
        Where its messages go, each with the worker itself; the last is None, when it has ended.
    """

    def __init__(self, greeting: str, inbox: Inbox) -> None:
        self.under_way: list[int] = []
        self.is_alone = False
        self.last_heard = time.monotonic()
        self._inbox = inbox
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the worker)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "evolute.runs.executors.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the parent alone
        )
        self.send(greeting)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def send(self, line: str) -> None:
        """Send one message; to a process that has ended it is lost."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def done(self, ticket: int) -> None:
        """Take note that a ticket is no longer under way."""
        self.under_way.remove(ticket)
        self.is_alone = self.is_alone and bool(self.under_way)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):
                self._inbox.put((self, json.loads(line)))
        self._inbox.put((self, None))

    def close(self) -> str:
        """End the process; return the end of what it printed, or its exit status."""
        self._process.kill()
        status = self._process.wait()
        self._listener.join()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return shorten(lines[-1]) if lines else f"exit status {status}"


Inbox = queue.SimpleQueue[tuple[WorkerProcess, Mapping[str, Any] | None]]
"""Messages of all workers, in the order in which they came."""
