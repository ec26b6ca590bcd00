"""What a module holds beside weights and buffers is the same in all lanes, or the loop serves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lanes.networks import CLASSES, Case, vectors
from torch import Tensor, nn

from evolute.lanes import attributes
from evolute.lanes.attributes import differing, held_by
from evolute.lanes.base import CannotStackError, LaneNetwork
from evolute.lanes.check import check_against_plain
from evolute.lanes.choose import choose
from evolute.lanes.graphed import GraphedNetwork
from evolute.lanes.loop import LoopNetwork
from evolute.lanes.stacked.network import StackedNetwork
from evolute.lanes.vmap import VmapNetwork
from evolute.seeds.streams import Stream

BATCHED: list[type[LaneNetwork]] = [StackedNetwork, GraphedNetwork, VmapNetwork]
Make = Callable[[], Any]


def check(plan: type[LaneNetwork], build: Callable[[], nn.Module]) -> None:
    subject = Case(build, vectors()).subject()
    check_against_plain(partial(plan, subject.models[0]), subject)


class Holding(nn.Linear):
    """Holds something and multiplies by a number that it says."""

    def __init__(self, make: Make, scale: Callable[[Any], Any]) -> None:
        super().__init__(6, 3)
        self.held, self.scale = make(), scale

    def forward(self, x: Tensor) -> Any:
        return super().forward(x) * self.scale(self.held)


def drawn() -> float:
    return float(torch.rand(())) + 0.5


def multiplying() -> Callable[[], float]:
    factor = drawn()
    return lambda: factor


@dataclass
class Settings:
    """Something a user's module may hold."""

    factors: list[float] = field(default_factory=lambda: [drawn()])

    def first(self) -> float:
        """Return the first factor."""
        return self.factors[0]


DRAWN: dict[str, tuple[Make, Callable[[Any], Any]]] = {
    "tensor": (lambda: torch.rand(3) + 0.5, lambda held: held),
    "number": (drawn, lambda held: held),
    "list": (lambda: torch.randperm(99).tolist(), lambda held: 1 + held[0]),
    "dict of lists": (lambda: {"by": [drawn()]}, lambda held: held["by"][0]),
    "namespace": (lambda: SimpleNamespace(by=(drawn(),)), lambda held: held.by[0]),
    "dataclass": (Settings, lambda held: held.factors[0]),
    "closure": (multiplying, lambda held: held()),
    "partial": (lambda: partial(pow, drawn()), lambda held: held(2)),
    "array": (lambda: torch.rand(3).numpy() + 1, lambda held: float(held[0])),
    "bound method": (lambda: Settings().first, lambda held: held()),
    "module in a list": (lambda: [nn.Linear(1, 3)], lambda held: held[0].weight[:, 0].detach()),
}


@pytest.mark.parametrize("plan", BATCHED)
@pytest.mark.parametrize("name", DRAWN)
def test_what_a_model_draws_beside_weights_and_buffers_is_not_that_of_the_first_lane(
    name: str, plan: type[LaneNetwork]
) -> None:
    build = partial(Holding, *DRAWN[name])
    with pytest.raises(CannotStackError, match="more than parameters and buffers .held."):
        check(plan, build)
    check(LoopNetwork, build)


def test_a_model_that_differs_from_the_others_is_not_put_into_a_slot_later() -> None:
    def scale(held: float) -> float:
        return held

    network = StackedNetwork(Holding(lambda: 1.0, scale), 2)
    network.put(0, Holding(lambda: 1.0, scale))
    with pytest.raises(CannotStackError, match="held"):
        network.put(1, Holding(lambda: 2.0, scale))


class Counting(nn.Linear):
    """Counts its calls in a mode, one level down, and goes another way after many."""

    def __init__(self, state: Make, count: Callable[[Any], int], *, training: bool) -> None:
        super().__init__(6, 3)
        self.state, self.count, self.mode = state(), count, training

    def forward(self, x: Tensor) -> Any:
        calls = self.count(self.state) if self.training is self.mode else 0
        return super().forward(x) * (3 if calls > 10 else 1)


def count_in_namespace(state: Any) -> int:
    state.n += 1
    return int(state.n)


def count_in_list(state: Any) -> int:
    state["steps"][0] += 1
    return int(state["steps"][0])


STATES: dict[str, tuple[Make, Callable[[Any], int]]] = {
    "namespace": (lambda: SimpleNamespace(n=0), count_in_namespace),
    "list in a dict": (lambda: {"steps": [0]}, count_in_list),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("plan", BATCHED)
@pytest.mark.parametrize("name", STATES)
def test_python_state_at_any_depth_is_found_in_both_modes(
    name: str, plan: type[LaneNetwork], training: bool
) -> None:
    with pytest.raises(CannotStackError, match="keeps Python state between calls .state."):
        check(plan, partial(Counting, *STATES[name], training=training))


def test_one_line_says_which_attribute_keeps_a_network_in_the_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    build = partial(Holding, *DRAWN["tensor"])
    with caplog.at_level(logging.WARNING, "evolute"):
        choice = choose(build, vectors(), CLASSES, name="t", version="1", size=2, remembering=False)
    assert choice.plan == "loop"
    assert len([line for line in caplog.messages if "held" in line]) == 1


class Hooked(nn.Sequential):
    """Ordinary in all that may be the same: hooks, lambdas, parts named twice, a cycle."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
        self[0].register_forward_hook(lambda module, given, output: output * 2)
        self.act = lambda x: x
        self.options: dict[str, Any] = {"parts": [self[0]], "weight": self[0].weight}
        self.options["own"] = self.options


def test_what_is_alike_in_all_models_is_told_alike() -> None:
    assert differing(held_by(Hooked()), held_by(Hooked())) == ""
    check(StackedNetwork, Hooked)


def test_a_module_that_holds_too_much_to_compare_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attributes, "MOST_PARTS", 3)
    with pytest.raises(CannotStackError, match="more than 3 Python objects"):
        held_by(Holding(lambda: [[1.5], [2.5], [3.5]], lambda held: 1))


class Complex(nn.Module):
    """Has a complex weight."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(6, 3, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Any:
        return (x.to(torch.cfloat) @ self.w).abs()


@pytest.mark.parametrize("plan", BATCHED)
def test_complex_weights_are_left_to_the_loop(plan: type[LaneNetwork]) -> None:
    with pytest.raises(CannotStackError, match="'w' is complex"):
        check(plan, Complex)
    check(LoopNetwork, Complex)


class Turned(LoopNetwork):
    """Returns the conjugate of a complex gradient, whose real part is right."""

    def train_step(self, *args: Any, **named: Any) -> Any:
        measured = super().train_step(*args, **named)
        self.gradients[0].copy_(self.gradients[0].conj().clone())
        return measured


def test_the_check_sees_imaginary_parts() -> None:
    with pytest.raises(CannotStackError, match="its loss differs .* step 2"):
        check(Turned, Complex)


class Scalar(nn.Module):
    """Has a weight and a buffer without a dimension, used in several ways."""

    n: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
        self.k = nn.Parameter(torch.randn(()) + 2)
        self.register_buffer("n", torch.zeros(()))

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.n.add_(1)
        hidden = (self.a(x) * self.k + self.k.exp()).relu() / (1 + self.n)
        both = torch.stack([self.k, self.k * self.n]).mean() + self.k.reshape(1, 1)
        return self.b(hidden) * both


class Tempered(nn.Sequential):
    """Ordinary layers and a weight without a dimension, as a temperature."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        self.k = nn.Parameter(torch.randn(()) + 2)

    def forward(self, x: Tensor) -> Any:
        return self[2](self[1](self[0](x))) * self.k


@pytest.mark.parametrize("plan", [*BATCHED, LoopNetwork])
@pytest.mark.parametrize("build", [Scalar, Tempered])
def test_weights_and_buffers_without_a_dimension_are_those_of_each_lane(
    plan: type[LaneNetwork], build: type[nn.Module]
) -> None:
    check(plan, build)
    network = plan(build(), 3)
    models = [build() for _ in range(3)]
    models[1].get_parameter("k").data.fill_(float("nan"))
    for slot, model in enumerate(models):
        network.put(slot, model)
    network.train_step([vectors()] * 3, range(3), CLASSES, [Stream(0)] * 3)
    assert network.finite(range(3)) == [True, False, True]
    network.resize(2, keep=[1, 2])
    assert network.finite([0, 1]) == [False, True]
