"""Protocols: the published numbers, canonical text, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from evolute.errors import ConfigError
from evolute.train.protocol import PROTOCOLS, Probe, Protocol, Threshold, Training

ALL = [stage for stages in PROTOCOLS.values() for stage in (stages.initial, stages.main)]


def test_paper_is_the_published_protocol_to_the_letter() -> None:
    paper = PROTOCOLS["paper"]
    for stage, width, augment, steps in (
        (paper.initial, 32, False, 8_000),
        (paper.main, 48, True, 16_000),
    ):
        assert (stage.batch_size, stage.width, stage.augment) == (128, width, augment)
        assert (stage.fitness, stage.fitness_epoch, stage.split) == ("metric", "best", "validation")
        assert stage.probe is not None
        assert (stage.probe.steps, stage.probe.epoch_steps, stage.probe.warmup_steps) == (
            800,
            200,
            80,
        )
        assert stage.probe.first_rates == (10.0, 1e-2, 1e-5)
        assert stage.probe.other_rates == (1.0, 0.1, 1e-3, 1e-4)
        assert (stage.probe.abandon_epoch, stage.probe.abandon.accuracy) == (3, 0.25)
        assert stage.probe.accept.accuracy == 0.40
        training = stage.training
        assert (training.steps, training.epoch_steps, training.warmup_steps) == (steps, 200, 800)
        assert (training.abandon_epoch, training.abandon.accuracy) == (5, 0.40)


@pytest.mark.parametrize(
    ("preset", "steps", "warmup", "hold"),
    [
        # The usage comment at the end of finalOptimizers.py (OUStudent/NeuralOptimizerSearch).
        ("paper-transfer", 96_000, 6_400, 12_800),
        # basemodel_test of final_loss_testing.py (OUStudent/NeuralLossFunctionEvolution).
        ("paper-from-scratch", 64_000, 6_400, 0),
        ("paper-fine-tuning", 16_000, 1_600, 0),
    ],
)
def test_the_presets_of_a_transfer_have_the_lengths_that_the_authors_released(
    preset: str, steps: int, warmup: int, hold: int
) -> None:
    main = PROTOCOLS[preset].main
    training = main.training
    assert (training.steps, training.warmup_steps, training.hold_steps) == (steps, warmup, hold)
    assert (training.schedule, training.epoch_steps, main.batch_size) == ("cosine", 100, 64)
    assert (main.fitness, main.fitness_epoch, main.width) == ("metric", "best", None)
    assert main.augment == (preset == "paper-transfer")
    assert main.probe is not None
    assert main.probe.steps == 800
    assert main.probe.accept.accuracy is training.abandon.accuracy is None
    assert training.abandon_epoch * training.epoch_steps > warmup
    assert PROTOCOLS[preset].initial == main


def test_a_training_without_a_hold_is_written_as_before_there_was_one() -> None:
    assert "hold_steps" not in PROTOCOLS["quick"].main.to_json()
    held = PROTOCOLS["paper-transfer"].main
    assert Protocol.from_json(held.to_json()) == held


@pytest.mark.parametrize("preset", ["standard", "quick"])
def test_the_small_presets_score_the_last_loss_and_judge_any_number_of_classes(preset: str) -> None:
    main = PROTOCOLS[preset].main
    assert (main.fitness, main.fitness_epoch) == ("loss", "last")
    assert main.probe is not None
    for threshold in (main.probe.abandon, main.probe.accept, main.training.abandon):
        assert threshold.accuracy is None
    assert PROTOCOLS[preset].initial == main


@pytest.mark.parametrize("protocol", ALL, ids=range(len(ALL)))
def test_json_is_read_back_exactly(protocol: Protocol) -> None:
    assert Protocol.from_json(protocol.to_json()) == protocol
    given_rate = protocol.at_rate(0.1, split="test")
    assert Protocol.from_json(given_rate.to_json()) == given_rate


@given(
    rate=st.floats(min_value=1e-300, max_value=1e6, exclude_min=True),
    batch_size=st.integers(1, 10**6),
    width=st.none() | st.integers(1, 10**4),
)
def test_json_keeps_every_number(rate: float, batch_size: int, width: int | None) -> None:
    protocol = Protocol(batch_size=batch_size, width=width, probe=None, learning_rate=rate)
    assert Protocol.from_json(protocol.to_json()) == protocol


def test_equal_protocols_have_one_text_however_they_were_written() -> None:
    first = Protocol(probe=None, learning_rate=10, training=Training(steps=400, warmup_steps=40))
    again = Protocol.from_json(first.to_json().replace("10.0", "1e1"))
    assert again.to_json() == first.to_json()


def test_a_protocol_at_a_rate_has_no_probe_and_keeps_the_rest() -> None:
    quick = PROTOCOLS["quick"].main
    at_rate = quick.at_rate(0.25)
    assert (at_rate.probe, at_rate.learning_rate, at_rate.split) == (None, 0.25, "validation")
    assert replace(at_rate, probe=quick.probe, learning_rate=None) == quick
    assert at_rate.at_rate(0.5, split="test").split == "test"
    assert at_rate.at_rate(0.5, split="test").at_rate(1.0).split == "test"


def test_the_most_steps_of_a_trial_are_its_probes_and_its_training() -> None:
    paper = PROTOCOLS["paper"].initial
    assert paper.most_steps == 7 * 800 + 8000
    assert paper.at_rate(0.1).most_steps == 8000


@pytest.mark.parametrize(
    "make",
    [
        lambda: Protocol(learning_rate=0.1),
        lambda: Protocol(probe=None),
        lambda: Protocol(batch_size=0),
        lambda: Protocol(probe=None, learning_rate=0.0),
        lambda: Protocol(probe=None, learning_rate=float("inf")),
        lambda: Protocol(probe=None, learning_rate=float("nan")),
        lambda: Protocol(fitness="speed"),  # type: ignore[arg-type]
        lambda: Probe(steps=10, epoch_steps=20, warmup_steps=0),
        lambda: Probe(steps=10, epoch_steps=5, warmup_steps=11),
        lambda: Probe(first_rates=()),
        lambda: Probe(first_rates=(0.1,), other_rates=(0.1,)),
        lambda: Training(steps=0),
        lambda: Training(steps=8, epoch_steps=4, warmup_steps=4, hold_steps=5),
        lambda: Threshold(accuracy=1.5, loss_fraction=0.5),
        lambda: Threshold(accuracy=None, loss_fraction=float("nan")),
    ],
)
def test_values_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(ValidationError):
        make()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "the whole"),
        ("[]", "the whole"),
        ('{"batchsize": 3}', "batchsize"),
        ('{"training": {"steps": "many"}}', "training.steps"),
    ],
)
def test_json_that_is_no_protocol_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match="a protocol in JSON cannot be read") as caught:
        Protocol.from_json(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_of_several_lines_is_refused_in_one() -> None:
    with pytest.raises(ConfigError) as refusal:
        Protocol.from_json('{"batch\\nsize": 1}')
    assert len(str(refusal.value).splitlines()) == 1
