"""Worker processes as their owner sees them: pipes, and a thread that listens to each."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

from evolute.errors import InputError, shorten
from evolute.runs.executors.crowd import Inbox
from evolute.runs.executors.fork_server import is_available
from evolute.runs.executors.forked import ForkedProcess, ForkServer

_IMPORTS = """
import gc, importlib.util, sys
gc.disable()
sys.modules["evolute"] = importlib.util.module_from_spec(importlib.util.find_spec("evolute"))
from evolute.runs.executors.worker import main
gc.freeze()
"""
"""How a worker begins: the package without its public names, which would import searches, databases
and reports; they take a third of the time in which a worker begins. What it imports stays: the
collector of garbage need not look at it, now or later."""

_MAIN = """
gc.enable()
main()
"""

_PROGRAM = _IMPORTS + _MAIN
"""What a worker runs that is an interpreter of its own."""

_SERVER = f"""{_IMPORTS}
from evolute.runs.executors.fork_server import serve
serve(int(sys.argv[1]))
{_MAIN}"""
"""What the fork server runs; in a worker ``serve`` returns."""


@dataclass(frozen=True, slots=True)
class _Started:
    """A process, and the file of what it prints."""

    process: subprocess.Popen[str] | ForkedProcess
    log: IO[bytes]

    @classmethod
    def new(cls, server: ForkServer | None = None) -> _Started:
        """Begin a process; let the server fork it, if there is one.

        Raises
        ------
        InputError
            If the machine has no room for another one.
        """
        with contextlib.ExitStack() as undone:
            try:
                log: IO[bytes] = undone.enter_context(tempfile.TemporaryFile())
                process = _begin(log) if server is None else server.fork(log)
            except OSError as error:
                raise _no_room(error) from None
            undone.pop_all()  # the file is closed with the worker
            return cls(process, log)

    def close(self) -> None:
        """Close its pipes and its file; the process has ended."""
        for pipe in (self.process.stdin, self.process.stdout, self.log):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _begin(log: IO[bytes]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=_environment(),
        start_new_session=True,  # Ctrl-C is for the parent alone
    )


def _has_begun(started: _Started) -> bool:
    process = started.process
    return not isinstance(process, ForkedProcess) or process.has_begun


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def _no_room(reason: object) -> InputError:
    return InputError(
        f"no further worker can begin on this machine: {shorten(str(reason))}; give fewer workers "
        "(--workers), or allow more processes, files and memory (ulimit -u, -n, -v)"
    )


class BegunWorkers:
    """Processes that import what workers need before it is known what they will be told.

    Whoever has them closes them, once or more often, as at the end of a ``with`` block.

    Parameters
    ----------
    count
        How many are begun now.

    Raises
    ------
    InputError
        If the machine has no room for so many; then none is left.
    """

    def __init__(self, count: int = 0) -> None:
        self._idle: list[_Started] = []
        self._server: ForkServer | None = None
        try:
            for _ in range(count):
                self._idle.append(self._new())
        except BaseException:
            self.close()
            raise

    def _new(self) -> _Started:
        """Begin a process, where workers are forked by the server that all of them share."""
        if not is_available():
            return _Started.new()
        if self._server is not None and not self._server.is_alive:
            self._server.close()
            self._server = None
        if self._server is None:
            try:
                self._server = ForkServer([sys.executable, "-c", _SERVER], _environment())
            except OSError as error:
                raise _no_room(error) from None
        return _Started.new(self._server)

    def spawn(self, greeting: str, inbox: Inbox) -> WorkerProcess:
        """Return a worker in one of them; in a new one where none is left."""
        return WorkerProcess(greeting, inbox, self._idle.pop() if self._idle else self._new())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End those that were not needed, and what begins workers."""
        if self._server is not None and not any(_has_begun(each) for each in self._idle):
            self._server.process.kill()  # it may still import what none of them needs any more
        for started in self._idle:
            started.process.kill()
        while self._idle:
            started = self._idle.pop()
            started.process.wait()
            started.close()
        if self._server is not None:
            self._server.close()
            self._server = None


class WorkerProcess:
    """A worker in a process of its own on this machine; see :class:`.crowd.Worker`.

    Parameters
    ----------
    greeting
        The first line that it is told.
    inbox
        Where its messages go, each with the worker itself; the last is None, when it has ended.
    started
        The process, where it has begun.

    Raises
    ------
    InputError
        If the machine has no room for another one.
    """

    def __init__(self, greeting: str, inbox: Inbox, started: _Started | None = None) -> None:
        self._inbox = inbox
        self._started = started or _Started.new()
        self._process = self._started.process
        self._listener = threading.Thread(target=self._listen, daemon=True)
        try:
            self._listener.start()
        except RuntimeError as error:  # no room for another thread
            self._process.kill()
            self._process.wait()
            self._started.close()
            raise _no_room(error) from None
        self.send(greeting)

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
        reason = None
        if isinstance(self._process, ForkedProcess):
            reason = self._process.refusal
        if reason is not None:
            self._inbox.put((self, {"error": str(_no_room(reason))}))
        self._inbox.put((self, None))

    def close(self) -> str:
        """End the process; return how it ended, and the last line that it printed."""
        self._process.kill()
        status = self._process.wait()
        self._listener.join()
        self._started.log.seek(0)
        lines = self._started.log.read().decode(errors="replace").strip().splitlines()
        self._started.close()
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
