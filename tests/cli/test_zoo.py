"""``evolute zoo``: what it lists and shows, in both formats, and how it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from evolute import zoo
from evolute.cli.app import main

Capture = pytest.CaptureFixture[str]


def run(capture: Capture, *arguments: str, status: int = 0) -> str:
    """Run the command line in this process; return what it prints, or says of an error."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    captured = capture.readouterr()
    assert ended.value.code == status, captured.err
    return captured.err if status else captured.out


def rows(capture: Capture, *arguments: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(run(capture, *arguments, "--format", "json"))}


def test_the_list_has_every_optimizer_and_every_schedule(capsys: Capture) -> None:
    listed = rows(capsys, "zoo", "list")
    assert list(listed) == [*zoo.names(), *zoo.schedule_names()]
    text = run(capsys, "zoo", "list")
    assert all(f"\n{name} " in text for name in listed)


def test_the_list_says_what_a_rule_keeps_and_what_it_may_be_used_for(capsys: Capture) -> None:
    listed = rows(capsys, "zoo", "list")
    assert listed["adam"]["buffers"] == 2
    assert [name for name, row in listed.items() if not row["elementwise"]] == [
        *("a5", "found02", "found19")
    ]
    assert [name for name, row in listed.items() if not row["deterministic"]] == ["found20"]
    assert listed["found01"]["accuracy"] == 0.8366
    assert listed["lr9"]["rule"] == "[tanh(max(a10, a6))]"


def test_the_rules_are_the_optimizers_of_the_zoo(capsys: Capture) -> None:
    listed = rows(capsys, "zoo", "list")
    assert rows(capsys, "rules") == {name: listed[name] for name in zoo.names()}


@pytest.mark.parametrize("name", zoo.names())
def test_an_optimizer_is_shown_as_show_does(capsys: Capture, name: str) -> None:
    data = json.loads(run(capsys, "zoo", "show", name, "--format", "json"))
    assert data == json.loads(run(capsys, "show", name, "--format", "json"))
    entry = zoo.load(name)
    assert data["text"] == str(entry.rule)
    assert data["latex"].startswith("u_t = ")
    assert data["state_buffers"] == list(entry.state_buffers)
    facts = data["facts"]
    assert (facts["lowest_learning_rate"], facts["highest_learning_rate"]) == entry.learning_rates


def test_for_people_an_optimizer_comes_with_origin_evidence_and_notes(capsys: Capture) -> None:
    text = " ".join(run(capsys, "zoo", "show", "opt10").split())
    for part in (
        "Opt10",
        "Morgan",
        "(2024)",
        "validation accuracy 0.8288",
        "note",
        "Decay [a13*a2",
    ):
        assert part in text
    assert "momentum_buffer" in text


@pytest.mark.parametrize("name", zoo.schedule_names())
def test_a_schedule_is_shown_with_its_curve(capsys: Capture, name: str) -> None:
    data = json.loads(
        run(capsys, "zoo", "show", name, "--format", "json"), parse_constant=pytest.fail
    )
    assert len(data["values"]) == 100
    assert (data["values"][0] is None) == (name == "lr8")
    text = run(capsys, "zoo", "show", name)
    assert f"[{data['factor']}]" in text
    assert data["latex"] in text
    assert "t/T" in text
    assert all(note in " ".join(text.split()) for note in data["notes"])


def test_an_unknown_entry_gives_the_nearest_of_both_kinds(capsys: Capture) -> None:
    assert "did you mean 'lr3'" in run(capsys, "zoo", "show", "lr33", status=2)
    assert "did you mean 'lion'" in run(capsys, "zoo", "show", "lionn", status=2)


@pytest.mark.parametrize("command", [[], ["list"], ["show"]])
def test_help_shows_examples(capsys: Capture, command: list[str]) -> None:
    assert "Examples:" in run(capsys, "zoo", *command, "--help")
