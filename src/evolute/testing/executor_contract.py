"""What every Executor promises, as tests to inherit.

A test file of an executor holds no more than how it is made::

    class TestMyExecutor(WorkerContract):
        def open(self, task: str, *, timeout_seconds: float | None = None) -> Executor:
            return MyExecutor(task, load_task(task), timeout_seconds=timeout_seconds)
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evolute.errors import TaskError
from evolute.lang.rule import Rule
from evolute.runs.executors.base import Executor, TrialRequest
from evolute.runs.executors.in_process import InProcessExecutor
from evolute.tasks.user import load_task
from evolute.testing.task_contract import SHORT
from evolute.trial import OutcomeKind, Provenance, Trial

RULES = ("momentum: g", "none: sign_v", "nesterov: [a3]*v/(sqrt(s)+1e-08)", "none: dropout(g, 0.5)")

UNLIKE_ANY = "none: 1000000*sign(g)"
"""A rule under which the outputs of the model are soon larger than under any other."""

TASK = """
import os, signal, sys, time, torch
from torch import nn
from evolute.tasks.base import Task

def loss(output, target):
    if os.getpid() != {owner} and output.detach().abs().max() > 100:
        {guilty}
    return nn.functional.cross_entropy(output, target)

def model():
    if os.getpid() != {owner}:
        {innocent}
    return nn.Linear(4, 3)

def build():
    generator = torch.Generator().manual_seed(0)
    data = (torch.randn(40, 4, generator=generator), torch.randint(3, (40,), generator=generator))
    return Task(name="contract", version="1", model=model, train=data, validation=data, test=data,
                loss=loss, metric="accuracy")
"""


def write_task(folder: Path, *, guilty: str = "pass", innocent: str = "pass") -> str:
    """Write a task that does something bad in workers only; return its name for ``--task``.

    Parameters
    ----------
    folder
        Where to.
    guilty
        Statement that runs under :data:`UNLIKE_ANY` and no other rule.
    innocent
        Statement that runs whenever a model is built.
    """
    path = folder / "contract_task.py"
    path.write_text(TASK.format(owner=os.getpid(), guilty=guilty, innocent=innocent), "utf-8")
    return f"{path}:build"


def example_requests(*texts: str, seeds: int = 1) -> list[TrialRequest]:
    """Return short trials of these rules, or of :data:`RULES`."""
    rules = [Rule.parse(text) for text in texts or RULES]
    return [TrialRequest(rule, SHORT, seed) for seed in range(seeds) for rule in rules]


def without_provenance(trial: Trial) -> Trial:
    """Return a trial without what is no part of its result."""
    return replace(trial, provenance=Provenance(0.0))


def answers(executor: Executor, requests: Sequence[TrialRequest]) -> list[Trial]:
    """Return the trials in the order of the requests, without what is no part of the result."""
    known = dict(executor.run(requests))
    assert sorted(known) == list(range(len(requests)))
    return [without_provenance(known[at]) for at in range(len(requests))]


def alone(task: str, requests: Sequence[TrialRequest]) -> list[Trial]:
    """Return what the trials are when each is trained by itself in this process."""
    loaded = load_task(task)
    return [trial for each in requests for trial in answers(InProcessExecutor(loaded), [each])]


class ExecutorContract(ABC):
    """Guarantees of every executor."""

    @abstractmethod
    def open(self, task: str, *, timeout_seconds: float | None = None) -> Executor:
        """Return an executor for the task, which is given up a second after the time limit."""

    def test_trials_are_those_of_each_request_alone(self, tmp_path: Path) -> None:
        task, requests = write_task(tmp_path), example_requests(seeds=2)
        with self.open(task) as executor:
            assert executor.workers >= 1
            assert answers(executor, requests) == alone(task, requests)
            assert answers(executor, requests[:2]) == alone(task, requests[:2])

    def test_once_told_to_stop_what_has_not_begun_is_never_answered(self, tmp_path: Path) -> None:
        with self.open(write_task(tmp_path)) as executor:
            for request in example_requests():
                executor.submit(request)
            answered = 0
            while executor.next(lambda: True) is not None:
                answered += 1
            assert answered <= len(RULES)
            assert executor.next() is None

    def test_what_was_forgotten_is_not_answered(self, tmp_path: Path) -> None:
        task = write_task(tmp_path)
        with self.open(task) as executor:
            for request in example_requests():
                executor.submit(request)
            executor.forget()
            assert executor.ended == 0
            assert executor.next() is None
            wanted = example_requests(RULES[0])
            assert answers(executor, wanted) == alone(task, wanted)


class WorkerContract(ExecutorContract):
    """Guarantees of executors whose trials are trained in processes of their own."""

    @pytest.mark.parametrize(
        ("guilty", "kind", "reason"),
        [
            ("os._exit(3)", OutcomeKind.CRASHED, "(exit status 3)"),
            (
                "vars(sys.modules['evolute.runs.executors.worker']).update(encode=None)",
                OutcomeKind.CRASHED,
                "(exit status 1: TypeError: 'NoneType' object is not callable)",
            ),
            ("os.kill(os.getpid(), signal.SIGKILL)", OutcomeKind.CRASHED, "when memory runs out"),
            ("time.sleep(600)", OutcomeKind.TIMED_OUT, "no sign of it"),
        ],
        ids=["exit", "error that nobody foresaw", "killed for memory", "hang"],
    )
    def test_of_many_trials_under_way_only_the_guilty_one_fails(
        self, tmp_path: Path, guilty: str, kind: OutcomeKind, reason: str
    ) -> None:
        task = write_task(tmp_path, guilty=guilty)
        requests = example_requests(RULES[0], UNLIKE_ANY, RULES[1])
        limit = 12.0 if kind is OutcomeKind.TIMED_OUT else None
        with self.open(task, timeout_seconds=limit) as executor:
            first, second, third = answers(executor, requests)
        assert [first, third] == alone(task, requests[::2])
        assert second.outcome.kind is kind
        assert reason in second.outcome.sentence
        assert second.score is None

    def test_a_worker_killed_once_costs_no_trial(self, tmp_path: Path) -> None:
        marker = tmp_path / "marker"
        killed = f"os.path.exists({str(marker)!r}) or (open({str(marker)!r}, 'w'), os._exit(9))"
        task = write_task(tmp_path, innocent=killed)
        requests = example_requests()
        with self.open(task) as executor:
            assert answers(executor, requests) == alone(task, requests)
        assert marker.exists()

    def test_a_task_that_raises_is_a_task_error_in_one_line(self, tmp_path: Path) -> None:
        task = write_task(tmp_path, innocent="raise RuntimeError('no such weather')")
        with (
            self.open(task) as executor,
            pytest.raises(TaskError, match="no such weather") as caught,
        ):
            list(executor.run(example_requests(RULES[0])))
        assert "\n" not in str(caught.value)

    def test_what_a_task_prints_is_not_taken_for_an_answer(self, tmp_path: Path) -> None:
        task = write_task(tmp_path, innocent="print('{\"trial\": 1}', flush=True)")
        requests = example_requests(RULES[0])
        with self.open(task) as executor:
            assert answers(executor, requests) == alone(task, requests)
