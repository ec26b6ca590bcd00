"""Ctrl-C: a clean end, a word on how to resume, and no worker left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w
from tiny import TINY_CONFIG, TINY_TASK

from evolute.cli.interrupts import Interrupts

BEGUN = b"Forecast"


def test_an_interrupted_search_says_how_to_resume_and_leaves_no_worker(tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    endless = {"search": {"candidates": 100_000}, "algorithm": "random"}
    config.write_text(tomli_w.dumps({**TINY_CONFIG, **endless}))
    command = [sys.executable, "-m", "evolute", "search", "--task", TINY_TASK, "--workers", "1"]
    command += ["--config", str(config)]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    heard = b""
    while BEGUN not in heard:
        line = process.stderr.readline()
        assert line, heard
        heard += line
    workers = children_of(process.pid)
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=120)
    assert process.returncode == 130
    assert out == b""
    assert b"To resume: evolute search --task" in rest
    assert b"Traceback" not in rest
    assert workers
    assert not [pid for pid in workers if still_runs(pid)]


def children_of(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def still_runs(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Answer Ctrl-C as Python does, also where the tests were begun in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_that_python_drops_is_raised_at_the_next_look(interruptible: None) -> None:
    with Interrupts() as interrupts:
        interrupts.look()
        with contextlib.suppress(KeyboardInterrupt):  # stands for whatever drops it
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupts.look()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
