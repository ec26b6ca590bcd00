"""Workers begin fast: ahead of need, and without what training does not need."""

from __future__ import annotations

import errno
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest

import evolute
from evolute import discover
from evolute.errors import InputError, TaskError
from evolute.presets import resolve
from evolute.runs.executors import process
from evolute.runs.executors.base import TrialRequest
from evolute.runs.executors.local import LocalExecutor
from evolute.runs.executors.make import begin_workers
from evolute.runs.executors.process import BegunWorkers
from evolute.tasks.user import load_task
from evolute.train.equipment import Equipment
from evolute.train.protocol import PROTOCOLS
from evolute.trial import OutcomeKind

USES_THE_PACKAGE = """
import evolute
from evolute.tasks.digits import digits

assert callable(evolute.search) and callable(evolute.report) and callable(evolute.bench)

def build():
    return digits()
"""

AT_RATE = PROTOCOLS["quick"].main.at_rate(0.1)


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_worker_imports_no_database_no_search_and_no_statistics() -> None:
    unneeded = {"sqlalchemy", "scipy", "evolute.discover", "evolute.search.base", "evolute.report"}
    program = process._PROGRAM.replace("main()", f"assert not {unneeded!r} & set(sys.modules)")
    assert "set(sys.modules)" in program
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_a_worker_spares_the_collector_what_it_imported_and_collects_the_rest() -> None:
    ends = "assert gc.isenabled() and gc.get_freeze_count() > 10_000"
    program = process._PROGRAM.replace("\nmain()", f"\n{ends}")
    assert ends in program
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_a_task_of_the_user_finds_all_of_the_package_in_a_worker(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(USES_THE_PACKAGE)
    task = f"{file}:build"
    request = TrialRequest(evolute.Rule.parse("g"), AT_RATE, 0)
    with LocalExecutor(
        task, load_task(task), workers=1, equipment=Equipment(plan="loop", lanes=1)
    ) as executor:
        ((_, trial),) = executor.run([request])
    assert trial.outcome.kind is OutcomeKind.FINISHED


def test_processes_begun_ahead_are_those_that_train_and_no_others_are_left() -> None:
    begun = BegunWorkers(2)
    pids = [each.process.pid for each in begun._idle]
    request = TrialRequest(evolute.Rule.parse("g"), AT_RATE, 0)
    with LocalExecutor(
        "digits", load_task("digits"), workers=1, equipment=Equipment(plan="loop"), begun=begun
    ) as executor:
        ((_, trial),) = executor.run([request])
        (place,) = executor._places
        assert place.worker is not None
        assert place.worker._process.pid in pids  # type: ignore[attr-defined]
    assert trial.outcome.kind is OutcomeKind.FINISHED
    assert not any(map(is_alive, pids))


def test_workers_begin_before_the_plan_is_chosen_and_end_where_none_can_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[int] = []

    def none_serves(*_: object, **__: object) -> Equipment:
        begun.extend(each.process.pid for each in started[0]._idle)
        raise TaskError("no plan")

    def begin(*args: object, **named: object) -> BegunWorkers:
        started.append(begin_workers(*args, **named))  # type: ignore[arg-type]
        return started[0]

    started: list[BegunWorkers] = []
    monkeypatch.setattr(discover, "choose_plans", none_serves)
    monkeypatch.setattr(discover, "begin_workers", begin)
    settings = resolve("quick", {"task": "digits"})
    with pytest.raises(TaskError, match="no plan"):
        discover.open_executor("digits", load_task("digits"), settings=settings, workers=2)
    assert len(begun) == 2
    assert not any(map(is_alive, begun))


@pytest.mark.parametrize(("workers", "where"), [(0, "local"), (2, "ray"), (2, "elsewhere")])
def test_no_process_begins_for_what_is_refused_or_trained_elsewhere(
    workers: int, where: str
) -> None:
    assert begin_workers("digits", workers=workers, where=where)._idle == []
    assert begin_workers(load_task("digits"), workers=2)._idle == []


class NoRoomForThree:
    """Begins two processes, and then refuses as a full machine does."""

    def __init__(self, error: OSError) -> None:
        self.error = error
        self.begun: list[subprocess.Popen[str]] = []
        self.logs: list[IO[bytes]] = []

    def begin(self, log: IO[bytes], begin: Callable[..., subprocess.Popen[str]]) -> Any:
        self.logs.append(log)
        if len(self.begun) == 2:
            raise self.error
        self.begun.append(begin())
        return self.begun[-1]


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_where_a_third_worker_cannot_begin_none_is_left_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    machine = NoRoomForThree(OSError(number, os.strerror(number)))
    popen = subprocess.Popen

    def begin(*args: Any, stderr: IO[bytes], **named: Any) -> Any:
        return machine.begin(stderr, partial(popen, *args, stderr=stderr, **named))

    monkeypatch.setattr(process, "is_available", lambda: False)
    monkeypatch.setattr(subprocess, "Popen", begin)
    with pytest.raises(InputError, match="no further worker can begin") as caught:
        begin_workers("digits", workers=3)
    assert os.strerror(number) in str(caught.value)
    assert "give fewer workers" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(machine.begun) == 2
    assert not any(is_alive(each.pid) for each in machine.begun)
    assert [log.closed for log in machine.logs] == [True] * 3


def test_where_no_thread_can_listen_to_a_worker_it_is_not_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    begun = BegunWorkers(1)
    (idle,) = begun._idle
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(InputError, match="can't start new thread; give fewer workers"):
        begun.spawn("{}\n", queue.SimpleQueue())
    begun.close()
    assert not is_alive(idle.process.pid)
    assert idle.log.closed
