"""The command line as it is typed, in this process: how it ends, what it says, how it refuses."""

from __future__ import annotations

import pytest

from evolute.cli.app import main

Capture = pytest.CaptureFixture[str]


def run(arguments: list[str]) -> int:
    """Run the command line in this process; return its exit status."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def said(capture: Capture, arguments: list[str]) -> str:
    """Return what a command prints that must succeed."""
    capture.readouterr()
    assert run(arguments) == 0
    return capture.readouterr().out


def refused(capture: Capture, arguments: list[str]) -> str:
    """Return the one line with which a command refuses its input with exit status 2."""
    capture.readouterr()
    assert run(arguments) == 2
    captured = capture.readouterr()
    assert captured.out == ""
    line, end = captured.err.split("\n", 1)
    assert end == ""
    assert line.startswith("evolute: ")
    return line
