"""Equipment: what trains, and where; a device that is not there is refused in one line."""

from __future__ import annotations

import pytest
import torch
from train.small_task import AT_RATE, make

from evolute.errors import InputError
from evolute.presets import resolve
from evolute.train.equipment import CPU, Equipment, has_device, require_device
from evolute.train.planning import choose_plans, most_lanes
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
    assert choose_plans(make(), (AT_RATE,), seed=0, equipment=given) is given


@pytest.mark.usefixtures("two_gpus")
def test_the_lanes_of_a_gpu_follow_from_its_own_memory() -> None:
    assert most_lanes(Equipment(device="cuda"), 2**26) == 8


def test_the_device_is_a_setting_and_no_part_of_what_a_run_is() -> None:
    here, there = (
        resolve("quick", {"task": "digits", "device": device}) for device in ("cpu", "cuda:1")
    )
    assert resolve("quick", {"task": "digits"}).equipment().device == CPU
    assert there.equipment().device == "cuda:1"
    assert here.run_config("digits").identity() == there.run_config("digits").identity()
