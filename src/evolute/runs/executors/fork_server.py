"""The fork server: a process that has imported what workers need, and makes them by forking.

Importing torch takes a worker a second of a core. A fresh interpreter does that once, with one
thread and before anything of the user's or of a GPU is touched, and every worker, those that take
the place of lost ones included, is a copy of it. Only where the system is Linux; elsewhere each
worker is an interpreter of its own.

Each worker has a channel between its owner and the server: the server says the worker's number,
and once the owner asks for its end, or is gone, kills it, collects it and says how it ended. Only
then can the number be another's. A worker is killed by the system when the server dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MOST_BYTES = 65_536
"""Longest message; environments are sent as far as they have changed."""

REFUSED = "refused"
"""What the server says, with a reason, where a worker cannot begin."""

FILES = 4
"""What comes with an order: the worker's channel, and its input, output and errors."""

PR_SET_PDEATHSIG = 1
"""Of ``prctl(2)``: the signal that a process gets when its parent ends."""


def is_available() -> bool:
    """Say whether workers can be forked here."""
    return sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker begins with.

    Parameters
    ----------
    folder
        Where it works.
    environment
        Variables that the server has not, or with other values; None: the worker has it not.
    """

    folder: str
    environment: Mapping[str, str | None]

    def encode(self) -> bytes:
        """Write it as one message.

        Raises
        ------
        OSError
            If it is too long for one.
        """
        data = json.dumps({"folder": self.folder, "environment": dict(self.environment)}).encode()
        if len(data) > MOST_BYTES:
            raise OSError("the environment has changed by more than fits into a message")
        return data

    @classmethod
    def decode(cls, data: bytes) -> Order:
        """Read what :meth:`encode` wrote."""
        return cls(**json.loads(data))

    def obey(self) -> None:
        """Make folder and environment of this process those of the order."""
        for name, value in self.environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        with contextlib.suppress(
            OSError
        ):  # it was removed: so it is for an interpreter begun there
            os.chdir(self.folder)


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str | None]:
    """Return what makes of an environment another one.

    >>> changes({"A": "1", "B": "2"}, {"A": "1", "C": "3"})
    {'C': '3', 'B': None}
    """
    new = {name: value for name, value in now.items() if before.get(name) != value}
    return new | dict.fromkeys(name for name in before if name not in now)


def serve(number: int) -> None:
    """Fork a worker for each order; return in a worker, where its owner's pipes are in place.

    In the server this does not return: it ends with the owner.

    Parameters
    ----------
    number
        File descriptor of the socket on which orders come.
    """
    orders = socket.socket(fileno=number)
    workers: dict[socket.socket, int] = {}
    while True:
        for ready in select.select([orders, *workers], [], [])[0]:
            if ready is not orders:
                _end(ready, workers.pop(ready))
                continue
            data, files, _, _ = socket.recv_fds(orders, MOST_BYTES, FILES)
            if not data:
                for channel, worker in workers.items():
                    _end(channel, worker)
                os._exit(0)
            if len(files) < FILES:  # as many are open as may be: the owner finds its channel closed
                _close(files)
                continue
            channel = socket.socket(fileno=files[0])
            forked = _fork(channel)
            if forked == 0:
                for each in (orders, channel, *workers):
                    each.close()
                _become_worker(Order.decode(data), files[1:])
                return
            if forked is not None:
                workers[channel] = forked
            _close(files[1:])


def _close(files: Iterable[int]) -> None:
    for file in files:
        os.close(file)


def _fork(channel: socket.socket) -> int | None:
    """Fork; tell the owner the worker's number, or why there is none."""
    server = os.getpid()
    try:
        worker = os.fork()
    except OSError as error:
        _say(channel, f"{REFUSED} {error}")
        channel.close()
        return None
    if worker:
        _say(channel, str(worker))
        return worker
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # it died before the system was told
        os._exit(1)
    return 0


def _become_worker(order: Order, files: list[int]) -> None:
    """Put the owner's pipes where an interpreter has them."""
    os.setsid()  # Ctrl-C is for the owner alone
    for standard, file in enumerate(files):
        os.dup2(file, standard)
        os.close(file)
    order.obey()


def _end(channel: socket.socket, worker: int) -> None:
    """Kill a worker, which may have ended, and say how it ended."""
    os.kill(worker, signal.SIGKILL)
    _, status = os.waitpid(worker, 0)
    _say(channel, str(os.waitstatus_to_exitcode(status)))
    channel.close()


def _say(channel: socket.socket, text: str) -> None:
    with contextlib.suppress(OSError):  # the owner is gone
        channel.send(text.encode())
