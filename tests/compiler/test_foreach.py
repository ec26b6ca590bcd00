"""Rules on lists of tensors: as one by one, in bounded memory, whatever a row does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import decays, rules
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from evolute import zoo
from evolute.compiler import blocks
from evolute.compiler.elementary import in_elementary_operations
from evolute.compiler.optimizer import RuleOptimizer
from evolute.compiler.program import compile_rule
from evolute.compiler.scratch import forget_temporaries
from evolute.lang.functions import function
from evolute.lang.registry import FUNCTIONS, Kind
from evolute.lang.rule import Momentum, Rule

SHAPES = ((), (0,), (5,), (3, 30), (2, 3))


def drawn(seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(each, generator=generator, dtype=torch.float64).to(dtype) for each in SHAPES
    ]


def ends(rule: Rule | str, **options: Any) -> list[Tensor]:
    """Return weights and states after a few steps."""
    weights = [nn.Parameter(each) for each in drawn(0)]
    optimizer = RuleOptimizer(weights, rule, lr=0.1, total_steps=4, seed=3, **options)
    for step in range(4):
        for weight, gradient in zip(weights, drawn(10 + step), strict=True):
            weight.grad = gradient
        optimizer.step()
        for weight in weights:
            assert weight.grad is not None
            weight.grad.zero_()  # nothing may be left that reads it
    states = [each for slots in optimizer.state.values() for each in slots.values()]
    return [*(weight.detach() for weight in weights), *states]


def assert_paths_agree(rule: Rule | str, **options: Any) -> None:
    for in_lists, one_by_one in zip(
        ends(rule, foreach=True, **options), ends(rule, foreach=False, **options), strict=True
    ):
        torch.testing.assert_close(in_lists, one_by_one, rtol=0, atol=0, equal_nan=True)


@settings(max_examples=100)
@given(
    rules(decays=decays()), st.booleans(), st.sampled_from((0.0, 0.1)), st.sampled_from((16, 99))
)
def test_any_rule_moves_as_the_loop_to_the_bit(
    rule: Rule, maximize: bool, weight_decay: float, block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", block)
        assert_paths_agree(rule, maximize=maximize, weight_decay=weight_decay)


@pytest.mark.parametrize("momentum", Momentum)
@pytest.mark.parametrize(
    "update",
    [
        "previous(w) + previous(g)",
        "previous(previous(previous(g)))",
        "previous(g)",
        "previous(w)",
        "ema_raw(g, 0.5)",
        "previous(ema_raw(g, 0.5)) - delta(previous(w))",
        "accumulate(previous(g), running_max(g))",
        "1",
        "exp(1) - delta(1) + ema_raw(2, 0.3)",
        "clip_norm(previous(g)) + dropout(previous(g), 0.5)",
        "2 - g + 1/max(2, g) + abs_pow(2, g) + abs_pow(g, 2) + max(g, 1)",
    ],
)
def test_states_are_read_before_they_are_written(update: str, momentum: Momentum) -> None:
    assert_paths_agree(f"{momentum}: {update}")


@pytest.fixture
def free_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FUNCTIONS, "_rows", {**FUNCTIONS})  # other tests read the table too


@pytest.mark.usefixtures("free_names")
def test_what_cannot_be_followed_is_called_as_it_is() -> None:
    @function(latex="b({0})", searched=())
    def branch(x: Tensor) -> Tensor:
        return x if bool((x == x).all()) else -x

    @function(latex="s({0})", kind=Kind.STATEFUL, searched=())
    def shifted(x: Tensor, *, state: Tensor, step: int) -> tuple[Tensor, Tensor]:
        if step == 0:
            return x, x
        return state, x.cumsum(0) if x.dim() == 99 else x

    @function(latex="m({0}, {1})", kind=Kind.PER_TENSOR, searched=())
    def mean_of_both(x: Tensor, y: Tensor, *, dims: tuple[int, ...]) -> Tensor:
        return (x + y).sum(dim=dims, keepdim=True)

    for text in (
        "momentum: branch(g)*2 + branch(2)",
        "none: branch(previous(g))",
        "nesterov: shifted(g) + shifted(w)",
        "none: shifted(1)",
        "none: branch(shifted(previous(g)))",
        "none: mean_of_both(1, g)*2 + g",
    ):
        assert_paths_agree(text)
    (operation, *_) = in_elementary_operations(
        compile_rule(Rule.parse("none: branch(g)"))
    ).operations
    assert operation.instruction is not None


@pytest.mark.usefixtures("free_names")
def test_a_formula_is_followed_whatever_its_spelling() -> None:
    @function(latex="f({0})", searched=())
    def spelled(x: Tensor) -> Tensor:
        return (2.0**x - x**2 + 1 / x.square() - torch.square(x)) * abs(-x) + torch.clamp_min(
            x, 0.5
        )

    @function(latex="h({0})", kind=Kind.STATEFUL, searched=())
    def harmonic(x: Tensor, *, state: Tensor, step: int) -> tuple[Tensor, Tensor]:
        new = (1 - 1 / (step + 2)) * state + (step + 1) / x - (step - x) / (2 - step * 0.1)
        return new.arctan(), new

    for text in ("none: spelled(g)", "none: harmonic(g)"):
        operations = in_elementary_operations(compile_rule(Rule.parse(text))).operations
        assert not any(operation.instruction for operation in operations)
        assert_paths_agree(text)


class Memory(TorchDispatchMode):
    """Counts the bytes of the storages alive that were made inside, and remembers the most."""

    def __init__(self, existing: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.existing = {each.untyped_storage().data_ptr() for each in existing}
        self.alive = WeakTensorKeyDictionary()
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else [result]:
            if isinstance(each, Tensor):
                storage = each.untyped_storage()
                self.alive[each] = (storage.data_ptr(), storage.nbytes())
        sizes = dict(pair for pair in self.alive.values() if pair[0] not in self.existing)
        self.peak = max(self.peak, sum(sizes.values()))
        return result


@pytest.mark.parametrize("name", zoo.names())
@pytest.mark.parametrize("layout", ["in one row", "apart"])
def test_a_step_needs_two_temporaries_of_the_largest_tensor_at_most(
    name: str, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 256)
    shapes = [(64, 128), (64, 64), (32, 32), (100,)]
    weights = [nn.Parameter(torch.randn(each)) for each in shapes]
    if layout == "apart":
        weights = [
            nn.Parameter(each.detach().repeat_interleave(2, -1)[..., ::2]) for each in weights
        ]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    optimizer = zoo.create(name, weights, lr=0.1, total_steps=9, foreach=True)
    optimizer.step()
    state = [each for slots in optimizer.state.values() for each in slots.values()]
    gradients = [each.grad for each in weights if each.grad is not None]
    forget_temporaries()  # what is kept between steps counts too
    with Memory([*weights, *gradients, *state]) as memory:
        optimizer.step()
    largest = max(each.numel() * each.element_size() for each in weights)
    # A norm is of a whole tensor: such a rule cannot be cut, and holds what its formula does.
    allowed = 2 if zoo.load(name).is_elementwise else 3
    assert memory.peak <= allowed * largest
