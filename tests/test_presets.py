"""Presets and settings: what a file and options lay over them, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from evolute.errors import ConfigError, InputError, UnknownNameError
from evolute.presets import PRESETS, resolve
from evolute.search.algorithms import ALGORITHMS
from evolute.settings import read_toml


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_preset_works_with_every_algorithm_and_survives_toml(
    preset: str, algorithm: str
) -> None:
    settings = resolve(preset, {"task": "digits", "algorithm": algorithm})
    assert resolve("quick", tomllib.loads(settings.to_toml())) == settings
    assert settings.run_config("digits").new_search().ask()


def test_a_later_overlay_wins_and_none_leaves_what_was_there() -> None:
    settings = resolve(
        "quick",
        {"task": "digits", "seed": 3, "main": {"training": {"steps": 99}}},
        {"seed": None, "main": {"batch_size": 7}},
    )
    assert (settings.seed, settings.main.training.steps, settings.main.batch_size) == (3, 99, 7)
    assert (
        settings.main.training.epoch_steps
        == resolve("quick", {"task": "digits"}).main.training.epoch_steps
    )


def test_the_paper_preset_is_the_published_search_to_the_letter() -> None:
    settings = resolve("paper", {"task": "digits"})
    assert settings.search == {
        **settings.search,
        "initial_candidates": 500,
        "particles": 50,
        "time_steps": 5,
        "children": 7,
        "tries": 4,
        "accept": "always",
    }
    initial, main = settings.initial, settings.main
    assert (initial.batch_size, main.batch_size) == (128, 128)
    assert (initial.width, main.width) == (32, 48)
    assert (initial.augment, main.augment) == (False, True)
    assert (initial.training.steps, main.training.steps) == (8_000, 16_000)
    assert (initial.training.warmup_steps, main.training.warmup_steps) == (800, 800)
    assert main.probe is not None
    assert main.probe.first_rates == (10.0, 1e-2, 1e-5)
    assert main.probe.other_rates == (1.0, 0.1, 1e-3, 1e-4)
    assert (main.probe.steps, main.probe.epoch_steps, main.probe.abandon_epoch) == (800, 200, 3)
    assert (main.probe.abandon.accuracy, main.probe.accept.accuracy) == (0.25, 0.40)
    assert (main.training.abandon_epoch, main.training.abandon.accuracy) == (5, 0.40)
    assert (main.fitness, main.fitness_epoch) == ("metric", "best")
    types = settings.run_config("digits").space.momentum_types
    assert [kind.value for kind in types] == ["none", "momentum", "nesterov_published"]
    assert settings.duplicate_tolerance is None


def test_the_page_on_the_paper_states_the_figures_of_the_transfer() -> None:
    page = (Path(__file__).parents[1] / "docs" / "paper.md").read_text(encoding="utf-8")
    table = page.split("## After the search")[1].split("## Where the text is silent")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    stated = {row[0]: row[1:] for row in rows if row}
    for place, name in enumerate(cell.strip("`") for cell in stated[""]):
        preset = PRESETS[name]
        main, training = preset.stages.main, preset.stages.main.training
        for row, value in (
            ("steps", f"{training.steps:,}"),
            ("warm-up", f"{training.warmup_steps:,}"),
            ("hold at the peak", f"{training.hold_steps:,}" if training.hold_steps else "none"),
            ("batch", str(main.batch_size)),
            ("epoch", f"{training.epoch_steps} steps"),
            ("repetitions in a benchmark", str(preset.bench.seeds)),
        ):
            assert stated[row][place].startswith(f"{value} ("), (name, row)


@pytest.mark.parametrize(
    ("overlay", "says"),
    [
        ({"sed": 1}, "unknown config key 'sed': did you mean 'seed'"),
        ({"main": {"batchsize": 1}}, "unknown config key 'main.batchsize': did you mean 'batch_s"),
        ({"main": {"training": {"step": 1}}}, "'main.training.step': did you mean 'steps'"),
        ({"search": {"particle": 1}}, "unknown config key 'search.particle': did you mean 'parti"),
        ({"verdict": {"fresh_seeds": 1}}, "config key 'verdict.fresh_seeds' is 1: input should be"),
        (
            {"search": {"particles": "many"}},
            "config key 'search.particles' is 'many': input should",
        ),
        ({"seed": -1}, "config key 'seed' is -1: input should be greater than or equal to 0"),
        ({"seed": True}, "config key 'seed' is True: input should be a valid integer"),
        ({"task": 3}, "config key 'task' is 3: give a text"),
        ({"preset": ["x"]}, "config key 'preset' is ['x']: give a text"),
        ({"algorithm": 7}, "config key 'algorithm' is 7: give a text"),
        ({"search": {"particles": 900}}, "config table 'search': particles is 900, more than the"),
        ({"main": {"split": "test"}}, "the test split is for the verdict alone"),
        ({"initial": {"split": "test"}}, "the test split is for the verdict alone"),
    ],
)
def test_a_bad_config_key_or_value_is_named_in_one_line(overlay: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve("quick", {"task": "digits"}, overlay)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_budget_may_be_a_bare_number() -> None:
    assert resolve("quick", {"task": "digits", "budget": 500}).parsed_budget().evaluations == 500


def test_a_stage_that_is_given_its_learning_rate_is_not_probed() -> None:
    settings = resolve("quick", {"task": "digits", "main": {"learning_rate": 0.1}})
    assert (settings.main.learning_rate, settings.main.probe) == (0.1, None)
    assert settings.initial.probe is not None
    assert resolve("quick", tomllib.loads(settings.to_toml())) == settings


def test_unknown_presets_algorithms_and_malformed_budgets_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown preset 'quik': did you mean 'quick'"):
        resolve("quik", {"task": "digits"})
    with pytest.raises(UnknownNameError, match="'partikles': did you mean 'particles'"):
        resolve("quick", {"task": "digits", "algorithm": "partikles"})
    with pytest.raises(InputError, match="malformed budget 'soon'"):
        resolve("quick", {"task": "digits", "budget": "soon"})


def test_a_config_file_that_is_missing_or_no_toml_is_a_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the config file .*No such file"):
        read_toml(tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("seed = = 3")
    with pytest.raises(ConfigError, match="is no TOML"):
        read_toml(bad)
    bad.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="it is no UTF-8 text"):
        read_toml(bad)
