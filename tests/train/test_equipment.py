"""Equipment: what trains, and where; a device that is not there is refused in one line."""

from __future__ import annotations

from typing import NoReturn

import pytest
import torch
from torch import nn
from train.small_task import AT_RATE, make

from evolute.errors import InputError, TaskError
from evolute.lanes.base import LaneNetwork
from evolute.lanes.loop import LoopNetwork
from evolute.lanes.plans import GRAPHED
from evolute.lang.rule import Rule
from evolute.presets import resolve
from evolute.train import planning
from evolute.train.deck import Deck
from evolute.train.equipment import CPU, Equipment, has_device, require_device
from evolute.train.memory import memory_in_words, too_little_memory
from evolute.train.planning import choose_plans, most_lanes, timed_bytes
from evolute.train.population import MakeNetwork, Population
from evolute.train.trainers import make_trainer


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30, 2**31))


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "mps", "", "CPU"])
def test_a_malformed_device_is_refused(device: str) -> None:
    with pytest.raises(InputError, match="give 'cpu', 'cuda' or 'cuda:1'"):
        Equipment(device=device)


@pytest.mark.usefixtures("two_gpus")
def test_a_device_beyond_those_that_torch_sees_is_refused() -> None:
    require_device("cuda")
    require_device("cuda:1")
    with pytest.raises(InputError, match="'cuda:2': torch sees 2 here"):
        require_device("cuda:2")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(("built", "says"), [("13.0", "no GPU here"), (None, "without CUDA")])
def test_without_a_gpu_a_trainer_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, built: str | None, says: str
) -> None:
    monkeypatch.setattr(torch.version, "cuda", built)
    with pytest.raises(InputError, match=says):
        make_trainer(make(), Equipment(device="cuda"))
    assert has_device(CPU)


@pytest.mark.usefixtures("no_gpu")
def test_who_has_no_gpu_chooses_no_plan_for_workers_that_have_one() -> None:
    given = Equipment(device="cuda")
    assert choose_plans(make(), (AT_RATE,), equipment=given) is given


@pytest.mark.usefixtures("two_gpus")
def test_the_lanes_of_a_gpu_follow_from_its_own_memory() -> None:
    assert most_lanes(Equipment(device="cuda"), 2**26) == 8


@pytest.mark.usefixtures("two_gpus")
def test_the_lanes_with_which_plans_of_a_gpu_are_timed_follow_from_its_whole_memory() -> None:
    # Not from what is free, which another program may change: here half is, 2 ** 30.
    assert timed_bytes("cuda:1") == 2**28


@pytest.mark.parametrize("plan", GRAPHED)
def test_a_plan_with_graphs_is_refused_without_a_gpu(plan: str) -> None:
    assert Equipment(plan=plan, device="cuda").plan == plan
    with pytest.raises(InputError, match=f"plan '{plan}' trains on a GPU alone: give --device"):
        Equipment(plan=plan)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_where_a_gpu_runs_out_of_memory_the_line_says_what_it_has_free(error: Exception) -> None:
    with pytest.raises(TaskError) as caught, memory_in_words("t", "cuda:1"):
        raise error
    said = str(caught.value)
    assert "fits into the memory: 'cuda:1' has 1,024 MiB free of 2,048 MiB; end what else" in said
    assert "fewer workers, give another with --device, or make the network or the batch" in said
    assert str(error) in said
    assert "ulimit" not in said
    assert "\n" not in said


@pytest.mark.usefixtures("two_gpus")
def test_where_the_host_of_a_gpu_runs_out_of_memory_the_line_is_about_the_host() -> None:
    error = RuntimeError("DefaultCPUAllocator: can't allocate memory")
    assert "MiB free of" not in str(too_little_memory("t", error, device="cuda"))


def test_a_gpu_so_full_that_it_cannot_be_asked_is_called_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_device: str) -> tuple[int, int]:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "mem_get_info", refuse)
    error = too_little_memory("t", torch.OutOfMemoryError("CUDA out of memory"), device="cuda")
    assert "memory: that of 'cuda' is full; end what else" in str(error)


def exhausted(*_: object, **__: object) -> NoReturn:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.usefixtures("two_gpus")
def test_a_plan_for_a_gpu_that_has_no_memory_ends_with_words_about_the_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planning, "choose", exhausted)
    with pytest.raises(TaskError, match="'cuda' has 1,024 MiB free"):
        choose_plans(make(), (AT_RATE,), equipment=Equipment(device="cuda"))


@pytest.mark.usefixtures("two_gpus")
def test_trainings_for_which_a_gpu_has_no_memory_end_with_words_about_the_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def on_the_processor(model: nn.Module, size: int) -> LaneNetwork:
        return LoopNetwork(model, size)

    equipment = Equipment(device="cuda", lanes=1)
    places: list[tuple[object, str, MakeNetwork | None]] = [
        (planning, "choose", None),
        (Deck, "step", on_the_processor),
    ]
    for where, name, given in places:
        population = Population(make(), equipment, make_network=given)
        population.add(0, Rule.parse("g"), AT_RATE, seed=0)
        with monkeypatch.context() as patched:
            patched.setattr(where, name, exhausted)
            with pytest.raises(TaskError, match="'cuda' has 1,024 MiB free"):
                list(population.run())


def test_the_device_is_a_setting_and_no_part_of_what_a_run_is() -> None:
    here, there = (
        resolve("quick", {"task": "digits", "device": device}) for device in ("cpu", "cuda:1")
    )
    assert resolve("quick", {"task": "digits"}).equipment().device == CPU
    assert there.equipment().device == "cuda:1"
    assert here.run_config("digits").identity() == there.run_config("digits").identity()
