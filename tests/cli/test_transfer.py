"""The presets of the paper's transfer as they are typed, on tiny files in the published formats."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import tomli_w
from cli.shell import Capture, refused, said
from tasks.conftest import optional as optional
from tasks.tiny_files import write_flowers, write_weights

from evolute.presets import PRESETS, resolve
from evolute.train.protocol import Protocol

DOMAINS = ("flowers102", "cars196", "caltech101")
TASKS = """
from functools import partial
from evolute.tasks.efficientnet import EfficientNetV2, Stage
from evolute.tasks.files import data_folder
from evolute.tasks.fine_tuning import DOMAINS, fine_tuning_task

STAGES = (Stage(1, 1, 4, 4, 1, True), Stage(4, 2, 4, 8, 2, True), Stage(4, 2, 8, 8, 2, False))
network = partial(EfficientNetV2, stages=STAGES, last_channels=16)
flowers = partial(fine_tuning_task, DOMAINS[0], data_folder(), network=network, size=16)
"""
"""The task with the network that :func:`tasks.tiny_files.tiny_network` is, for the workers."""
SHORT = {
    "main": {"training": {"steps": 2, "epoch_steps": 2, "warmup_steps": 1, "hold_steps": 0}},
    "bench": {
        "budget": 1,
        "tuning_seeds": 1,
        "sensitivity_seeds": 1,
        "sensitivity_half_width": 0,
        "curve_points": 1,
        "cross": False,
        "resamples": 100,
    },
}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches without any weights, and an empty folder for data."""
    for variable in ("TORCH_HOME", "HF_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    (tmp_path / "data").mkdir()
    return tmp_path


def typed(places: Path) -> list[str]:
    return [
        *("bench", "--optimizers", "adam", "--preset", "paper-fine-tuning"),
        *("--store", str(places / "store.sqlite"), "--data-dir", str(places / "data")),
    ]


def test_a_benchmark_of_a_fine_tuning_task_runs_under_the_preset(
    places: Path, capsys: Capture, optional: None
) -> None:
    write_flowers(places / "data" / "flowers102")
    write_weights(places / "data" / "efficientnet-v2-s")
    (places / "tiny.py").write_text(TASKS)
    (places / "short.toml").write_text(tomli_w.dumps(SHORT))
    task = f"{places / 'tiny.py'}:flowers"
    command = [*typed(places), "--tasks", task, "--config", str(places / "short.toml")]
    data = json.loads(said(capsys, [*command, "--workers", "1", "--format", "json"]))
    assert data["preset"] == "paper-fine-tuning"
    (found,) = data["tasks"]
    protocol = Protocol.from_json(found["protocol"])
    assert (found["task"], protocol.batch_size, protocol.fitness) == ("flowers102", 64, "metric")
    assert len(found["entrants"][0]["tuned"]["runs"]) == 6  # as often as the authors


def test_data_or_weights_that_are_not_there_are_one_line(
    places: Path, capsys: Capture, optional: None
) -> None:
    command = [*typed(places), "--tasks", ",".join(DOMAINS)]
    assert "the data set 'flowers102' is not on this machine" in refused(capsys, command)
    write_flowers(places / "data" / "flowers102")
    line = refused(capsys, [*typed(places), "--tasks", "flowers102"])
    assert "run 'evolute data fetch efficientnet-v2-s'" in line
    assert not (places / "store.sqlite").exists()


@pytest.mark.parametrize("preset", [name for name in PRESETS if name.startswith("paper-")])
def test_a_search_shows_the_numbers_of_the_preset(preset: str, capsys: Capture) -> None:
    shown = tomllib.loads(
        said(capsys, ["search", "--task", "cifar10", "--preset", preset, "--show-config"])
    )
    settings = resolve("quick", shown)
    assert settings.main == PRESETS[preset].stages.main
    assert settings.initial == settings.main
