"""``evolute export``: what it writes, where, and under which name."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from evolute.cli.app import main
from evolute.compiler.export.exporters import EXPORTERS

Capture = pytest.CaptureFixture[str]


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["export", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def exported(capture: Capture, *arguments: str) -> str:
    """What the command prints, that must succeed."""
    assert run(list(arguments)) == 0
    return capture.readouterr().out


def class_name(text: str) -> str:
    (found,) = [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    return found


@pytest.mark.parametrize("form", sorted(EXPORTERS))
def test_every_form_is_printed_and_written_alike(
    form: str, tmp_path: Path, capsys: Capture
) -> None:
    target = tmp_path / "exported"
    text = exported(capsys, "opt6", "--to", form)
    assert exported(capsys, "opt6", "--to", form, "--output", str(target)) == ""
    assert target.read_text(encoding="utf-8") == text
    assert text.endswith("\n")


def test_json_holds_the_export(capsys: Capture) -> None:
    data = json.loads(exported(capsys, "lion", "--to", "torch", "--format", "json"))
    assert (data["name"], data["form"]) == ("Lion", "torch")
    assert data["export"] == exported(capsys, "lion", "--to", "torch")


def test_the_class_is_named_after_the_known_optimizer_unless_another_is_given(
    capsys: Capture,
) -> None:
    assert class_name(exported(capsys, "opt6", "--to", "torch")) == "Opt6"
    assert class_name(exported(capsys, "opt6", "--to", "torch", "--name", "Mine")) == "Mine"
    assert class_name(exported(capsys, "none: g*g", "--to", "torch")) == "DiscoveredOptimizer"


def test_the_docstring_says_where_a_known_optimizer_comes_from(capsys: Capture) -> None:
    documentation = " ".join(exported(capsys, "lion", "--to", "torch").split())
    assert "Reference: X. Chen et al. (2023). Symbolic Discovery of Optimization" in documentation
    assert "Note: Without weight decay." in documentation
    assert "Reference" not in exported(capsys, "none: g*g", "--to", "torch")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["lion", "--to", "torch", "--name", "not a name"], "cannot name a class"),
        (["found20", "--to", "keras"], "dropout draws its noise with torch"),
        (["lion", "--to", "torch", "--output", "/no/such/folder/x.py"], "cannot write"),
    ],
)
def test_what_cannot_be_written_is_one_line(
    arguments: list[str], line: str, capsys: Capture
) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert line in captured.err
    assert captured.err.count("\n") == 1
