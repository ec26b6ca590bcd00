"""RuleOptimizer: as the reference on random rules, and a good citizen of torch."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import decays, rules, searched_rules
from torch import Tensor, nn

from evolute.compiler.optimizer import RuleOptimizer
from evolute.compiler.reference import reference_trajectory
from evolute.errors import InputError, RuleSyntaxError
from evolute.lang.rule import Momentum, Rule

SHAPES = ((), (3,), (4, 2))
STEPS = 5
EVERYTHING = "nesterov: [a3]*(v/(sqrt(s)+1e-08) + dropout(delta(g), 0.3) + [a4*a2]*clip_norm(g))"


def tensors(*, seed: int, shapes: tuple[tuple[int, ...], ...] = SHAPES) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def parameters(seed: int = 0) -> list[nn.Parameter]:
    return [nn.Parameter(each) for each in tensors(seed=seed)]


def steps(optimizer: RuleOptimizer, weights: list[nn.Parameter], span: range) -> None:
    """Make steps with gradients that depend on the step and the weights."""
    for step in span:
        for weight, noise in zip(weights, tensors(seed=100 + step), strict=True):
            weight.grad = noise + 0.1 * weight.detach()
        optimizer.step()


def assert_follows_reference(rule: Rule) -> None:
    weights = parameters()
    optimizer = RuleOptimizer(weights, rule, lr=0.1, momentum=0.8, total_steps=7, seed=3)
    path = reference_trajectory(
        rule,
        tensors(seed=0),
        gradient=lambda step, present: [
            noise + 0.1 * weight
            for noise, weight in zip(tensors(seed=100 + step), present, strict=True)
        ],
        rates=[0.1] * STEPS,
        momenta=[0.8] * STEPS,
        total_steps=7,
        seed=3,
    )
    for step in range(STEPS):
        steps(optimizer, weights, range(step, step + 1))
        for weight, expected in zip(weights, path[step], strict=True):
            torch.testing.assert_close(
                weight.detach(), expected, rtol=1e-9, atol=1e-12, equal_nan=True
            )


@settings(max_examples=100)
@given(rules(decays=decays()))
def test_any_rule_follows_the_reference(rule: Rule) -> None:
    assert_follows_reference(rule)


@settings(max_examples=60)
@given(searched_rules(max_leaves=10), st.sampled_from(Momentum))
def test_any_searched_rule_follows_the_reference(rule: Rule, momentum: Momentum) -> None:
    assert_follows_reference(Rule(rule.update, momentum, rule.sign, rule.schedule))


@pytest.mark.parametrize("momentum", Momentum)
@pytest.mark.parametrize(
    "update",
    [
        "[a3]*g",
        "-([a3]*g)",
        "g + [a1]*v",
        "dropout(g, 0.5) + dropout(g, 0.5) + dropout(v, 0.1)",
        "clip_norm(100*g) + clip_norm(0.01*g)",
        "delta(running_max(g)) - previous(v) + ema_raw(w, 0.5)",
        "1",
        "clip_norm(2) + dropout(1, 0.5)",
        "[quotient(1, a2)]*g",
    ],
)
def test_named_rules_follow_the_reference(update: str, momentum: Momentum) -> None:
    assert_follows_reference(Rule.parse(f"{momentum}: {update}"))


def saved_and_loaded(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize("momentum", Momentum)
def test_a_saved_optimizer_continues_to_the_bit(momentum: Momentum) -> None:
    rule = Rule.parse(EVERYTHING)
    rule = Rule(rule.update, momentum, rule.sign, rule.schedule)
    whole = parameters()
    steps(RuleOptimizer(whole, rule, lr=0.1, total_steps=9, seed=5), whole, range(9))
    first = parameters()
    optimizer = RuleOptimizer(first, rule, lr=0.1, total_steps=9, seed=5)
    steps(optimizer, first, range(4))
    state = saved_and_loaded(optimizer.state_dict())
    second = [nn.Parameter(weight.detach().clone()) for weight in first]
    resumed = RuleOptimizer(second, rule, lr=0.7, total_steps=3)
    resumed.load_state_dict(state)
    steps(resumed, second, range(4, 9))
    assert all(torch.equal(one, other) for one, other in zip(whole, second, strict=True))


def test_a_state_goes_to_the_device_of_its_parameters_and_its_counter_stays() -> None:
    """As on a GPU; tensors of the device ``meta`` have all but values."""
    weights = parameters()
    optimizer = RuleOptimizer(weights, "nesterov: [a3]*v", lr=0.1, total_steps=9)
    steps(optimizer, weights, range(2))
    others = [nn.Parameter(each.detach().to("meta")) for each in weights]
    other = RuleOptimizer(others, "nesterov: [a3]*v", lr=0.1, total_steps=9)
    other.load_state_dict(optimizer.state_dict())
    for weight in others:
        weight.grad = torch.empty_like(weight)
    other.step()
    for slots in other.state.values():
        assert {each.device.type for name, each in slots.items() if name != "step"} == {"meta"}
        assert slots["step"].device.type == "cpu"
        assert int(slots["step"]) == 3


def test_state_of_another_rule_is_refused() -> None:
    state = RuleOptimizer(parameters(), "none: v", lr=0.1).state_dict()
    with pytest.raises(InputError, match=r"'none: v'.*'none: s'"):
        RuleOptimizer(parameters(), "none: s", lr=0.1).load_state_dict(state)


def test_state_of_another_optimizer_is_refused() -> None:
    with pytest.raises(InputError, match="belongs to the rule None"):
        RuleOptimizer(parameters(), "none: s", lr=0.1).load_state_dict(
            torch.optim.Adam(parameters()).state_dict()
        )


@pytest.mark.parametrize("lacking", ["step", "ema(g, 0.9)", "momentum_buffer"])
def test_a_state_that_lacks_a_part_is_refused_by_name(lacking: str) -> None:
    weights = parameters()
    optimizer = RuleOptimizer(weights, "momentum: v", lr=0.1)
    steps(optimizer, weights, range(1))
    state = optimizer.state_dict()
    del state["state"][1][lacking]
    with pytest.raises(InputError, match=re.escape(f"lacks {lacking!r} (it has")):
        RuleOptimizer(parameters(), "momentum: v", lr=0.1).load_state_dict(state)


def test_a_state_of_other_shapes_is_refused_and_nothing_is_changed() -> None:
    weights = parameters()
    optimizer = RuleOptimizer(weights, "momentum: v", lr=0.1)
    steps(optimizer, weights, range(1))
    wider = RuleOptimizer([nn.Parameter(torch.ones(2, 2)) for _ in weights], "momentum: v", lr=0.5)
    with pytest.raises(InputError, match=r"'ema\(g, 0.9\)' of a parameter of shape \(2, 2\)"):
        wider.load_state_dict(optimizer.state_dict())
    assert wider.param_groups[0]["lr"] == 0.5
    assert not wider.state


def test_a_state_without_content_is_that_of_no_step() -> None:
    weights = parameters()
    optimizer = RuleOptimizer(weights, "momentum: v", lr=0.1)
    state = optimizer.state_dict()
    optimizer.load_state_dict({**state, "state": {0: {}}})
    steps(optimizer, weights, range(1))
    assert int(optimizer.state[weights[0]]["step"]) == 1


def test_numbers_of_numpy_are_taken_and_saved_as_python_s_own() -> None:
    given: dict[str, Any] = {
        "lr": np.float32(0.5),
        "total_steps": np.int64(9),
        "momentum": np.float64(0.5),
    }
    weights = parameters()
    optimizer = RuleOptimizer(weights[:1], "momentum: [a1]*g", **given)
    optimizer.add_param_group({"params": weights[1:], "weight_decay": np.float16(0.25)})
    groups = saved_and_loaded(optimizer.state_dict())["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0, 0.25]
    for group in groups:
        assert [group[name] for name in given] == list(given.values())
        assert {type(group[name]) for name in given} == {int, float}


def test_a_copy_goes_its_own_way() -> None:
    weights = parameters()
    optimizer = RuleOptimizer(weights, EVERYTHING, lr=0.1, total_steps=9, seed=5)
    steps(optimizer, weights, range(2))
    (copied_weights, copied) = copy.deepcopy((weights, optimizer))
    steps(optimizer, weights, range(2, 4))
    steps(copied, copied_weights, range(2, 4))
    assert all(torch.equal(one, other) for one, other in zip(weights, copied_weights, strict=True))
    assert not any(one is other for one, other in zip(weights, copied_weights, strict=True))


@pytest.mark.parametrize("text", ["none: g + [a3]*v", "none: [a3]*g"])
def test_a_rule_with_decays_asks_for_total_steps(text: str) -> None:
    with pytest.raises(InputError, match="total_steps is missing"):
        RuleOptimizer(parameters(), text, lr=0.1)


def test_a_rule_without_decays_needs_no_total_steps() -> None:
    weights = parameters()
    optimizer = RuleOptimizer(weights, "none: v", lr=0.1)
    steps(optimizer, weights, range(3))
    assert not torch.equal(weights[1], tensors(seed=0)[1])


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"lr": -0.1}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"lr": float("inf")}, "lr"),
        ({"lr": "fast"}, "lr"),
        ({"momentum": 1.0}, "momentum"),
        ({"momentum": -0.5}, "momentum"),
        ({"momentum": float("nan")}, "momentum"),
        ({"total_steps": 0}, "total_steps"),
        ({"total_steps": 2.5}, "total_steps"),
        ({"total_steps": True}, "total_steps"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=f"^{name} is "):
        RuleOptimizer(parameters(), "none: g", **{"lr": 0.1, **options})


def test_a_text_that_is_no_rule_is_refused() -> None:
    with pytest.raises(RuleSyntaxError, match="unknown operand"):
        RuleOptimizer(parameters(), "none: gg", lr=0.1)


def test_groups_have_rates_momenta_and_lengths_of_their_own() -> None:
    slow, fast = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    groups: list[dict[str, Any]] = [
        {"params": [slow]},
        {"params": [fast], "lr": 0.2, "total_steps": 4, "momentum": 0.0},
    ]
    optimizer = RuleOptimizer(groups, "momentum: [a1]*g", lr=0.1, total_steps=2, momentum=0.5)
    for _ in range(2):
        slow.grad = fast.grad = torch.ones(2)
        optimizer.step()
    # a1 = 1, 0.5 for T = 2 and 1, 0.75 for T = 4; μ = 0.5 and 0.
    torch.testing.assert_close(slow.detach(), torch.ones(2) * (1 - 0.1 - (0.05 + 0.05)))
    torch.testing.assert_close(fast.detach(), torch.ones(2) * (1 - 0.2 - 0.15))


def test_an_added_group_is_trained_and_checked() -> None:
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = RuleOptimizer([first], "none: g", lr=0.1)
    optimizer.add_param_group({"params": [second], "lr": 0.5})
    first.grad = second.grad = torch.ones(2)
    optimizer.step()
    assert second.tolist() == [0.5, 0.5]
    with pytest.raises(InputError, match="lr is -1"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": -1})


def test_a_parameter_without_gradient_is_left_alone() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = RuleOptimizer([unused, used], "momentum: v + 1", lr=0.1)
    used.grad = torch.ones(2)
    optimizer.step()
    assert unused.tolist() == [1.0, 1.0]
    assert unused not in optimizer.state
    assert used.tolist() != [1.0, 1.0]


def test_a_parameter_counts_the_steps_it_made() -> None:
    weight = nn.Parameter(torch.zeros(1))
    late = nn.Parameter(torch.zeros(1))
    optimizer = RuleOptimizer([weight, late], "none: [a1]*v", lr=1.0, total_steps=4)
    weight.grad = torch.ones(1)
    optimizer.step()
    late.grad = torch.ones(1)
    optimizer.step()
    assert late.tolist() == [-1.0]
    assert weight.tolist() == pytest.approx([-1.75])


def test_a_closure_is_evaluated_with_gradients_and_its_loss_returned() -> None:
    weight = nn.Parameter(torch.tensor([3.0]))
    optimizer = RuleOptimizer([weight], "none: g", lr=0.5)

    def closure() -> float:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 9.0
    assert weight.tolist() == [0.0]


def test_a_sparse_gradient_is_refused_by_name() -> None:
    embedding = nn.Embedding(4, 2, sparse=True)
    optimizer = RuleOptimizer(embedding.named_parameters(), "none: g", lr=0.1)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(InputError, match=r"parameter 'weight' \(shape \(4, 2\)\) is sparse"):
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_states_are_of_the_type_of_their_parameter(dtype: torch.dtype) -> None:
    weight = nn.Parameter(torch.ones(3, dtype=dtype))
    optimizer = RuleOptimizer([weight], "momentum: v + delta(0.001*w) + exp(1)", lr=0.1)
    weight.grad = torch.ones(3, dtype=dtype)
    optimizer.step()
    state = optimizer.state[weight]
    assert set(state) == {"step", "ema(g, 0.9)", "delta(0.001*w)", "momentum_buffer"}
    assert {each.dtype for name, each in state.items() if name != "step"} == {dtype}
    assert weight.dtype == dtype


def test_previous_gradient_survives_gradients_zeroed_in_place() -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = RuleOptimizer([weight], "none: previous(g)", lr=1.0)
    for factor in (1.0, 5.0):
        optimizer.zero_grad(set_to_none=False)
        (factor * weight).sum().backward()
        optimizer.step()
    assert weight.tolist() == [-1.0, -1.0]


def test_decays_keep_their_last_value_past_the_end() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = RuleOptimizer([weight], "none: [a1]*g", lr=1.0, total_steps=2)
    seen = []
    for _ in range(4):
        weight.grad = torch.ones(1)
        before = weight.item()
        optimizer.step()
        seen.append(before - weight.item())
    assert seen == [1.0, 0.5, 0.5, 0.5]


def drift(seed: int) -> Tensor:
    weight = nn.Parameter(torch.zeros(50))
    optimizer = RuleOptimizer([weight], "none: dropout(g, 0.5)", lr=1.0, seed=seed)
    for _ in range(2):
        weight.grad = torch.ones(50)
        optimizer.step()
    return weight.detach()


def test_noise_is_that_of_the_seed_and_new_at_each_step() -> None:
    state = torch.get_rng_state()
    assert torch.equal(drift(0), drift(0))
    assert not torch.equal(drift(0), drift(1))
    assert set(drift(0).unique().tolist()) == {-4.0, -2.0, 0.0}
    assert torch.equal(state, torch.get_rng_state())


def test_parameters_of_two_groups_have_noise_of_their_own() -> None:
    one, other = nn.Parameter(torch.zeros(50)), nn.Parameter(torch.zeros(50))
    optimizer = RuleOptimizer(
        [{"params": [one]}, {"params": [other]}], "none: dropout(g, 0.5)", lr=1.0
    )
    one.grad = other.grad = torch.ones(50)
    optimizer.step()
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    "make", [torch.optim.lr_scheduler.LinearLR, torch.optim.lr_scheduler.OneCycleLR]
)
def test_a_scheduler_of_torch_drives_it(make: Callable[..., Any]) -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = RuleOptimizer([weight], "momentum: g", lr=0.1)
    options = {"max_lr": 0.1, "total_steps": 10} if "OneCycle" in make.__name__ else {}
    scheduler = make(optimizer, **options)
    before = optimizer.param_groups[0]["lr"]
    weight.grad = torch.ones(1)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] != before
