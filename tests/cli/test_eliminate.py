"""``evolute eliminate`` on a real, tiny search: rounds, winners, resuming, refusals."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from cli.shell import Capture, run
from tiny import TINY_CONFIG, TINY_TASK, build

from evolute.discover import search
from evolute.errors import InputError
from evolute.leaderboard import find_run
from evolute.store.sql import open_store
from evolute.train.protocol import Protocol
from evolute.trial import canonical_json
from evolute.workbench.eliminate import eliminate

CONFIG: dict[str, Any] = {
    "elimination": {
        "candidates": 4,
        "per_particle": 2,
        "rungs": [{"keep": 2, "seeds": 2}, {"keep": 1, "seeds": 2, "steps": 18}],
    },
    "bench": {
        "budget": 2,
        "seeds": 2,
        "tuning_seeds": 1,
        "sensitivity_seeds": 1,
        "sensitivity_half_width": 1,
        "cross": False,
        "resamples": 100,
    },
    "against": ["adamw"],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a small search in it."""
    path = tmp_path_factory.mktemp("eliminate") / "store.sqlite"
    search(build(), config=TINY_CONFIG, budget="10", store=path, verdict=False)
    return path


def trials(store: Path) -> int:
    with open_store(store) as opened:
        return len(opened.trials())


def test_each_round_keeps_the_best_on_seeds_of_its_own_and_the_last_is_a_benchmark(
    store: Path,
) -> None:
    result = eliminate(task=build(), config=CONFIG, store=store)
    first, second = result.rungs
    assert [len(rung.standings) for rung in result.rungs] == [4, 2]
    assert {each.name for each in second.standings} == {each.name for each in first.survivors}
    assert not set(first.seeds) & set(second.seeds)
    assert json.loads(second.protocol)["training"]["steps"] == 18
    assert result.benchmark is not None
    tested = {
        run.seed for e in result.benchmark.tasks[0].entrants if e.tuned for run in e.tuned.runs
    }
    assert not tested & {*first.seeds, *second.seeds}
    (winner,) = result.survivors
    names = [each.name for each in result.benchmark.tasks[0].entrants]
    assert names == [winner.name, "adamw"]
    assert result.benchmark.tasks[0].steps == 18


def test_a_round_may_have_the_protocol_of_a_preset(store: Path) -> None:
    rung = {"keep": 1, "seeds": 1, "preset": "paper-fine-tuning", "steps": 20, "probe": False}
    config = {"elimination": {"candidates": 2, "rungs": [rung]}}
    result = eliminate(task=build(), config=config, store=store, benchmark=False)
    protocol = Protocol.from_json(result.rungs[0].protocol)
    assert (protocol.batch_size, protocol.fitness) == (64, "metric")
    assert (protocol.training.steps, protocol.training.warmup_steps) == (20, 2)


def test_an_elimination_run_again_trains_nothing(store: Path) -> None:
    once = eliminate(task=build(), config=CONFIG, store=store)
    before = trials(store)
    again = eliminate(task=build(), config=CONFIG, store=store)
    assert trials(store) == before
    assert again.rungs == once.rungs
    with open_store(store) as opened:
        record = find_run(opened, again.name, kind="elimination")
        assert opened.document(record.digest, "elimination")["run"] == again.run


def test_an_elimination_without_presets_has_the_digest_that_it_had_before_there_were_any(
    store: Path,
) -> None:
    given = {"elimination": {"candidates": 2, "rungs": [{"keep": 1, "seeds": 1}]}}
    found = eliminate(task=build(), config=given, store=store, benchmark=False, seed=7)
    with open_store(store) as opened:
        searched = find_run(opened, found.run).digest
    rung = {"keep": 1, "seeds": 1, "task": None, "width": None, "steps": None, "probe": True}
    before = {
        "kind": "elimination",
        "run": searched,
        "seed": 7,
        "elimination": {"candidates": 2, "per_particle": 5, "rungs": [rung]},
        "benchmark": None,
    }
    assert found.digest == hashlib.sha256(canonical_json(before).encode()).hexdigest()


def test_the_command_prints_the_rounds_and_the_winners(
    store: Path, tmp_path: Path, capsys: Capture
) -> None:
    config = tmp_path / "rungs.toml"
    config.write_text(tomli_w.dumps(CONFIG))
    command = ["eliminate", "--task", TINY_TASK, "--config", str(config), "--store", str(store)]
    assert run([*command, "--workers", "1", "--csv", str(tmp_path / "tables")]) == 0
    text = capsys.readouterr().out
    assert "Round 1 on tiny: 4 candidates, 2 fresh seeds, 2 stay" in text
    assert "Round 2 on tiny: 2 candidates, 2 fresh seeds, 1 stay" in text
    assert "tiny: optimizers on fresh seeds" in text
    assert "Stored as eliminate-tiny-quick-0" in text
    assert {"round-1.csv", "scores.csv"} <= {p.name for p in (tmp_path / "tables").iterdir()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elimination": {"rungs": [{"keep": 2}, {"keep": 3}]}}, "give falling numbers"),
        ({"elimination": {"rungs": [{"keep": 1, "seds": 2}]}}, "did you mean .seeds."),
        ({"rungs": []}, "unknown config key 'rungs'"),
        ({"against": ["adm"]}, "did you mean 'adam'"),
        ({"bench": {"seeds": 1}}, "one fresh seed"),
        ({"elimination": {"rungs": [{"keep": 1, "task": "digts"}]}}, "did you mean 'digits'"),
        ({"elimination": {"rungs": [{"keep": 1, "preset": "papr"}]}}, "did you mean 'paper'"),
    ],
)
def test_a_bad_config_is_refused_before_anything_is_trained(
    store: Path, changes: dict[str, Any], message: str
) -> None:
    before = trials(store)
    with pytest.raises(InputError, match=message):
        eliminate(task=build(), config={**CONFIG, **changes}, store=store)
    assert trials(store) == before


def test_a_search_on_a_task_that_has_no_name_needs_the_task(store: Path) -> None:
    with pytest.raises(InputError, match="say where it is, such as --task"):
        eliminate(config=CONFIG, store=store)
    with pytest.raises(InputError, match="'digits' is given: give the task of the search"):
        eliminate(task="digits", config=CONFIG, store=store)
