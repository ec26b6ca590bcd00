"""What torch asks of its own optimizers, asked of rules, over its ``OptimizerInfo`` interface."""

from __future__ import annotations

import copy
import inspect
import io
from typing import Any

import pytest
import torch
from citizens.optimizer_infos import INFOS
from torch import Tensor
from torch.nn import Parameter
from torch.testing._internal.common_optimizers import (
    OptimizerErrorEnum,
    OptimizerInfo,
    OptimizerInput,
    _get_optim_inputs_including_global_cliquey_kwargs,
    get_error_inputs_for_all_optims,
)

from evolute.compiler.optimizer import RuleOptimizer

every_info = pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
# Some tests say nothing of the rule: a plain one, one with states and decays, one with momentum.
SOME = [each for each in INFOS if each.name in ("Rule_sgd", "Rule_opt6", "Rule_opt10", "Rule_adam")]
some_infos = pytest.mark.parametrize("info", SOME, ids=lambda info: info.name)


def all_inputs(info: OptimizerInfo, *skipped: str) -> list[OptimizerInput]:
    """Return every setting, alone and with each of foreach and differentiable."""
    given: list[OptimizerInput] = _get_optim_inputs_including_global_cliquey_kwargs(
        "cpu", torch.float32, info, skip=skipped
    )
    return given


def weights_of(seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype))
        for shape in ((4, 3), (4,), ())
    ]


def give_gradients(weights: list[Parameter], seed: int) -> None:
    for weight, drawn in zip(weights, weights_of(seed, torch.float64), strict=True):
        weight.grad = drawn.detach().to(weight.dtype)


def after(optimizer: RuleOptimizer, weights: list[Parameter], steps: int = 4) -> list[Tensor]:
    for step in range(steps):
        give_gradients(weights, 10 + step)
        optimizer.step()
    return [weight.detach().clone() for weight in weights]


def made(info: OptimizerInfo, weights: Any, **options: Any) -> RuleOptimizer:
    bound: Any = info.optim_cls  # a class, though declared an optimizer
    optimizer: RuleOptimizer = bound(weights, **options)
    return optimizer


def assert_same(some: list[Tensor], others: list[Tensor]) -> None:
    for one, other in zip(some, others, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@some_infos
def test_wrong_inputs_are_refused(info: OptimizerInfo) -> None:
    of_all = [
        each
        for each in get_error_inputs_for_all_optims("cpu", torch.float32)
        if "lr" not in each.optimizer_error_input.kwargs  # refused with a sentence of our own
    ]
    for error in (*info.optim_error_inputs_func("cpu", torch.float32), *of_all):
        given = error.optimizer_error_input
        if error.error_on == OptimizerErrorEnum.STEP_ERROR:
            optimizer = made(info, given.params, **given.kwargs)
            with pytest.raises(error.error_type, match=error.error_regex):
                optimizer.step()
        elif issubclass(error.error_type, Warning):
            with pytest.warns(error.error_type, match=error.error_regex):
                made(info, given.params, **given.kwargs)
        else:
            with pytest.raises(error.error_type, match=error.error_regex):
                made(info, given.params, **given.kwargs)


@every_info
def test_every_path_takes_the_same_way(info: OptimizerInfo) -> None:
    """Lists, loop and differentiable steps, in two dtypes side by side."""
    for given in info.optim_inputs_func("cpu"):
        ends = []
        for path in ({"foreach": True}, {"foreach": False}, {"differentiable": True}):
            weights = weights_of() + weights_of(1, torch.float64)
            if path.get("differentiable"):
                weights = [weight.clone() for weight in weights]  # type: ignore[misc]
            optimizer = made(info, weights, **copy.deepcopy(given.kwargs), **path)
            for step in range(4):
                for at in (0, 3):
                    give_gradients(weights[at : at + 3], 10 + step)
                optimizer.step()
            ends.append([weight.detach() for weight in weights])
        assert_same(ends[0], ends[1])
        for one, other in zip(ends[1], ends[2], strict=True):
            torch.testing.assert_close(one, other)


@some_infos
def test_a_quadratic_goes_down_under_every_scheduler(info: OptimizerInfo) -> None:
    for schedulers in info.scheduler_inputs:
        for given in all_inputs(info, "differentiable"):
            if given.kwargs.get("maximize"):
                continue
            weight = Parameter(torch.tensor([1.0, -2.0]))
            optimizer = made(info, [weight], **copy.deepcopy(given.kwargs))
            made_schedulers = [make(optimizer) for make in schedulers]
            for _ in range(20):
                optimizer.zero_grad()
                loss = weight.square().sum()
                loss.backward()
                optimizer.step()
                for scheduler in made_schedulers:
                    needs_loss = "metrics" in inspect.signature(scheduler.step).parameters
                    scheduler.step(*([loss.detach()] if needs_loss else []))
            assert float(weight.detach().square().sum()) < 5.0


@every_info
def test_groups_decay_by_options_of_their_own(info: OptimizerInfo) -> None:
    first, second = Parameter(torch.ones(3)), Parameter(torch.ones(3))
    optimizer = made(
        info, [{"params": [first]}, {"params": [second], "weight_decay": 0.5}], lr=0.25
    )
    for weight in (first, second):
        weight.grad = torch.zeros(3)
    optimizer.step()
    alone = Parameter(torch.full((3,), 1.0 - 0.25 * 0.5))
    alone.grad = torch.zeros(3)
    single = made(info, [alone], lr=0.25)
    single.step()
    assert torch.equal(second, alone)
    assert not torch.equal(first, second)


@every_info
def test_a_group_added_later_is_trained(info: OptimizerInfo) -> None:
    weights = weights_of()
    optimizer = made(info, weights[:1])
    optimizer.add_param_group({"params": weights[1:], "lr": 0.5})
    whole = weights_of()
    grouped = made(info, [{"params": whole[:1]}, {"params": whole[1:], "lr": 0.5}])
    assert_same(after(optimizer, weights), after(grouped, whole))


@every_info
def test_parameters_without_gradients_and_without_elements_stay(info: OptimizerInfo) -> None:
    for given in all_inputs(info, "differentiable"):
        empty, unused = Parameter(torch.empty(0)), Parameter(torch.ones(2))
        optimizer = made(info, [empty, unused], **given.kwargs)
        optimizer.step()
        empty.grad = torch.empty(0)
        optimizer.step()
        assert torch.equal(unused, torch.ones(2))
        assert unused not in optimizer.state


@some_infos
def test_zero_grad_forgets_or_zeroes(info: OptimizerInfo) -> None:
    for given in all_inputs(info, "differentiable"):
        weights = weights_of()
        optimizer = made(info, weights, **given.kwargs)
        after(optimizer, weights, 1)
        optimizer.zero_grad(set_to_none=False)
        assert all(weight.grad is not None and not weight.grad.any() for weight in weights)
        optimizer.zero_grad()
        assert all(weight.grad is None for weight in weights)


@every_info
def test_a_state_loaded_goes_on_in_the_same_way(info: OptimizerInfo) -> None:
    for given in all_inputs(info, "differentiable"):
        weights = weights_of()
        optimizer = made(info, weights, **copy.deepcopy(given.kwargs))
        after(optimizer, weights, 3)
        others = [Parameter(weight.detach().clone()) for weight in weights]
        other = made(info, others, **copy.deepcopy(given.kwargs))
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        assert_same(after(other, others), after(optimizer, weights))


@some_infos
@pytest.mark.parametrize("saved", [True, False])
def test_a_state_of_one_path_is_loaded_into_the_other(info: OptimizerInfo, saved: bool) -> None:
    weights, others = weights_of(), weights_of()
    optimizer, other = made(info, weights, foreach=saved), made(info, others, foreach=not saved)
    after(optimizer, weights, 2)
    after(other, others, 2)
    other.load_state_dict(optimizer.state_dict())
    assert_same(after(other, others), after(optimizer, weights))


@some_infos
def test_a_count_that_is_a_number_is_loaded(info: OptimizerInfo) -> None:
    weights = weights_of()
    optimizer = made(info, weights)
    after(optimizer, weights, 3)
    state = copy.deepcopy(optimizer.state_dict())
    for slots in state["state"].values():
        slots["step"] = int(slots["step"])
    for group in state["param_groups"]:
        for option in ("foreach", "maximize", "weight_decay", "differentiable", "fused"):
            del group[option]  # as an earlier version saved it
    others = [Parameter(weight.detach().clone()) for weight in weights]
    other = made(info, others)
    other.load_state_dict(state)
    assert_same(after(other, others), after(optimizer, weights))


@some_infos
def test_state_hooks_are_called(info: OptimizerInfo) -> None:
    weights = weights_of()
    optimizer = made(info, weights)
    after(optimizer, weights, 1)
    calls: list[str] = []

    def changed(optimizer: object, state: dict[str, Any]) -> dict[str, Any]:
        calls.append("saved")
        return {**state, "note": 1}

    optimizer.register_state_dict_pre_hook(lambda _: calls.append("saving"))
    optimizer.register_state_dict_post_hook(changed)
    state = optimizer.state_dict()
    assert state.pop("note") == 1
    optimizer.register_load_state_dict_pre_hook(lambda *_: calls.append("loading"))
    optimizer.register_load_state_dict_post_hook(lambda _: calls.append("loaded"))
    optimizer.load_state_dict(state)
    assert calls == ["saving", "saved", "loading", "loaded"]


@some_infos
def test_step_hooks_are_called_around_a_step(info: OptimizerInfo) -> None:
    weight = Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    optimizer = made(info, [weight])
    seen: list[float] = []
    before = optimizer.register_step_pre_hook(lambda *_: seen.append(weight.item()))
    behind = optimizer.register_step_post_hook(lambda *_: seen.append(weight.item()))
    optimizer.step()
    before.remove()
    behind.remove()
    optimizer.step()
    assert len(seen) == 2
    assert seen[0] == 1.0


@every_info
def test_defaults_are_named_and_checked(info: OptimizerInfo) -> None:
    for given in all_inputs(info):
        optimizer = made(info, weights_of(), **given.kwargs)
        for flag in ("foreach", "fused", "differentiable", "maximize", "capturable"):
            assert flag in optimizer.defaults
        for name, value in given.kwargs.items():
            assert optimizer.defaults[name] is value
            assert optimizer.param_groups[0][name] is value
        assert "lr" in repr(optimizer)


@some_infos
def test_a_deep_copy_has_every_public_attribute(info: OptimizerInfo) -> None:
    weights = weights_of()
    optimizer = made(info, weights)
    after(optimizer, weights, 1)
    copied = copy.deepcopy(optimizer)

    def public(owner: object) -> set[str]:
        return {name for name in vars(owner) if not name.startswith("_")}

    assert public(copied) == public(optimizer)
    assert copied.rule == optimizer.rule


@some_infos
def test_a_closure_is_called_once(info: OptimizerInfo) -> None:
    weights = weights_of()
    optimizer = made(info, weights)
    calls = []

    def closure() -> float:
        calls.append(torch.is_grad_enabled())
        give_gradients(weights, 1)
        return 2.5

    assert optimizer.step(closure) == 2.5
    assert calls == [True]


@some_infos
def test_a_saved_file_is_loaded_with_weights_only(info: OptimizerInfo) -> None:
    weights = weights_of()
    optimizer = made(info, weights, lr=torch.tensor(0.1))
    after(optimizer, weights, 1)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    others = [Parameter(weight.detach().clone()) for weight in weights]
    other = made(info, others)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert_same(after(other, others), after(optimizer, weights))
