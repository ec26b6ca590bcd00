"""The executors of one machine keep the contract."""

from __future__ import annotations

from evolute.runs.executors.base import Executor
from evolute.runs.executors.in_process import InProcessExecutor
from evolute.runs.executors.local import LocalExecutor
from evolute.tasks.user import load_task
from evolute.testing.executor_contract import ExecutorContract, WorkerContract


class TestInProcessExecutor(ExecutorContract):
    def open(self, task: str, *, timeout_seconds: float | None = None) -> Executor:
        return InProcessExecutor(load_task(task), timeout_seconds=timeout_seconds)


class TestLocalExecutor(WorkerContract):
    def open(self, task: str, *, timeout_seconds: float | None = None) -> Executor:
        return LocalExecutor(
            task, load_task(task), workers=2, timeout_seconds=timeout_seconds, grace_seconds=1.0
        )
