"""Thresholds: which epochs fall short, and how that is said."""

from __future__ import annotations

import pytest

from evolute.train.protocol import Threshold
from evolute.train.stopping import EpochMeans, shortfall

THRESHOLD = Threshold(accuracy=0.25, loss_fraction=0.9)


@pytest.mark.parametrize(("accuracy", "passes"), [(0.2499, False), (0.25, True), (0.9, True)])
def test_accuracy_decides_where_the_task_has_it(accuracy: float, passes: bool) -> None:
    epoch = EpochMeans(loss=99.0 if passes else 0.0, metric=accuracy)
    said = shortfall(THRESHOLD, epoch, first_loss=2.0, has_accuracy=True)
    assert (said is None) is passes


@pytest.mark.parametrize("threshold", [THRESHOLD, Threshold(accuracy=None, loss_fraction=0.9)])
@pytest.mark.parametrize(("loss", "passes"), [(1.81, False), (1.79, True)])
def test_the_loss_decides_for_other_metrics(
    threshold: Threshold, loss: float, passes: bool
) -> None:
    for metric in (None, 0.0, 1.0):
        said = shortfall(threshold, EpochMeans(loss, metric), first_loss=2.0, has_accuracy=False)
        assert (said is None) is passes


@pytest.mark.parametrize(("loss", "passes"), [(-2.1, False), (-2.3, True)])
def test_a_negative_loss_must_fall_too(loss: float, passes: bool) -> None:
    said = shortfall(THRESHOLD, EpochMeans(loss, None), first_loss=-2.0, has_accuracy=False)
    assert (said is None) is passes


def test_a_threshold_without_accuracy_asks_for_the_loss_even_of_a_classifier() -> None:
    threshold = Threshold(accuracy=None, loss_fraction=0.9)
    said = shortfall(threshold, EpochMeans(1.0, 0.0), first_loss=2.0, has_accuracy=True)
    assert said is None


def test_the_sentence_says_what_was_reached_and_what_was_asked() -> None:
    said = shortfall(THRESHOLD, EpochMeans(2.2, 0.1), first_loss=2.3, has_accuracy=True)
    assert said == "training accuracy 0.1 is under 0.25"
