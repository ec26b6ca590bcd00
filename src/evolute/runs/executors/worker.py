"""A worker process of the local executor: ``python -m evolute.runs.executors.worker``.

Reads messages on standard input and answers on standard output (:mod:`.messages`). What the user's
task prints goes to standard error, so that it cannot be taken for an answer. The process ends when
its input closes, in the middle of a trial too: then the process that owned it is gone.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from typing import Any, TextIO

from evolute.errors import EvoluteError
from evolute.runs.executors.messages import decode_request, encode
from evolute.tasks.base import Task
from evolute.tasks.user import load_task
from evolute.train.trainer import run_trial


def main() -> None:
    """Answer messages until standard input closes."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin, messages), daemon=True).start()
    task: Task | None = None
    while True:
        message = messages.get()
        try:
            if task is None:
                task = load_task(message["task"])
                answer: dict[str, Any] = {"ready": task.name}
            else:
                request, timeout_seconds = decode_request(message)
                trial = run_trial(
                    request.rule,
                    task,
                    request.protocol,
                    seed=request.seed,
                    timeout_seconds=timeout_seconds,
                )
                answer = {"trial": trial.to_dict()}
        except EvoluteError as error:
            answer = {"error": str(error)}
        answers.write(encode(answer))


def _read(source: TextIO, messages: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Pass each line on; at the end of the input end the process, whatever it is doing."""
    for line in source:
        messages.put(json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    main()
