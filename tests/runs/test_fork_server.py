"""One process imports what workers need and forks them; nothing of it outlives its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evolute.errors import TaskError
from evolute.lang.rule import Rule
from evolute.runs.executors import process
from evolute.runs.executors.base import TrialRequest
from evolute.runs.executors.fork_server import MOST_BYTES, Order, changes, is_available
from evolute.runs.executors.local import LocalExecutor
from evolute.runs.executors.process import BegunWorkers
from evolute.tasks.user import load_task
from evolute.train.equipment import Equipment
from evolute.train.protocol import PROTOCOLS
from evolute.trial import OutcomeKind

forking = pytest.mark.skipif(not is_available(), reason="workers are forked on Linux alone")

REQUESTS = [
    TrialRequest(Rule.parse("g"), PROTOCOLS["quick"].main.at_rate(rate), 0) for rate in (0.1, 0.2)
]
LOOP = Equipment(plan="loop", lanes=1)


def test_an_order_makes_the_environment_of_its_owner(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EVOLUTE_GONE", "1")
    monkeypatch.setenv("EVOLUTE_KEPT", "2")
    monkeypatch.chdir(tmp_path)
    now = {**os.environ, "EVOLUTE_NEW": "3"}
    del now["EVOLUTE_GONE"]
    found = changes(os.environ, now)
    assert found == {"EVOLUTE_NEW": "3", "EVOLUTE_GONE": None}
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.setenv("EVOLUTE_NEW", "")  # put back at the end
    Order.decode(Order(str(folder), found).encode()).obey()
    assert Path.cwd() == folder
    assert (os.environ.get("EVOLUTE_GONE"), os.environ["EVOLUTE_NEW"]) == (None, "3")
    with pytest.raises(OSError, match="more than fits"):
        Order("", {"EVOLUTE_LONG": "x" * MOST_BYTES}).encode()


def is_gone(pid: int) -> bool:
    """Wait until a process has ended; a zombie, which its new parent has yet to collect, has."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def leads_its_session(pid: int) -> bool:
    """Wait until a process has left the session of its parent."""
    deadline = time.monotonic() + 20
    while os.getsid(pid) != pid and time.monotonic() < deadline:
        time.sleep(0.02)
    return os.getsid(pid) == pid


@pytest.fixture
def begun() -> Iterator[BegunWorkers]:
    workers = BegunWorkers(2)
    yield workers
    workers.close()


@forking
def test_workers_are_forked_by_one_process_with_one_thread_that_has_touched_no_gpu() -> None:
    ends = """
import os
torch = sys.modules["torch"]
assert not torch.cuda.is_initialized() and not torch.cuda._is_in_bad_fork()
assert len(os.listdir("/proc/self/task")) == 1
assert "triton" not in sys.modules
"""
    ran = subprocess.run(
        [sys.executable, "-c", process._IMPORTS + ends],
        env=process._environment(),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr


@forking
def test_all_workers_are_children_of_one_server_and_none_is_left_with_it(
    begun: BegunWorkers,
) -> None:
    server = begun._server
    assert server is not None
    workers = [each.process.pid for each in begun._idle]
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    assert sorted(map(int, children.split())) == sorted(workers)
    assert all(map(leads_its_session, workers))  # Ctrl-C is for their owner alone
    begun.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in (*workers, server.process.pid))


@forking
def test_a_worker_has_the_folder_and_the_variables_of_its_owner_as_they_are_when_it_begins(
    begun: BegunWorkers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("""
import os
from pathlib import Path
from evolute.tasks.digits import digits

def build():
    Path("said").write_text(os.environ["EVOLUTE_SAID"] + os.environ["OMP_NUM_THREADS"])
    return digits()
""")
    _ = [each.process.pid for each in begun._idle]  # the server has begun with another environment
    monkeypatch.setenv("EVOLUTE_SAID", "now ")
    monkeypatch.chdir(tmp_path)
    while begun._idle:  # they have begun with the variables of then
        idle = begun._idle.pop()
        idle.process.kill()
        idle.process.wait()
        idle.close()
    with LocalExecutor(
        "mine.py:build", load_task("digits"), workers=1, equipment=LOOP, begun=begun
    ) as executor:
        ((_, trial),) = executor.run(REQUESTS[:1])
    assert trial.outcome.kind is OutcomeKind.FINISHED
    assert (tmp_path / "said").read_text() == "now 1"


@forking
def test_a_server_that_is_killed_takes_its_workers_along_and_another_one_goes_on(
    begun: BegunWorkers,
) -> None:
    with LocalExecutor(
        "digits", load_task("digits"), workers=1, equipment=LOOP, begun=begun
    ) as executor:
        first = list(executor.run(REQUESTS[:1]))
        (place,) = executor._places
        assert place.worker is not None
        worker = place.worker._process.pid  # type: ignore[attr-defined]
        server = begun._server
        assert server is not None
        server.process.kill()
        assert is_gone(worker)
        again = list(executor.run(REQUESTS))
        assert begun._server is not server
    assert [trial.outcome.kind for _, trial in first + again] == [OutcomeKind.FINISHED] * 3


@forking
def test_where_the_owner_is_killed_neither_server_nor_workers_are_left(tmp_path: Path) -> None:
    program = """
import sys, time
from evolute.runs.executors.process import BegunWorkers
begun = BegunWorkers(2)
print(begun._server.process.pid, *[each.process.pid for each in begun._idle], flush=True)
time.sleep(600)
"""
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner, owner.stdout:
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        owner.send_signal(signal.SIGKILL)
    assert len(pids) == 3
    assert all(map(is_gone, pids))


@forking
def test_where_the_server_cannot_fork_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    refuses = """
import errno, os
def fork():
    raise OSError(errno.EAGAIN, "no processes left")
os.fork = fork
serve("""
    monkeypatch.setattr(process, "_SERVER", process._SERVER.replace("serve(", refuses, 1))
    said = _said_in_one_line(lambda: LocalExecutor("digits", load_task("digits"), workers=2))
    assert "no further worker can begin" in said
    assert "no processes left" in said
    assert "give fewer workers" in said


@forking
def test_where_the_server_cannot_import_torch_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "_SERVER", "raise MemoryError('no room for torch')")
    said = _said_in_one_line(lambda: LocalExecutor("digits", load_task("digits"), workers=2))
    assert "no room for torch" in said


def _said_in_one_line(begin: Callable[[], LocalExecutor]) -> str:
    with begin() as executor, pytest.raises(TaskError) as caught:
        list(executor.run(REQUESTS))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_where_workers_are_not_forked_each_is_an_interpreter_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "is_available", lambda: False)
    begun = BegunWorkers(1)
    (idle,) = begun._idle
    assert isinstance(idle.process, subprocess.Popen)
    assert begun._server is None
    with LocalExecutor(
        "digits", load_task("digits"), workers=1, equipment=LOOP, begun=begun
    ) as executor:
        ((_, trial),) = executor.run(REQUESTS[:1])
    assert trial.outcome.kind is OutcomeKind.FINISHED
    assert not Path(f"/proc/{idle.process.pid}").exists()
