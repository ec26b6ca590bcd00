"""Executors: the same trials from this process and from workers; crashes and hangs contained."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import TINY_CONFIG, TINY_TASK, build

from evolute.errors import TaskError
from evolute.lang.rule import Rule
from evolute.presets import resolve
from evolute.runs.executors.base import Executor, TrialRequest
from evolute.runs.executors.in_process import InProcessExecutor
from evolute.runs.executors.local import LocalExecutor
from evolute.runs.executors.messages import decode_request, encode_request
from evolute.tasks.user import load_task
from evolute.train.equipment import Equipment
from evolute.trial import OutcomeKind, Provenance, Trial

RULES = ["momentum: g", "none: sign_v", "nesterov: [a3]*v/(sqrt(s)+1e-08)", "none: dropout(g, 0.5)"]


LOOP = Equipment(plan="loop")
"""Named, so that no time limit of a worker is spent on finding a plan beside busy processes."""

TRAINED = (OutcomeKind.FINISHED, OutcomeKind.BELOW_THRESHOLD)
"""Endings of an undisturbed trial on data that is noise."""


def requests(count: int = 4) -> list[TrialRequest]:
    protocol = resolve("quick", TINY_CONFIG, {"task": "tiny"}).main
    rules = [Rule.parse(RULES[at % len(RULES)]) for at in range(count)]
    return [TrialRequest(rule, protocol, at // len(RULES)) for at, rule in enumerate(rules)]


def figures(executor: Executor, asked: list[TrialRequest]) -> list[Trial]:
    """Return the trials in the order of the requests, without what is no part of the result."""
    answers = dict(executor.run(asked))
    return [replace(answers[at], provenance=Provenance(0.0)) for at in range(len(asked))]


def test_workers_give_the_same_trials_as_this_process() -> None:
    asked = requests(6)
    here = figures(InProcessExecutor(build()), asked)
    for workers in (1, 2):
        with LocalExecutor(TINY_TASK, load_task(TINY_TASK), workers=workers) as executor:
            assert figures(executor, asked) == here
    assert OutcomeKind.FINISHED in {trial.outcome.kind for trial in here}


def test_once_told_to_stop_no_further_trial_begins() -> None:
    answered: list[int] = []
    executor = InProcessExecutor(build(), equipment=Equipment(lanes=1))
    for index, _ in executor.run(requests(4), stop=lambda: len(answered) >= 2):
        answered.append(index)
    assert answered == [0, 1]


def hostile_task(folder: Path, body: str) -> str:
    """Write a task file whose model runs ``body`` each time it is built in a worker."""
    (folder / "hostile.py").write_text(
        "import os, time, torch\n"
        "from torch import nn\n"
        "from evolute.tasks.base import Task\n"
        "def model():\n"
        f"    if os.getpid() != {os.getpid()}:\n"
        f"        {body}\n"
        "    return nn.Linear(4, 3)\n"
        "def build():\n"
        "    data = torch.randn(40, 4), torch.randint(3, (40,))\n"
        "    return Task(name='hostile', version='1', model=model, train=data, validation=data,\n"
        "                test=data, metric='accuracy')\n"
    )
    return f"{folder / 'hostile.py'}:build"


def test_a_trial_that_kills_its_worker_ends_as_crashed_and_the_rest_go_on(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    task = hostile_task(tmp_path, f"if not os.path.exists({str(marker)!r}): os._exit(3)")
    with LocalExecutor(task, load_task(task), workers=1, equipment=LOOP) as executor:
        answers = executor.run(requests(2))
        _, first = next(answers)
        marker.touch()
        _, second = next(answers)
    assert first.outcome.kind is OutcomeKind.CRASHED
    assert "exit status 3" in first.outcome.sentence
    assert first.score is None
    assert second.outcome.kind in TRAINED


def guilty_task(folder: Path, body: str) -> str:
    """Write a task whose loss runs ``body`` in a worker while the weights are as a rule left them.

    The rule ``1`` moves all weights alike: after a few steps at a large rate they are far from 0.
    """
    (folder / "guilty.py").write_text(
        "import os, time, torch\n"
        "from torch import nn\n"
        "from evolute.tasks.base import Task\n"
        "def loss(output, target):\n"
        f"    if os.getpid() != {os.getpid()} and output.detach().abs().max() > 1e3:\n"
        f"        {body}\n"
        "    return nn.functional.cross_entropy(output, target)\n"
        "def build():\n"
        "    generator = torch.Generator().manual_seed(0)\n"
        "    data = (torch.randn(40, 4, generator=generator),\n"
        "            torch.randint(3, (40,), generator=generator))\n"
        "    return Task(name='guilty', version='1', model=lambda: nn.Linear(4, 3), train=data,\n"
        "                validation=data, test=data, loss=loss, metric='accuracy')\n"
    )
    return f"{folder / 'guilty.py'}:build"


@pytest.mark.parametrize(
    ("body", "kind"),
    [("os._exit(3)", OutcomeKind.CRASHED), ("time.sleep(600)", OutcomeKind.TIMED_OUT)],
)
def test_of_many_trials_under_way_only_the_guilty_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, kind: OutcomeKind
) -> None:
    monkeypatch.setattr("evolute.runs.executors.local.GRACE_SECONDS", 1.0)
    task = guilty_task(tmp_path, body)
    loaded = load_task(task)
    protocol = resolve("quick", TINY_CONFIG, {"task": "tiny"}).main.at_rate(0.1)
    texts = ["g", "100000*sign(g)", "v"]
    asked = [TrialRequest(Rule.parse(text), protocol, 0) for text in texts]
    with LocalExecutor(task, loaded, workers=1, equipment=LOOP, timeout_seconds=9.0) as executor:
        trials = figures(executor, asked)
    assert [trial.outcome.kind for trial in trials] == [
        OutcomeKind.FINISHED,
        kind,
        OutcomeKind.FINISHED,
    ]
    assert trials[::2] == figures(InProcessExecutor(loaded, equipment=LOOP), asked[::2])


def test_a_worker_that_hangs_is_ended_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evolute.runs.executors.local.GRACE_SECONDS", 0.5)
    task = hostile_task(tmp_path, "time.sleep(600)")
    with LocalExecutor(
        task, load_task(task), workers=1, equipment=LOOP, timeout_seconds=0.5
    ) as executor:
        ((_, trial),) = executor.run(requests(1))
    assert trial.outcome.kind is OutcomeKind.TIMED_OUT


def test_a_task_that_raises_in_a_worker_is_a_task_error_in_one_line(tmp_path: Path) -> None:
    task = hostile_task(tmp_path, "raise RuntimeError('no such weather')")
    with (
        LocalExecutor(task, load_task(task), workers=1, equipment=LOOP) as executor,
        pytest.raises(TaskError, match="no such weather") as caught,
    ):
        list(executor.run(requests(1)))
    assert "\n" not in str(caught.value)


def test_what_a_task_prints_is_not_taken_for_an_answer(tmp_path: Path) -> None:
    task = hostile_task(tmp_path, "print('{\"trial\": 1}', flush=True)")
    with LocalExecutor(task, load_task(task), workers=1, equipment=LOOP) as executor:
        ((_, trial),) = executor.run(requests(1))
    assert trial.outcome.kind in TRAINED


def test_closing_ends_workers_in_the_middle_of_a_trial(tmp_path: Path) -> None:
    started = tmp_path / "pid"
    body = f"open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    task = hostile_task(tmp_path, body)
    executor = LocalExecutor(task, load_task(task), workers=1, equipment=LOOP)
    served = threading.Thread(target=lambda: list(executor.run(requests(1))), daemon=True)
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
    (request,) = requests(1)
    line = encode_request(7, request, timeout_seconds=3.0)
    assert decode_request(json.loads(line)) == (7, request, 3.0)
    assert line.count("\n") == 1
