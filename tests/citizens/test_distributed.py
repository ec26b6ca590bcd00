"""RuleOptimizer in two processes: DDP, FSDP2 (``fully_shard``), torch.distributed.checkpoint."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from citizens import ranks
from citizens.ranks import Weights
from filelock import FileLock
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from torch.distributed.checkpoint.state_dict_saver import save

from evolute import zoo
from evolute.compiler.optimizer import RuleOptimizer
from evolute.errors import InputError

SECONDS = 120
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
SHARDABLE = [
    name
    for name in zoo.names()
    if zoo.load(name).is_elementwise and zoo.load(name).is_deterministic
]
UNSHARDABLE = [name for name in zoo.names() if name not in SHARDABLE]
ALONE = "ignore:torch.distributed is disabled, unavailable or uninitialized:UserWarning"


class Outcome:
    """What the two processes left behind."""

    def __init__(self, folder: Path) -> None:
        self.checkpoint = folder / "checkpoint"
        self.ranks: list[dict[str, Any]] = [
            torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(ranks.RANKS)
        ]


def run_ranks(folder: Path) -> None:
    """Run two processes that meet on the loopback interface."""
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": LOOPBACK, "OMP_NUM_THREADS": "1"}
    logs = [folder / f"log{rank}.txt" for rank in range(ranks.RANKS)]
    processes = []
    for rank, log in enumerate(logs):
        with log.open("w") as file:
            command = [sys.executable, ranks.__file__, str(rank), str(folder)]
            processes.append(
                subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
            )
    try:
        codes = [process.wait(timeout=SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert codes == [0] * ranks.RANKS, "\n".join(log.read_text() for log in logs)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Start the two processes once, whichever worker of the test run asks first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "ranks"
    with FileLock(shared / "ranks.lock"):
        if not folder.exists():
            folder.mkdir()
            run_ranks(folder)
    return Outcome(folder)


def alone(name: str) -> Weights:
    """Train on whole batches in this process."""
    model = ranks.network()
    optimizer = zoo.create(name, model.parameters(), lr=0.01, total_steps=ranks.STEPS)
    ranks.train(model, optimizer, range(ranks.STEPS))
    return ranks.whole(model)


def resumable(lr: float = 0.01) -> tuple[torch.nn.Module, RuleOptimizer]:
    model = ranks.network()
    return model, RuleOptimizer(model.parameters(), ranks.RESUMED, lr=lr, total_steps=ranks.STEPS)


def assert_equal(one: Weights, other: Weights) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def assert_equal_to_rounding(one: Weights, other: Weights) -> None:
    torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", ranks.REPLICATED)
def test_both_ranks_of_ddp_end_with_the_weights_of_one_process(name: str, outcome: Outcome) -> None:
    first, second = (each["replicated"][name] for each in outcome.ranks)
    assert_equal(first, second)
    assert_equal_to_rounding(first, alone(name))


@pytest.mark.parametrize("name", SHARDABLE)
def test_sharded_parameters_end_as_whole_ones(name: str, outcome: Outcome) -> None:
    first, second = (each["sharded"][name] for each in outcome.ranks)
    assert_equal(first, second)
    assert_equal_to_rounding(first, alone(name))


@pytest.mark.parametrize("name", SHARDABLE)
def test_states_are_sharded_like_their_parameters(name: str, outcome: Outcome) -> None:
    assert all(each["states are sharded alike"][name] for each in outcome.ranks)


def test_sharded_parameters_taken_one_by_one_end_the_same(outcome: Outcome) -> None:
    for each in outcome.ranks:
        assert_equal(each["one by one"], each["sharded"]["opt1"])


def test_a_gradient_of_which_each_rank_has_a_summand_is_summed(outcome: Outcome) -> None:
    for each in outcome.ranks:
        assert each["summed"].tolist() == [-3.0, -3.0, -3.0]


@pytest.mark.parametrize("name", UNSHARDABLE)
def test_a_rule_that_needs_whole_tensors_refuses_shards_by_name(
    name: str, outcome: Outcome
) -> None:
    culprit = "clip_norm" if not zoo.load(name).is_elementwise else "dropout"
    for each in outcome.ranks:
        assert culprit in each["refusals"][name]
        assert "\n" not in each["refusals"][name]


def test_a_sharded_training_continues_from_its_checkpoint_to_the_bit(outcome: Outcome) -> None:
    for each in outcome.ranks:
        assert_equal(each["straight"], each["continued"])


@pytest.mark.filterwarnings(ALONE)
def test_one_process_continues_the_checkpoint_of_two(outcome: Outcome) -> None:
    model, optimizer = resumable(lr=0.5)
    ranks.restore(model, optimizer, outcome.checkpoint)
    assert optimizer.param_groups[0]["lr"] == 0.01
    ranks.train(model, optimizer, range(ranks.SAVED_AT, ranks.STEPS))
    assert_equal_to_rounding(ranks.whole(model), outcome.ranks[0]["straight"])


@pytest.mark.filterwarnings(ALONE)
def test_a_checkpoint_folder_continues_to_the_bit(tmp_path: Path) -> None:
    model, optimizer = resumable()
    ranks.train(model, optimizer, range(ranks.SAVED_AT))
    save(ranks.checkpoint(model, optimizer), checkpoint_id=tmp_path / "checkpoint")
    ranks.train(model, optimizer, range(ranks.SAVED_AT, ranks.STEPS))
    other, resumed = resumable(lr=0.5)
    ranks.restore(other, resumed, tmp_path / "checkpoint")
    ranks.train(other, resumed, range(ranks.SAVED_AT, ranks.STEPS))
    assert_equal(ranks.whole(model), ranks.whole(other))


@pytest.mark.parametrize("flat", [False, True], ids=["nested", "flat"])
def test_the_state_helpers_of_torch_hand_a_state_over(flat: bool) -> None:
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    model, optimizer = resumable()
    ranks.train(model, optimizer, range(ranks.SAVED_AT))
    state = get_optimizer_state_dict(model, optimizer, options=options)
    other, resumed = resumable(lr=0.5)
    other.load_state_dict(model.state_dict())
    set_optimizer_state_dict(other, resumed, state, options=options)
    for each, its in ((model, optimizer), (other, resumed)):
        ranks.train(each, its, range(ranks.SAVED_AT, ranks.STEPS))
    assert_equal(ranks.whole(model), ranks.whole(other))


@pytest.mark.parametrize("name", zoo.names())
def test_the_state_helpers_of_torch_resume_every_entry_to_the_bit(name: str) -> None:
    """They make a step with a rate and gradients of 0 first, which must leave the weights."""

    def made(lr: float) -> tuple[torch.nn.Module, RuleOptimizer]:
        model = ranks.network()
        return model, zoo.create(name, model.parameters(), lr=lr, total_steps=ranks.STEPS)

    model, optimizer = made(0.01)
    ranks.train(model, optimizer, range(ranks.SAVED_AT))
    weights, state = copy.deepcopy(get_state_dict(model, optimizer))
    other, resumed = made(0.5)
    set_state_dict(other, resumed, model_state_dict=weights, optim_state_dict=state)
    assert_equal(ranks.whole(model), ranks.whole(other))
    for each, its in ((model, optimizer), (other, resumed)):
        ranks.train(each, its, range(ranks.SAVED_AT, ranks.STEPS))
    assert_equal(ranks.whole(model), ranks.whole(other))


def test_the_state_helpers_of_torch_refuse_the_state_of_another_rule() -> None:
    model, optimizer = resumable()
    ranks.train(model, optimizer, range(1))
    state = get_optimizer_state_dict(model, optimizer)
    other = RuleOptimizer(model.parameters(), "none: g", lr=0.01)
    with pytest.raises(InputError, match="belongs to the rule"):
        set_optimizer_state_dict(model, other, state)
