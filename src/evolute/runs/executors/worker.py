"""A worker process of the local executor, as :mod:`.process` begins it.

Reads messages on standard input and answers on standard output (:mod:`.messages`). Between two
steps of its lanes it takes in what came, so the lanes stay full. What the user's task prints goes
to standard error, so that it cannot be taken for an answer. The process ends when its input closes,
in the middle of a trial too: then the process that owned it is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn, TextIO

from evolute.errors import EvoluteError
from evolute.lanes.memory import keep_freed_memory
from evolute.runs.executors.messages import decode_request, encode
from evolute.tasks.user import load_task
from evolute.train.environment import fixed_environment
from evolute.train.equipment import Equipment
from evolute.train.trainers import Trainer, make_trainer

SECONDS_BETWEEN_SIGNS = 0.2
"""How often a busy worker says that it is alive."""

Messages = queue.SimpleQueue[dict[str, Any]]


def main() -> None:
    """Answer messages until standard input closes; an error that nobody foresaw ends the process.

    At once, as ``os._exit`` does: while an interpreter shuts down, its owner finds the pipes closed
    and kills it, and would then take the kill for the cause.
    """
    try:
        _answer()
    except SystemExit as ended:
        said = isinstance(ended.code, str)
        _leave(1 if said else int(ended.code or 0), str(ended.code) if said else None)
    except BaseException:  # noqa: BLE001 - whatever it is, it ends the process
        _leave(1, traceback.format_exc())


def _leave(status: int, last_words: str | None) -> NoReturn:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()  # before the last words, which the owner reads
        if last_words:
            print(last_words, file=sys.stderr, flush=True)
    os._exit(status & 0xFF)


def _answer() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    messages: Messages = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin, messages), daemon=True).start()
    keep_freed_memory()
    try:
        first = messages.get()
        if ":" in first["task"]:  # a program of the user's, which may use all of the package
            complete_package()
        task = load_task(first["task"])
        trainer = make_trainer(task, Equipment.from_dict(first["equipment"]))
        answers.write(encode({"ready": task.name}))
        with fixed_environment():
            for answer in _serve(trainer, messages):
                answers.write(encode(answer))
    except EvoluteError as error:
        answers.write(encode({"error": str(error)}))
    answers.flush()
    threading.Event().wait()  # until the input closes: the owner reads the error first


def complete_package() -> None:
    """Import the public names of ``evolute``, where this process began without them."""
    package = sys.modules["evolute"]
    spec = package.__spec__
    if not hasattr(package, "RuleOptimizer") and spec is not None and spec.loader is not None:
        spec.loader.exec_module(package)


def _serve(trainer: Trainer, messages: Messages) -> Iterator[dict[str, Any]]:
    """Yield the answers to messages, for ever."""
    said = time.monotonic()
    while True:
        while not trainer.busy or not messages.empty():
            yield from _take(trainer, messages.get())
        yield from ({"ended": at, "trial": trial.to_dict()} for at, trial in trainer.step())
        if time.monotonic() - said > SECONDS_BETWEEN_SIGNS:
            said = time.monotonic()
            yield {"alive": True}


def _take(trainer: Trainer, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Do what a message says."""
    if "cancel" in message:
        yield {"cancelled": trainer.drop_waiting()}
    else:
        ticket, request, limit = decode_request(message)
        trainer.add(
            ticket, request.rule, request.protocol, seed=request.seed, timeout_seconds=limit
        )


def _read(source: TextIO, messages: Messages) -> None:
    """Pass each line on; at the end of the input end the process, whatever it is doing."""
    for line in source:
        messages.put(json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    main()
