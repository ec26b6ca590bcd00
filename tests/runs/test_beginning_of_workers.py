"""Workers begin fast: ahead of need, and without what training does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import evolute
from evolute import discover
from evolute.errors import TaskError
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
