"""``evolute explain`` on a real, tiny task: what it prints and writes, and how it refuses."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tomli_w
from cli.shell import Capture, run
from rich.console import Console
from tiny import TINY_CONFIG, TINY_TASK, build

from evolute.benchmark.explained import ExplainResult
from evolute.cli.explain import _print_for_people
from evolute.errors import InputError
from evolute.lang.rule import Rule
from evolute.leaderboard import find_run
from evolute.store.sql import open_store
from evolute.workbench.explain import explain

CONFIG: dict[str, Any] = {
    "main": TINY_CONFIG["main"],
    "explain": {"seeds": 2, "tuning_seeds": 1, "grid_half_width": 1, "widenings": 0},
}
RULE = "none: [a1]*tanh([a3]*g)"


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExplainResult]:
    """A store in which a rule has been explained."""
    store = tmp_path_factory.mktemp("explain") / "store.sqlite"
    return store, explain(RULE, task=build(), config=CONFIG, store=store)


def test_an_ablation_run_again_trains_nothing_and_finds_the_same(
    explained: tuple[Path, ExplainResult],
) -> None:
    store, result = explained
    with open_store(store) as opened:
        before = len(opened.trials())
    assert explain(RULE, task=build(), config=CONFIG, store=store) == result
    with open_store(store) as opened:
        assert len(opened.trials()) == before
        record = find_run(opened, result.name, kind="ablation")
        assert ExplainResult.from_dict(opened.document(record.digest, "ablation")) == result
    assert ExplainResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_the_schedule_is_split_off_and_the_effect_of_all_decays_is_there(
    explained: tuple[Path, ExplainResult],
) -> None:
    _, result = explained
    assert result.schedule == "a1"
    assert result.effect is not None
    assert result.effect[0] == pytest.approx(1.0)
    assert result.effect[-1] < 0.05
    assert {part.kind.value for part in result.parts} == {"decay", "node", "momentum"}


def test_notes_are_printed_below_the_finding(explained: tuple[Path, ExplainResult]) -> None:
    screen = Console(record=True, width=200)
    work: Any = SimpleNamespace(next_report=lambda *_: "")
    _print_for_people(screen, replace(explained[1], notes=("the best rate is the edge",)), work)
    assert "note: the best rate is the edge\n" in screen.export_text()


def test_explain_prints_parts_the_curve_and_what_is_offered(
    tmp_path: Path, capsys: Capture, explained: tuple[Path, ExplainResult]
) -> None:
    store, _ = explained
    config = tmp_path / "explain.toml"
    config.write_text(tomli_w.dumps(CONFIG))
    command = ["explain", RULE, "--task", TINY_TASK, "--config", str(config)]
    command += ["--store", str(store), "--workers", "1", "--csv", str(tmp_path)]
    assert run(command) == 0
    text = capsys.readouterr().out
    for piece in (
        "tiny: each part changed",
        "schedule [a1] removed",
        "Its schedule works with any optimizer: [a1]",
        "like a learning rate",
        "ways to take a part out",
    ):
        assert piece in text
    with (tmp_path / "tiny-parts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert "decay [a3] on g removed" in {row["part"] for row in rows}


@pytest.mark.parametrize(
    ("rule", "changes", "message"),
    [
        ("adm", {}, "unknown rule 'adm': did you mean 'adam'"),
        (RULE, {"seeds": 1}, "explain.seeds"),
        (RULE, {"config": {"explain": {"sedes": 2}}}, "did you mean 'seeds'"),
        (RULE, {"config": {"bench": {}}}, "unknown config key 'bench'"),
        (RULE, {"task": "digts"}, "did you mean 'digits'"),
    ],
)
def test_bad_input_is_one_line(
    rule: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {"task": build(), "config": CONFIG, "store": tmp_path / "s.sqlite"}
    with pytest.raises(InputError, match=message) as caught:
        explain(rule, **{**arguments, **changes})
    assert "\n" not in str(caught.value)


def test_a_rule_object_is_explained_too(explained: tuple[Path, ExplainResult]) -> None:
    store, result = explained
    assert explain(Rule.parse(RULE), task=build(), config=CONFIG, store=store) == result
