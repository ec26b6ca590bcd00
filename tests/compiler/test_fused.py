"""The native path of RuleOptimizer: when it is taken, and that nothing else tells it apart."""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import searched_rules
from torch import Tensor, nn

from evolute import zoo
from evolute.compiler import fused, native
from evolute.compiler.optimizer import RuleOptimizer
from evolute.errors import InputError
from evolute.lang.functions import function
from evolute.lang.registry import FUNCTIONS
from evolute.lang.rule import Rule

needs_core = pytest.mark.skipif(
    not native.available() and os.environ.get("CI") != "true", reason=native.status().reason
)
SHAPES = ((), (0,), (5,), (3, 30), (70, 41))
RULE = "nesterov: [a3]*(v/(sqrt(s)+1e-08) + dropout(delta(g), 0.3)) + clip_norm(g)"
Change = Callable[[Tensor], Tensor]


def drawn(seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(each, generator=generator).to(dtype) for each in SHAPES]


def made(rule: Rule | str, **options: Any) -> tuple[list[nn.Parameter], RuleOptimizer]:
    weights = [nn.Parameter(each) for each in drawn(0)]
    return weights, RuleOptimizer(weights, rule, lr=0.05, total_steps=9, seed=3, **options)


def moved(weights: list[nn.Parameter], optimizer: RuleOptimizer, span: range) -> list[Tensor]:
    for step in span:
        for weight, gradient in zip(weights, drawn(10 + step), strict=True):
            weight.grad = gradient
        optimizer.step()
    return [weight.detach().clone() for weight in weights]


def same_bits(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(
        torch.equal(one.nan_to_num(), other.nan_to_num())
        for one, other in zip(some, others, strict=True)
    )


class Calls:
    """Counts the rows that the core steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []
        run = native.JobTable.run

        def counted(table: native.JobTable, *arguments: Any, **options: Any) -> None:
            self.rows.append(len(table))
            run(table, *arguments, **options)

        monkeypatch.setattr(native.JobTable, "run", counted)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


@needs_core
@pytest.mark.parametrize("name", zoo.names())
def test_the_core_moves_as_the_loop_to_rounding(name: str) -> None:
    options: dict[str, Any] = {"weight_decay": 0.1, "maximize": True}
    rule = zoo.load(name).rule
    for ours, theirs in zip(
        moved(*made(rule, fused=True, **options), range(3)),
        moved(*made(rule, foreach=False, **options), range(3)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-5)


@needs_core
@settings(max_examples=40)
@given(searched_rules(max_leaves=6), st.booleans())
def test_any_searched_rule_takes_the_core(rule: Rule, maximize: bool) -> None:
    weights, optimizer = made(rule, fused=True, maximize=maximize)
    others, other = made(rule, foreach=False, maximize=maximize)
    for ours, theirs in zip(
        moved(weights, optimizer, range(1)), moved(others, other, range(1)), strict=True
    ):
        both = ours.isfinite() & theirs.isfinite()
        torch.testing.assert_close(ours[both], theirs[both], rtol=1e-2, atol=1e-3)


@needs_core
def test_it_is_the_default_for_plain_float32(calls: Calls) -> None:
    moved(*made(RULE), range(2))
    assert calls.rows == [len(SHAPES) - 1] * 2  # all but the empty one


@needs_core
@pytest.mark.parametrize("options", [{"foreach": True}, {"foreach": False}, {"fused": False}])
def test_another_path_that_is_asked_for_is_taken(options: dict[str, Any], calls: Calls) -> None:
    moved(*made("none: g + v", **options), range(2))
    assert not calls.rows


@needs_core
@pytest.mark.parametrize("asked", [None, True])
def test_what_the_core_cannot_move_goes_in_lists(asked: bool | None, calls: Calls) -> None:
    changes: list[Change] = [
        lambda each: each,
        lambda each: each.double(),
        lambda each: each.bfloat16(),
        lambda each: each[:, ::2],
        lambda each: each.t(),
        lambda each: torch.complex(each, each),
    ]
    ends = []
    for fused_option, foreach in ((asked, None), (None, False)):
        weights = [nn.Parameter(change(torch.ones(4, 6))) for change in changes]
        optimizer = RuleOptimizer(
            weights, "momentum: v + 0.1*g3", lr=0.1, fused=fused_option, foreach=foreach
        )
        for _ in range(3):
            for weight in weights:
                weight.grad = torch.full_like(weight, 0.3)
            optimizer.step()
        ends.append([weight.detach() for weight in weights])
    assert calls.rows == [4, 4, 4]  # not the double and the half
    for ours, theirs in zip(*ends, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@needs_core
@pytest.mark.parametrize("change", [lambda g: g.t().contiguous().t(), lambda g: g[:1].expand(4, 6)])
def test_a_gradient_of_another_layout_is_copied(change: Change, calls: Calls) -> None:
    ends = []
    for foreach in (None, False):
        weight = nn.Parameter(torch.ones(4, 6))
        optimizer = RuleOptimizer([weight], "none: v", lr=0.1, foreach=foreach)
        for step in range(3):
            values = torch.arange(24.0).view(4, 6) * (step + 1)
            weight.grad = change(values) if step else values
            optimizer.step()
        ends.append(weight.detach())
    assert len(calls.rows) == 3
    torch.testing.assert_close(*ends)


@needs_core
def test_a_gradient_that_is_of_another_dtype_from_some_step_on_is_taken() -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = RuleOptimizer([weight], "none: g", lr=0.25)
    for dtype in (torch.float32, torch.bfloat16, torch.float32):
        weight.grad = None
        weight.grad_dtype = dtype
        weight.grad = torch.ones(4, dtype=dtype)
        optimizer.step()
    assert weight.tolist() == [0.25] * 4


@needs_core
def test_weights_that_moved_in_memory_are_found() -> None:
    ends = []
    for foreach in (None, False):
        weights, optimizer = made("none: v", foreach=foreach)
        moved(weights, optimizer, range(2))
        for weight in weights:
            weight.data = weight.data.clone()
        ends.append(moved(weights, optimizer, range(2, 4)))
    for ours, theirs in zip(*ends, strict=True):
        torch.testing.assert_close(ours, theirs)


PATHS: dict[str, dict[str, Any]] = {
    "fused": {"fused": True},
    "lists": {"foreach": True},
    "loop": {"foreach": False},
}


@needs_core
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("to", PATHS)
def test_a_training_goes_on_on_any_path(path: str, to: str) -> None:
    weights, optimizer = made(RULE, **PATHS[path])
    moved(weights, optimizer, range(3))
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    others = [nn.Parameter(weight.detach().clone()) for weight in weights]
    other = RuleOptimizer(others, RULE, lr=0.9, total_steps=2, **PATHS[to])
    other.load_state_dict(saved)
    for group in other.param_groups:
        group.update({"fused": None, "foreach": None, **PATHS[to]})
    assert [slots.keys() for slots in optimizer.state.values()] == [
        slots.keys() for slots in other.state.values()
    ]
    counters = {(slots["step"].dtype, int(slots["step"])) for slots in other.state.values()}
    assert counters == {(torch.int64, 3)}
    whole = moved(weights, optimizer, range(3, 6))
    resumed = moved(others, other, range(3, 6))
    if path == to or "fused" not in (path, to):
        assert same_bits(resumed, whole)
    for ours, theirs in zip(resumed, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@needs_core
def test_a_state_saved_by_the_core_continues_to_the_bit_with_its_own_options() -> None:
    weights, optimizer = made(RULE, fused=True)
    moved(weights, optimizer, range(3))
    others, other = made(RULE)
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["fused"] is True
    with torch.no_grad():
        for weight, source in zip(others, weights, strict=True):
            weight.copy_(source)
    copied_weights, copied = copy.deepcopy((weights, optimizer))
    whole = moved(weights, optimizer, range(3, 6))
    assert same_bits(moved(others, other, range(3, 6)), whole)
    assert same_bits(moved(copied_weights, copied, range(3, 6)), whole)


@needs_core
def test_threads_change_nothing() -> None:
    before = torch.get_num_threads()
    ends = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            weight = nn.Parameter(torch.linspace(-1, 1, 300_001))
            optimizer = RuleOptimizer([weight], "momentum: arcsinh(v)", lr=0.1)
            for _ in range(2):
                weight.grad = weight.detach() * 3
                optimizer.step()
            ends.append(weight.detach())
    finally:
        torch.set_num_threads(before)
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


@needs_core
def test_autograd_is_told_that_a_weight_changed() -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = RuleOptimizer([weight], "none: g", lr=0.1)
    loss = (weight * weight).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_fused_on_tensors_of_another_kind_is_refused() -> None:
    weight = nn.Parameter(torch.ones(3, dtype=torch.float64))
    with pytest.raises(InputError, match="none of the 1 parameters is one"):
        RuleOptimizer([weight], "none: g", lr=0.1, fused=True)


def test_fused_where_the_core_is_not_built_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "why_not", lambda _: "the native core is not built")
    with pytest.raises(InputError, match="fused=True is not possible: the native core is not"):
        RuleOptimizer([nn.Parameter(torch.ones(3))], "none: g", lr=0.1, fused=True)


def test_without_the_core_a_step_is_made_in_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = moved(*made(RULE, foreach=True), range(2))
    monkeypatch.setattr(fused, "lower", lambda _: None)
    assert same_bits(moved(*made(RULE), range(2)), expected)


@needs_core
def test_a_function_of_the_user_is_stepped_in_lists(
    monkeypatch: pytest.MonkeyPatch, calls: Calls
) -> None:
    monkeypatch.setattr(FUNCTIONS, "_rows", {**FUNCTIONS})  # other tests read the table too

    @function(latex="f({0})", searched=())
    def own_function_of_a_user(x: Tensor) -> Tensor:
        return 2 * x

    moved(*made("none: own_function_of_a_user(g)"), range(1))
    assert not calls.rows
    with pytest.raises(InputError, match="does not know the function 'own_function_of_a_user'"):
        made("none: own_function_of_a_user(g)", fused=True)


def test_a_refused_group_is_not_left_behind() -> None:
    optimizer = RuleOptimizer([nn.Parameter(torch.ones(2))], "none: g", lr=0.1)
    wrong = nn.Parameter(torch.ones(2, dtype=torch.float64))
    with pytest.raises(InputError, match="fused=True works on float32"):
        optimizer.add_param_group({"params": [wrong], "fused": True})
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": [wrong]})


@needs_core
@pytest.mark.parametrize("rule", ["momentum: v + s", RULE])
def test_the_layout_of_a_tensor_is_nothing_to_its_result(rule: str) -> None:
    layouts: list[Change] = [
        lambda each: each,
        lambda each: each.t().contiguous().t(),
        lambda each: each.repeat_interleave(2, -1)[..., ::2],
    ]
    ends = []
    for change in layouts:
        generator = torch.Generator().manual_seed(0)
        weight = nn.Parameter(change(torch.randn(30, 20, generator=generator)))
        optimizer = RuleOptimizer([weight], rule, lr=0.1, total_steps=5, fused=True)
        for _ in range(3):
            weight.grad = change(torch.randn(30, 20, generator=generator))
            optimizer.step()
        ends.append(weight.detach())
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])
