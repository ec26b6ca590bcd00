"""One worker process as its owner sees it: pipes, and a thread that listens."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from typing import IO

from evolute.errors import shorten
from evolute.runs.executors.crowd import Inbox


class WorkerProcess:
    """A worker in a process of its own on this machine; see :class:`.crowd.Worker`.

    Parameters
    ----------
    greeting
        The first line that it is told.
    inbox
        Where its messages go, each with the worker itself; the last is None, when it has ended.
    """

    def __init__(self, greeting: str, inbox: Inbox) -> None:
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

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):
                self._inbox.put((self, json.loads(line)))
        self._inbox.put((self, None))

    def close(self) -> str:
        """End the process; return how it ended, and the last line that it printed."""
        self._process.kill()
        status = self._process.wait()
        self._listener.join()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return f"{_ending(status)}: {shorten(lines[-1])}" if lines else _ending(status)


def _ending(status: int) -> str:
    """Say how a process ended.

    >>> _ending(3)
    'exit status 3'
    >>> _ending(-11)
    'SIGSEGV'
    """
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-status).name
        return f"{name}, as when memory runs out" if -status == signal.SIGKILL else name
    return f"signal {-status}"
