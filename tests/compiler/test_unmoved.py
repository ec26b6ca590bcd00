"""A native step as the last one: where nothing but numbers changed, and right where more did."""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from evolute.compiler import native
from evolute.compiler.fused import NativeSteps
from evolute.compiler.optimizer import RuleOptimizer
from evolute.errors import InputError

pytestmark = pytest.mark.skipif(
    not native.available() and os.environ.get("CI") != "true", reason=native.status().reason
)
SHAPES = ((), (5,), (3, 30), (20, 41))
RULE = "nesterov: [a3]*v/(sqrt(s)+1e-08) + dropout(delta(g), 0.3)"
Weights = list[nn.Parameter]
Change = Callable[[Weights, RuleOptimizer], object]


def made(rule: str = RULE, *, foreach: bool | None = None) -> tuple[Weights, RuleOptimizer]:
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(each, generator=generator)) for each in SHAPES]
    return weights, RuleOptimizer(weights, rule, lr=0.05, total_steps=20, seed=3, foreach=foreach)


def give_gradients(weights: Weights, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=generator)


class Again:
    """Counts the steps made as the last one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.results: list[bool] = []
        step_again = NativeSteps.step_again

        def counted(steps: NativeSteps, *arguments: object) -> bool:
            self.results.append(step_again(steps, *arguments))  # type: ignore[arg-type]
            return self.results[-1]

        monkeypatch.setattr(NativeSteps, "step_again", counted)


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> Again:
    return Again(monkeypatch)


def states(weights: Weights, optimizer: RuleOptimizer) -> list[dict[str, Tensor]]:
    return [optimizer.state[each] for each in weights]


def replace_slots(weights: Weights, optimizer: RuleOptimizer) -> None:
    for state in states(weights, optimizer):
        state["momentum_buffer"] = torch.full_like(state["momentum_buffer"], 0.5)


def replace_memory_of_slots(weights: Weights, optimizer: RuleOptimizer) -> None:
    for state in states(weights, optimizer):
        state["momentum_buffer"].data = torch.full_like(state["momentum_buffer"], 0.5)


def replace_memory_of_weights(weights: Weights, _optimizer: RuleOptimizer) -> None:
    for weight in weights:
        weight.data = weight.data.clone()


def turn_a_weight(weights: Weights, _optimizer: RuleOptimizer) -> None:
    weights[2].data = weights[2].data.t().contiguous().t()


def cut_a_weight(weights: Weights, optimizer: RuleOptimizer) -> None:
    weights[1].data = weights[1].data[:3]
    optimizer.state.pop(weights[1])


def set_counters(weights: Weights, optimizer: RuleOptimizer) -> None:
    for state in states(weights, optimizer):
        state["step"].fill_(7)


def set_one_counter(weights: Weights, optimizer: RuleOptimizer) -> None:
    optimizer.state[weights[1]]["step"].data.fill_(9)


def replace_counters(weights: Weights, optimizer: RuleOptimizer) -> None:
    for state in states(weights, optimizer):
        state["step"] = torch.tensor(8)


def share_counters(weights: Weights, optimizer: RuleOptimizer) -> None:
    for state in states(weights, optimizer):
        state["step"].share_memory_()


def add_a_group(_weights: Weights, optimizer: RuleOptimizer) -> None:
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    optimizer.add_param_group({"params": [weight], "lr": 0.5})


def train_with_other_numbers(_weights: Weights, optimizer: RuleOptimizer) -> None:
    numbers = {"lr": 0.5, "momentum": 0.2, "weight_decay": 0.1, "maximize": True, "seed": 9}
    optimizer.param_groups[0].update({**numbers, "total_steps": 11})


CHANGES: list[Change] = [
    replace_slots,
    replace_memory_of_slots,
    replace_memory_of_weights,
    turn_a_weight,
    cut_a_weight,
    set_counters,
    set_one_counter,
    replace_counters,
    share_counters,
    add_a_group,
    train_with_other_numbers,
    lambda _, optimizer: optimizer.state.clear(),
    lambda weights, optimizer: optimizer.state.update({weights[1]: {}}),
    lambda _, optimizer: optimizer.param_groups[0]["params"].reverse(),
    lambda _, optimizer: optimizer.param_groups[0]["params"].pop(),
    lambda _, optimizer: optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict())),
    lambda _, optimizer: optimizer.param_groups[0].update({"differentiable": True}),
]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_between_steps_is_seen(change: Change, again: Again) -> None:
    ends = []
    for foreach in (None, False):
        weights, optimizer = made(foreach=foreach)
        for step in range(6):
            if step == 3:
                change(weights, optimizer)
            give_gradients(weights, step)
            optimizer.step()
        counters = [state["step"] for state in optimizer.state.values()]
        ends.append([*weights, *counters])
    assert again.results[:2] == [True, True]
    for ours, theirs in zip(*ends, strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-4, atol=1e-5)


GRADIENTS: list[Callable[[Tensor], Tensor | None]] = [
    lambda _: None,
    lambda each: each.repeat_interleave(2)[::2],
    lambda each: torch.nn.Parameter(each),
]


@pytest.mark.parametrize("change", GRADIENTS)
def test_a_gradient_of_another_kind_is_seen_and_one_that_goes_and_comes(
    change: Callable[[Tensor], Tensor | None],
) -> None:
    ends = []
    for foreach in (None, False):
        weights, optimizer = made(foreach=foreach)
        for step in range(8):
            give_gradients(weights, step)
            if step in (3, 4):
                gradient = weights[1].grad
                assert gradient is not None
                weights[1].grad = change(gradient)
            optimizer.step()
        ends.append([weight.detach() for weight in weights])
    for ours, theirs in zip(*ends, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_sparse_gradient_is_refused_after_dense_ones(again: Again) -> None:
    weights, optimizer = made("none: v")
    for step in range(3):
        give_gradients(weights, step)
        optimizer.step()
    weights[2].grad = torch.zeros(3, 30).to_sparse()
    with pytest.raises(InputError, match="is sparse"):
        optimizer.step()
    assert again.results == [True, True, False]


def test_gradients_that_stay_where_they_are_may_hold_other_numbers(again: Again) -> None:
    weight = nn.Parameter(torch.zeros(4))
    optimizer = RuleOptimizer([weight], "none: g", lr=1.0)
    weight.grad = torch.zeros(4)
    for value in range(4):
        weight.grad.fill_(value)
        optimizer.step()
    assert again.results == [True] * 3
    assert weight.tolist() == [-6.0] * 4


def test_hooks_and_the_closure_are_called_at_every_step(again: Again) -> None:
    weights, optimizer = made("none: v")
    called: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    for step in range(3):
        give_gradients(weights, step)
        optimizer.step()
    assert optimizer.step(lambda: 0.25) == 0.25
    assert called == ["before", "after"] * 4
    assert again.results == [True, True]


def test_autograd_is_told_that_a_weight_changed_again() -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = RuleOptimizer([weight], "none: v", lr=0.1)
    for _ in range(3):
        weight.grad = torch.ones(3)
        optimizer.step()
    loss = (weight * weight).sum()
    weight.grad = None
    loss.backward(retain_graph=True)
    versions = [optimizer.state[weight]["step"]._version, weight._version]
    optimizer.step()
    after = [optimizer.state[weight]["step"]._version, weight._version]
    assert all(old < new for old, new in zip(versions, after, strict=True))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_one_group_that_changed_does_not_keep_the_others_from_their_step() -> None:
    ends = []
    for foreach in (None, False):
        weights = [nn.Parameter(torch.ones(3)) for _ in range(3)]
        groups = [{"params": [weight], "lr": 0.1 * at} for at, weight in enumerate(weights, 1)]
        optimizer = RuleOptimizer(groups, "momentum: v", lr=1.0, foreach=foreach)
        for step, changed in itertools.product(range(2), range(3)):
            if step:
                weights[changed].data = weights[changed].data.clone()
            for weight in weights:
                weight.grad = torch.full((3,), 0.5)
            optimizer.step()
        ends.append([weight.detach() for weight in weights])
    for ours, theirs in zip(*ends, strict=True):
        torch.testing.assert_close(ours, theirs)
