"""Forked workers as their owner sees them: like processes that it has begun itself.

The other side is :mod:`.fork_server`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import IO, TextIO

from evolute.errors import shorten
from evolute.runs.executors.fork_server import MOST_BYTES, REFUSED, Order, changes


class ForkServer:
    """A process that forks workers; used by one thread.

    Parameters
    ----------
    command
        What it runs; the number of its socket's file descriptor is added.
    environment
        Variables of the process, and of its workers until others are set here.

    Raises
    ------
    OSError
        If the machine has no room for it.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._environment = environment
        self._added = changes(os.environ, environment)
        with contextlib.ExitStack() as undone:
            self.log: IO[bytes] = undone.enter_context(tempfile.TemporaryFile())
            self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undone.enter_context(self._orders)
            with theirs:
                self.process = subprocess.Popen(
                    [*command, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=self.log,
                    stderr=self.log,
                    env=environment,
                    start_new_session=True,  # Ctrl-C is for the owner alone
                )
            undone.pop_all()

    @property
    def is_alive(self) -> bool:
        """Whether it can still fork."""
        return self.process.poll() is None

    def fork(self, log: IO[bytes]) -> ForkedProcess:
        """Order a worker; it begins once the server has imported what it needs.

        Parameters
        ----------
        log
            Where its errors go.

        Raises
        ------
        OSError
            If there is no room for its pipes, or the server has ended.
        """
        now = {**os.environ, **{name: value for name, value in self._added.items() if value}}
        order = Order(_folder(), changes(self._environment, now)).encode()
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as undone:
            channel, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undone.enter_context(channel)
            theirs.enter_context(far)
            reads, stdin = os.pipe()
            theirs.callback(os.close, reads)
            undone.callback(os.close, stdin)
            stdout, writes = os.pipe()
            theirs.callback(os.close, writes)
            undone.callback(os.close, stdout)
            files = [far.fileno(), reads, writes, log.fileno()]
            socket.send_fds(self._orders, [order], files)
            undone.pop_all()
        return ForkedProcess(self, channel, os.fdopen(stdin, "w"), os.fdopen(stdout))

    def close(self) -> None:
        """End it; workers that are left end with it."""
        self.process.kill()
        self.process.wait()
        self._orders.close()
        self.log.close()

    def last_words(self) -> str:
        """Say why it ended, as far as it printed that."""
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return shorten(lines[-1]) if lines else "what begins workers has ended"


class ForkedProcess:
    """A worker that the server forks; it has the methods of :class:`subprocess.Popen` used here.

    Parameters
    ----------
    server
        Who forks it.
    channel
        On which the server says its number, and how it ended.
    stdin, stdout
        Its pipes.
    """

    def __init__(
        self, server: ForkServer, channel: socket.socket, stdin: TextIO, stdout: TextIO
    ) -> None:
        self.stdin, self.stdout = stdin, stdout
        self._server, self._channel = server, channel
        self._lock = threading.Lock()
        self._said: list[str] = []

    @property
    def pid(self) -> int:
        """Its number; waits until it has begun."""
        return int(self._hear(1))

    @property
    def has_begun(self) -> bool:
        """Whether the server has taken up the order for it; asked by one thread."""
        return bool(self._said) or bool(select.select([self._channel], [], [], 0)[0])

    @property
    def refusal(self) -> str | None:
        """Why it could not begin; None if it did. Waits until that is known."""
        first = self._hear(1)
        if first.startswith(REFUSED):
            return first.removeprefix(REFUSED).strip()
        return None if first else self._server.last_words()

    def kill(self) -> None:
        """Let it be killed; one that has not begun never will, or ends at once."""
        with contextlib.suppress(OSError):  # the server is gone, and so is the worker
            self._channel.shutdown(socket.SHUT_WR)

    def wait(self) -> int:
        """Wait until it has been killed; return its exit status, negative for a signal."""
        first = self._hear(1)
        begun = bool(first) and not first.startswith(REFUSED)
        status = self._hear(2) if begun else "1"
        self._channel.close()
        return int(status) if status else -signal.SIGKILL  # it died with the server

    def _hear(self, count: int) -> str:
        """Return what the server said as this message; nothing if it is gone."""
        with self._lock:
            while len(self._said) < count:
                try:
                    data = self._channel.recv(MOST_BYTES)
                except OSError:
                    data = b""
                self._said.append(data.decode())
            return self._said[count - 1]


def _folder() -> str:
    """Return the folder of this process; nothing if it was removed."""
    try:
        return str(Path.cwd())
    except OSError:
        return ""
