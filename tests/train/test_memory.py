"""The number of lanes follows from the memory."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from train.small_task import ADAM, AT_RATE, make, pairs, untimed

from evolute.errors import InputError, TaskError
from evolute.lanes.stacked.network import StackedNetwork
from evolute.tasks.base import Split, Task
from evolute.train.environment import fixed_environment
from evolute.train.equipment import AUTO, Equipment
from evolute.train.memory import (
    free_memory,
    is_out_of_memory,
    lanes_that_fit,
    memory_in_words,
    parse_memory,
)
from evolute.train.planning import choose_plans, most_lanes
from evolute.train.population import Population
from evolute.train.survey import Survey, survey
from evolute.trial import Trial


@pytest.mark.parametrize("text", ["", "4X", "-1G", "0", "many", "1e9"])
def test_what_is_no_amount_of_memory_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match="give an amount such as 512M or 4G"):
        parse_memory(text)


@pytest.mark.parametrize("text", ["1", "1023K", "8 B"])
def test_an_amount_without_its_unit_is_refused_with_what_is_free_and_what_is_least(
    text: str,
) -> None:
    with pytest.raises(InputError, match=r"is [\d.]+ .*are free: give at least 1M") as caught:
        parse_memory(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (900 * 2**40, r"900 TiB of memory are given and [\d.]+ .iB are free"),
        (2**20, r"1 MiB of memory are given for 64 processes, .*, and one training takes about"),
    ],
)
@pytest.mark.parametrize("plan", [AUTO, "loop"])
def test_memory_that_is_not_there_or_does_not_suffice_is_told_once(
    given: int, said: str, plan: str, caplog: pytest.LogCaptureFixture
) -> None:
    wide = make(model=lambda: nn.Sequential(nn.Linear(4, 800), nn.Linear(800, 3)))
    equipment = Equipment(memory_bytes=given, plan=plan, shared_by=64)
    with caplog.at_level(logging.WARNING, "evolute"), fixed_environment():
        equipment = choose_plans(wide, [AT_RATE], equipment=equipment)
        population = Population(wide, equipment)
        population.add(0, ADAM, AT_RATE, seed=0)
        list(population.run())
    (line,) = [line for line in caplog.messages if "memory" in line]
    assert re.search(said, line)
    assert wide.name in line


def test_one_lane_is_trained_where_none_would_fit() -> None:
    assert lanes_that_fit(10**9, 1) == 1
    assert lanes_that_fit(10, 10**9, most=7) == 7


def test_some_memory_is_free() -> None:
    assert free_memory() > 2**20


def test_other_errors_are_no_lack_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("mine"))
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    for library in ("CUDA error: CUBLAS", "cuDNN error: CUDNN"):
        assert is_out_of_memory(RuntimeError(f"{library}_STATUS_ALLOC_FAILED when calling `it`"))
        assert not is_out_of_memory(RuntimeError(f"{library}_STATUS_EXECUTION_FAILED"))


def surveyed(task: Task) -> Survey:
    batch = next(task.batches(torch.Generator().manual_seed(0), 8))
    return survey(task, task.model(), batch=batch, seed=0)


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


def large_batches(width: int = 50) -> Task:
    """Return a task of which a batch of the evaluation is 100 times as large as one of training."""
    return make(
        model=lambda: nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3)),
        validation=pairs(800, 1),
    )


def test_what_an_evaluation_takes_follows_from_its_largest_batch() -> None:
    task = large_batches()
    batch = next(task.batches(torch.Generator().manual_seed(0), 8))
    found = survey(task, task.model(), batch=batch, seed=0, splits=[Split.TEST])
    more = survey(task, task.model(), batch=batch, seed=0, splits=[Split.TEST, Split.VALIDATION])
    of_a_layer = 4 * 50
    assert 20 * of_a_layer <= found.bytes_evaluated <= 20 * 3 * of_a_layer
    assert more.bytes_evaluated == 40 * found.bytes_evaluated
    assert more.bytes_evaluated > more.bytes_stepped
    assert more.bytes_needed == more.bytes_held + more.bytes_evaluated


class Picky(nn.Linear):
    """Cannot be evaluated."""

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            raise ValueError("not now")
        return super().forward(inputs)


def test_a_model_that_cannot_be_evaluated_is_spoken_of_where_it_is() -> None:
    task = make(model=lambda: Picky(4, 3))
    batch = next(task.batches(torch.Generator().manual_seed(0), 8))
    found = survey(task, task.model(), batch=batch, seed=0, splits=[Split.TEST])
    assert found.bytes_evaluated == 0


def evaluated(memory: int, **given: Any) -> tuple[int, list[int], list[Trial]]:
    """Return how many lanes fit, how many were evaluated in each pass, and the trials."""
    counts: list[int] = []

    class Watched(StackedNetwork):
        def evaluate(self, batches: Any, slots: Any, criterion: Any) -> Any:
            counts.append(len(slots))
            return super().evaluate(batches, slots, criterion)

    equipment = Equipment(memory_bytes=memory, **given)
    population = Population(large_batches(), equipment, make_network=Watched)
    for ticket in range(8):
        population.add(ticket, ADAM, AT_RATE, seed=ticket % 2)
    with fixed_environment():
        trials = dict(population.run())
    return population._most, counts, [untimed(trials[ticket]) for ticket in range(8)]


def test_so_many_lanes_are_evaluated_in_one_pass_as_there_is_memory_for() -> None:
    # One lane holds 8 × 403 × 4 bytes and takes some 0.35 MB while it is evaluated.
    most, counts, wanted = evaluated(2**30)
    assert max(counts) == 8
    assert most == 64
    for memory, given in ((2**20, {}), (2**20, {"lanes": 8}), (2**16, {"lanes": 8})):
        most, counts, trials = evaluated(memory, **given)
        assert max(counts) < 8
        assert most >= 8
        assert trials == wanted


def test_lanes_leave_memory_for_the_evaluation_of_one() -> None:
    counts = [evaluated(memory)[0] for memory in (2**18, 2**19, 2**20)]
    assert counts[0] == 1
    assert counts[1] < 20
    assert counts[2] > 40


LIMITED = """
import os, resource, sys
import torch
from torch import nn
from evolute.errors import TaskError
from evolute.lanes.stacked.network import StackedNetwork
from evolute.tasks.base import Split, Task
from evolute.train.equipment import Equipment
from evolute.train.memory import free_memory
from evolute.train.planning import choose_plans
from evolute.train.protocol import PROTOCOLS

def model():
    return nn.Sequential(nn.Linear(4, 10_000), nn.Linear(10_000, 10_000), nn.Linear(10_000, 3))

data = torch.zeros(40, 4), torch.zeros(40, dtype=torch.int64)
task = Task(name="large", version="1", model=model, train=data, validation=data, test=data,
            loss="cross_entropy")
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * os.sysconf("SC_PAGE_SIZE") + 700 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
assert free_memory() <= 700 * 2**20
try:
    choose_plans(task, [PROTOCOLS["quick"].main], equipment=Equipment())
except TaskError as error:
    print(error)
"""
"""A network of 381 MiB, of which one copy fits: what is left is more than malloc itself takes."""


def test_where_addresses_are_limited_a_line_says_how_many_are_allowed_and_what_to_do() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED],
        env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    (line,) = ran.stdout.splitlines()
    assert "task 'large': not even one training fits into the memory" in line
    assert "MiB of addresses (RLIMIT_AS)" in line
    assert "allow more (ulimit -v), or make the network or the batch smaller" in line
    assert "DefaultCPUAllocator" in line
    assert "no plan trains" not in line


def test_without_such_a_limit_the_line_says_what_is_free() -> None:
    with (
        pytest.raises(TaskError, match=r"memory: [\d,]+ MiB are free; give it a machine"),
        memory_in_words("t"),
    ):
        raise MemoryError
    with pytest.raises(ValueError, match="mine"), memory_in_words("t"):
        raise ValueError("mine")


def test_as_many_lanes_as_one_process_of_several_has_memory_for() -> None:
    assert most_lanes(Equipment(memory_bytes=2**20, shared_by=4), 2**16) == 4
    assert most_lanes(Equipment(lanes=7, memory_bytes=1), 2**16) == 7
