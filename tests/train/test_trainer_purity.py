"""Trials are pure functions of their key, and rules of one seed see the same random numbers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from train.small_task import AT_RATE, PROBED, SGD, SHORT, dropping, make, pairs, run

from evolute.errors import TaskError
from evolute.lang.rule import Rule
from evolute.train.protocol import Protocol
from evolute.train.trainer import run_trial, trial_key
from evolute.trial import Trial


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


@contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def low_precision() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@contextmanager
def flushed_denormals() -> Iterator[None]:
    torch.set_flush_denormal(True)
    try:
        yield
        assert (torch.tensor(2e-38) * 0.25).item() == 0
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
        assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_device(None)


@contextmanager
def autocast() -> Iterator[None]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield
        assert torch.is_autocast_enabled("cpu")


@contextmanager
def another_history() -> Iterator[None]:
    run(SGD)
    torch.rand(17)
    yield


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "threads": lambda: threads(2),
    "default dtype": default_dtype,
    "matmul precision": low_precision,
    "flushed denormals": flushed_denormals,
    "default device": default_device,
    "autocast": autocast,
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "another history": another_history,
}


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_a_trial_is_bit_identical_whatever_surrounds_it(surroundings: str) -> None:
    task = make()
    expected = run(task=task)
    assert expected.score is not None
    with SURROUNDINGS[surroundings]():
        assert run(task=task) == expected


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_inside_a_trial_torch_is_set_as_stated(surroundings: str) -> None:
    seen = set()

    def watching(output: Tensor, target: Tensor) -> Tensor:
        settings = (
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.get_default_device().type,
            torch.get_float32_matmul_precision(),
            torch.is_autocast_enabled("cpu"),
            torch.is_inference_mode_enabled(),
            (torch.tensor(2e-38) * 0.25).item() > 0,
        )
        seen.add(settings)
        return nn.functional.cross_entropy(output, target)

    task = make(loss=watching)
    with SURROUNDINGS[surroundings]():
        run(task=task, protocol=AT_RATE)
    assert seen == {(1, torch.float32, "cpu", "highest", False, False, True)}


def test_the_global_generators_are_as_before() -> None:
    before = torch.default_generator.get_state(), np.random.get_state(), random.getstate()
    run()
    assert torch.equal(torch.default_generator.get_state(), before[0])
    assert str(np.random.get_state()) == str(before[1])
    assert random.getstate() == before[2]


def test_settings_come_back_when_the_task_raises() -> None:
    def failing(output: Tensor, target: Tensor) -> Tensor:
        raise ValueError("mine")

    task = make(loss=failing)
    with threads(2), default_dtype():
        state = torch.default_generator.get_state()
        with pytest.raises(TaskError, match="task 'small': its loss raised ValueError: mine"):
            run(task=task)
        assert torch.equal(torch.default_generator.get_state(), state)


def test_a_model_given_as_a_module_is_left_as_it_was() -> None:
    net = dropping().eval()
    before = [value.clone() for value in net.state_dict().values()]
    first, again = (run(task=make(model=net)) for _ in range(2))
    assert first == again
    assert not net.training
    assert all(map(torch.equal, net.state_dict().values(), before))


def test_a_model_given_in_evaluation_mode_is_trained_in_training_mode() -> None:
    net = dropping()
    assert run(task=make(model=net.eval())) == run(task=make(model=net.train()))


def test_all_ways_to_write_a_rule_are_one_trial() -> None:
    one = Rule.parse("dropout(v, 0.5) + dropout(g, 0.5)")
    other = Rule.parse("dropout(g, 0.5) + dropout(v, 0.5)")
    assert run(one) == run(other)
    assert run(one).key == trial_key(other, make(), PROBED, seed=3)


def test_a_trial_survives_json() -> None:
    trial = run()
    assert Trial.from_dict(json.loads(json.dumps(trial.to_dict()))) == trial


def recorded(rule: Rule, *, seed: int, protocol: Protocol = AT_RATE) -> list[Tensor]:
    """First weights, then the inputs and the dropout mask of every training batch."""
    seen: list[Tensor] = []

    class Recording(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)
            seen.append(self.layer.weight.detach().clone())

        def forward(self, inputs: Tensor) -> Tensor:
            if self.training:
                mask = nn.functional.dropout(torch.ones(6))
                seen.extend((inputs.clone(), mask))
            output: Tensor = self.layer(inputs)
            return output

    run_trial(rule, make(model=Recording), protocol, seed=seed)
    return seen


def test_rules_and_rates_of_one_seed_see_the_same_weights_batches_and_masks() -> None:
    first = recorded(SGD, seed=1)
    noisy = recorded(Rule.parse("nesterov: dropout(v/sqrt(s), 0.5)"), seed=1)
    other_rate = recorded(SGD, seed=1, protocol=AT_RATE.at_rate(0.001))
    assert len(first) == 1 + 2 * SHORT.steps
    for seen in (noisy, other_rate):
        assert len(seen) == len(first)
        assert all(map(torch.equal, seen, first))


def test_probes_begin_like_the_training() -> None:
    seen = recorded(SGD, seed=1, protocol=PROBED)
    at_rate = recorded(SGD, seed=1)
    assert PROBED.probe is not None
    length = 1 + 2 * PROBED.probe.steps
    for start in (0, length, 2 * length):
        assert all(map(torch.equal, seen[start : start + length], at_rate[:length]))


def test_seeds_differ_in_weights_batches_and_masks() -> None:
    first, other = recorded(SGD, seed=1), recorded(SGD, seed=2)
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])
    assert not torch.equal(torch.stack(first[2::2]), torch.stack(other[2::2]))


def test_the_noise_of_a_rule_follows_the_seed() -> None:
    rule = Rule.parse("dropout(g, 0.5)")
    fixed = make(model=nn.Linear(4, 3), train=[pairs(8, 0)])
    first, again, other = (run_trial(rule, fixed, AT_RATE, seed=seed).score for seed in (1, 1, 2))
    assert first == again
    assert first != other
