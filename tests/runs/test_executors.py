"""What executors of this machine do beside the contract, and the messages to their workers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import build

from evolute.errors import TaskError
from evolute.runs.executors.in_process import InProcessExecutor
from evolute.runs.executors.local import LocalExecutor
from evolute.runs.executors.messages import decode_request, encode_request
from evolute.tasks.user import load_task
from evolute.testing.executor_contract import RULES, example_requests, write_task
from evolute.train.equipment import Equipment
from evolute.train.population import Population


def test_once_told_to_stop_no_further_trial_begins() -> None:
    answered: list[int] = []
    executor = InProcessExecutor(build(), equipment=Equipment(lanes=1))
    for index, _ in executor.run(example_requests(), stop=lambda: len(answered) >= 2):
        answered.append(index)
    assert answered == [0, 1]


def test_closing_ends_workers_in_the_middle_of_a_trial(tmp_path: Path) -> None:
    started = tmp_path / "pid"
    body = f"open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    task = write_task(tmp_path, innocent=body)
    # The plan is named, so that no worker looks for one in the middle.
    executor = LocalExecutor(task, load_task(task), workers=1, equipment=Equipment(plan="loop"))
    requests = example_requests(RULES[0])
    served = threading.Thread(target=lambda: list(executor.run(requests)), daemon=True)
    served.start()
    wait_until(lambda: started.exists() and started.read_text() != "")
    executor.close()
    served.join(timeout=20)
    assert not served.is_alive()
    assert not Path(f"/proc/{started.read_text()}").exists()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_messages_hold_nothing_but_json() -> None:
    (request,) = example_requests(RULES[0])
    line = encode_request(7, request, timeout_seconds=3.0)
    assert decode_request(json.loads(line)) == (7, request, 3.0)
    assert line.count("\n") == 1


def test_an_error_that_nobody_foresaw_is_one_line_about_the_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_population: Population) -> None:
        raise RuntimeError("lanes of no size\nat all")

    monkeypatch.setattr(Population, "step", fail)
    with (
        InProcessExecutor(build()) as executor,
        pytest.raises(TaskError, match=r"its training raised RuntimeError: .*'plan'") as caught,
    ):
        list(executor.run(example_requests()))
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)
