"""Displays of progress: lines where there is no terminal, no interrupt lost, how to resume."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from evolute.cli.display import resumable
from evolute.cli.progress import ProgressDisplay
from evolute.cli.work import WorkDisplay

SECRET = "postgresql+psycopg://me:hunter2@host/trials?sslpassword=hunter3"


def hear_of_a_search(display: ProgressDisplay) -> None:
    display.baselines(1, 4)


def hear_of_work(display: WorkDisplay) -> None:
    display.trained("parts", 1, 4)


KINDS = [(ProgressDisplay, hear_of_a_search), (WorkDisplay, hear_of_work)]


@pytest.mark.parametrize(("kind", "hear"), KINDS)
def test_an_interrupt_that_is_dropped_is_raised_at_the_next_thing_heard(
    kind: Callable[[Console], Any], hear: Callable[[Any], None]
) -> None:
    for terminal in (False, True):
        with kind(Console(file=io.StringIO(), force_terminal=terminal)) as display:
            hear(display)
            with contextlib.suppress(KeyboardInterrupt):  # stands for whatever drops it
                os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                hear(display)


def test_without_a_terminal_work_prints_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    written = io.StringIO()
    with WorkDisplay(Console(file=written, width=200)) as display:
        for done, clock[0] in ((1, 1001.0), (2, 1016.0), (3, 1017.0)):
            display.trained("parts", done, 4)
    assert written.getvalue() == "parts: 2 of about 4 trainings, 15 s left\n"


@pytest.mark.parametrize("typed", [["--store", SECRET], [f"--store={SECRET}"]])
def test_the_way_to_resume_holds_no_password(
    typed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["evolute", "bench", "--tasks", "my task", *typed])
    with pytest.raises(KeyboardInterrupt), resumable(WorkDisplay, SECRET):
        raise KeyboardInterrupt
    said = " ".join(capsys.readouterr().err.split())
    assert "To resume: evolute bench --tasks 'my task' --store" in said
    assert "postgresql+psycopg://me@host/trials" in said
    assert "hunter" not in said


def test_what_a_task_prints_is_no_part_of_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    with resumable(WorkDisplay, "evolute.sqlite"):
        sys.stdout.write("a library says hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hello" in captured.err
