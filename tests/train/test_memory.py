"""The number of lanes follows from the memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from train.small_task import make

from evolute.errors import InputError
from evolute.tasks.base import Task
from evolute.train.memory import free_memory, is_out_of_memory, lanes_that_fit, parse_memory
from evolute.train.survey import Survey, survey


@pytest.mark.parametrize("text", ["", "4X", "-1G", "0", "many", "1e9"])
def test_what_is_no_amount_of_memory_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match="give an amount such as 512M or 4G"):
        parse_memory(text)


def test_one_lane_is_trained_where_none_would_fit() -> None:
    assert lanes_that_fit(10**9, 1) == 1
    assert lanes_that_fit(10, 10**9, most=7) == 7


def test_some_memory_is_free() -> None:
    assert free_memory() > 2**20


def test_other_errors_are_no_lack_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("mine"))
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))


def surveyed(task: Task) -> Survey:
    batch = next(task.batches(torch.Generator().manual_seed(0), 8))
    return survey(task, task.model(), batch, seed=0)


def test_a_survey_finds_dropout_and_its_absence() -> None:
    assert surveyed(make()).is_random
    assert not surveyed(make(model=lambda: nn.Linear(4, 3))).is_random


def test_a_larger_network_takes_more_memory() -> None:
    def wide(width: int) -> Task:
        return make(
            model=lambda: nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))
        )

    small, large = surveyed(wide(8)), surveyed(wide(80))
    assert large.bytes_per_lane > 5 * small.bytes_per_lane
    assert small.trained == ("0.weight", "0.bias", "2.weight", "2.bias")
