"""The search space: everything registered by default, less where a user says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from evolute.errors import InputError, UnknownNameError
from evolute.lang.decays import base_decay
from evolute.lang.functions import function
from evolute.lang.operands import operand
from evolute.lang.registry import BASE_DECAYS, FUNCTIONS, OPERANDS
from evolute.lang.rule import Momentum
from evolute.search.space import Operation, SearchSpace


@pytest.fixture
def own_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test register rows that are gone after it."""
    for registry in (OPERANDS, FUNCTIONS, BASE_DECAYS):
        monkeypatch.setattr(registry, "_rows", dict(registry))


def test_the_default_space_is_the_published_one() -> None:
    space = SearchSpace.from_registries()
    assert len(space.operands) == 20
    assert len({choice.function for choice in space.unary}) == 24
    assert len(space.unary) == 26  # dropout comes with three rates
    assert len(space.binary) == 10
    assert len(space.base_decays) == 14
    assert len(space.decay_unary) == 13
    assert len(space.decay_binary) == 7
    assert space.momentum_types == (Momentum.NONE, Momentum.MOMENTUM, Momentum.NESTEROV)


def test_every_searched_parameter_set_is_a_choice_of_its_own() -> None:
    choices = SearchSpace.from_registries().unary
    rates = [choice.parameters for choice in choices if choice.function == "dropout"]
    assert rates == [(0.5,), (0.3,), (0.1,)]
    assert Operation("ema", (0.95,)) in choices


@pytest.mark.usefixtures("own_registries")
def test_rows_that_a_user_registered_take_part() -> None:
    @operand(latex="g^4")
    def g4() -> str:
        return "g2*g2"

    @function(latex="{0}^3", searched_in_decay=True)
    def cube(x: Tensor) -> Tensor:
        return x**3

    @base_decay(latex="(1-t/T)^2")
    def quadratic(t: Tensor, total_steps: int) -> Tensor:
        return torch.square(1 - t / total_steps)

    space = SearchSpace.from_registries()
    assert "g4" in space.operands
    assert Operation("cube") in space.unary
    assert "cube" in space.decay_unary
    assert "quadratic" in space.base_decays


def test_rows_marked_as_not_searched_stay_out() -> None:
    space = SearchSpace.from_registries()
    assert "w" not in space.operands
    assert not {"sign", "ema_raw", "previous"} & {choice.function for choice in space.unary}


def test_a_space_can_be_restricted_by_name() -> None:
    space = SearchSpace.from_registries(
        operands=("g", "w"),
        functions=("tanh", "dropout", "add"),
        base_decays=("a1", "a2"),
        decay_functions=("identity", "mul"),
        momentum_types=("none",),
    )
    assert space.operands == ("g", "w")
    assert [choice.function for choice in space.unary] == ["tanh", *["dropout"] * 3]
    assert space.binary == (Operation("add"),)
    assert (space.decay_unary, space.decay_binary) == (("identity",), ("mul",))
    assert space.momentum_types == (Momentum.NONE,)


@pytest.mark.parametrize(
    ("restriction", "message"),
    [
        ({"operands": ("g",)}, "too few operands, 1: it needs at least 2"),
        ({"functions": ("tanh",)}, "too few binary functions"),
        ({"functions": ("add",)}, "too few unary functions"),
        ({"base_decays": ("a1",)}, "too few base decays"),
        ({"decay_functions": ("mul",)}, "too few unary functions of decays"),
        ({"decay_functions": ("tanh",)}, "too few binary functions of decays"),
        ({"momentum_types": ()}, "too few momentum types"),
        ({"momentum_types": ("nestrov",)}, "did you mean 'nesterov'"),
        ({"functions": ("ema_raw", "add")}, "no searched parameters"),
        ({"decay_functions": ("identity", "mul", "delta")}, "cannot be drawn in a decay"),
    ],
)
def test_a_space_that_cannot_be_drawn_from_is_refused(
    restriction: dict[str, tuple[str, ...]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        SearchSpace.from_registries(**restriction)


@pytest.mark.parametrize("field", ["operands", "functions", "base_decays", "decay_functions"])
def test_an_unknown_name_in_a_space_is_refused_with_the_nearest(field: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown"):
        SearchSpace.from_registries(**{field: ("no_such", "row")})


def test_a_function_listed_under_the_wrong_arity_is_refused() -> None:
    space = SearchSpace.from_registries()
    with pytest.raises(InputError, match="'add' takes 2 arguments"):
        replace(space, unary=(Operation("add"),))
