"""Property: a lane's trajectory has the same bits in whatever company, slot, order and number."""

from __future__ import annotations

import copy
import os
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lanes.networks import CLASSES, Case, Transformer
from torch import Tensor, nn
from torch.nn import functional

from evolute.errors import InputError
from evolute.lanes.base import LaneNetwork
from evolute.lanes.choose import PLANS, Choice, choose
from evolute.lanes.native_layers import layers
from evolute.seeds.streams import Stream
from evolute.tasks.networks import perceptron, published_convnet

STEPS = 3
SEED = 7


def _draw(*shape: int, classes: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    if classes:
        return torch.randint(classes, shape, generator=generator)
    return torch.randn(*shape, generator=generator)


NETWORKS = {
    "perceptron": Case(lambda: perceptron([64, 32, 10]), (_draw(32, 64), _draw(32, classes=10))),
    "convnet": Case(
        lambda: published_convnet(channels=1, classes=10, width=8),
        (_draw(32, 1, 8, 8), _draw(32, classes=10)),
    ),
    "transformer": Case(
        lambda: Transformer(), (_draw(16, 16, classes=11), _draw(16, 16, classes=11))
    ),
}


class Functions(nn.Module):
    """Functions that torch rounds otherwise where numbers fill no vector, on 7 x 3 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x)
        small = 0.4 * torch.tanh(x)
        x = torch.atanh(small) + torch.cosh(x) + torch.exp2(x) + torch.sinh(x) + x.abs() ** 1.5
        x = functional.elu(x) + functional.selu(-x) + functional.celu(0.1 - x) + functional.mish(x)
        x = functional.silu(x) + functional.softplus(x) + functional.logsigmoid(x)
        return self.last(torch.sigmoid(x) + functional.gelu(x, approximate="tanh"))


class OfInputs(nn.Module):
    """Sums and normalisations of the inputs alone, which lanes may share."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(5, affine=False, track_running_stats=False)
        self.last = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.norm(x * x.std(0)) / (1 + x.abs().mean(1, keepdim=True)))


class Sums(nn.Module):
    """Sums over examples after a layer that torch runs with all lanes' channels side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(5, 9), nn.BatchNorm1d(9), nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Any:
        y = self.norm(self.first(x))
        return self.last(y * y.std(0))


class Apart(nn.Module):
    """Sums after a convolution that torch runs with the channels of all lanes side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 5, 2, dilation=2), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x)
        return self.last((x * x.mean((0, 2, 3), keepdim=True)).mean((2, 3)))


class Products(nn.Module):
    """Products of matrices whose sizes are no multiples of anything."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(1, 17), nn.Linear(17, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x.unsqueeze(2))
        return self.last(((x @ x.mT).softmax(-1) @ x).mean(1))


class Sequence(nn.Module):
    """A convolution along 17 places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(3, 8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.first(x).mean(2))


ODD = {
    **{
        each.__name__: Case(each, (_draw(7, 5), _draw(7, classes=3)))
        for each in (Functions, OfInputs, Products)
    },
    "Sums": Case(Sums, (_draw(16, 5), _draw(16, classes=3))),
    "Apart": Case(Apart, (_draw(7, 1, 9, 9), _draw(7, classes=3))),
    "Sequence": Case(Sequence, (_draw(1, 3, 17), _draw(1, classes=3))),
}
"""Networks of odd sizes, of which each breaks the property if what it names is computed as torch
does; no check of a plan is asked."""

BATCHED = ["stacked", "stacked/4", "stacked/1"]
FITTING = [
    *((name, plan) for name in NETWORKS for plan in [*BATCHED, "loop"]),
    ("convnet", "loop channels_last"),
    ("perceptron", "vmap"),
]


def model_of(case: Case, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return case.build()


def batch_of(case: Case, step: int) -> tuple[Any, Any]:
    inputs, targets = case.batch
    return inputs.roll(step, 0), targets


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def offered(name: str, plan: str) -> Choice:
    """Return a plan as it is offered for a network; one that is refused is no plan to be tested.

    On some processors torch's products of matrices round otherwise for another number of lanes.
    """
    case = NETWORKS[name]
    try:
        return choose(case.build, case.batch, CLASSES, name=name, version="", plan=plan)
    except InputError as refusal:
        pytest.skip(str(refusal))


def network_of(name: str, plan: str, size: int) -> LaneNetwork:
    if name in ODD:
        return PLANS[plan].make(model_of(ODD[name], SEED), size)
    return offered(name, plan).make(size)


def trajectory(
    name: str, plan: str, *, size: int, slot: int, others: tuple[int, ...] = ()
) -> tuple[bytes, ...]:
    """Train one lane in this slot for some steps beside others; return its losses and weights.

    The others begin one step behind, so they have batches and draws of their own.
    """
    case = NETWORKS.get(name) or ODD[name]
    network = network_of(name, plan, size)
    running = [slot, *others]
    for number, place in enumerate(running):
        network.put(place, model_of(case, SEED if number == 0 else SEED + 1 + place % 2))
    own, shared = Stream(SEED), Stream(SEED)
    losses = []
    for step in range(STEPS):
        mine, theirs = batch_of(case, step), batch_of(case, step - 1)
        order = sorted(running, key=lambda place: (place * 5 + step) % 7)
        measured = network.train_step(
            [mine if place == slot else theirs for place in order],
            order,
            CLASSES,
            [own if place == slot else shared for place in order],
        )
        losses.append(measured.losses[order.index(slot)].clone())
        with torch.no_grad():
            for weight, gradient in zip(network.weights, network.gradients, strict=True):
                weight.sub_(gradient, alpha=0.05)
    final = network.evaluate([batch_of(case, 9)], [slot], CLASSES)[0]
    kept = network.take(slot)
    tensors = [*losses, *kept.values(), torch.tensor(final)]
    return tuple(tensor.numpy().tobytes() for tensor in tensors)


@cache
def alone(name: str, plan: str) -> tuple[bytes, ...]:
    return trajectory(name, plan, size=1, slot=0)


@pytest.mark.parametrize(("name", "plan"), FITTING)
@settings(max_examples=6)
@given(data=st.data())
def test_a_trajectory_has_the_same_bits_in_any_company(
    name: str, plan: str, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, 9))
    slot = data.draw(st.integers(0, size - 1))
    rest = [place for place in range(size) if place != slot]
    others = data.draw(st.lists(st.sampled_from(rest), unique=True)) if rest else []
    found = trajectory(name, plan, size=size, slot=slot, others=tuple(others))
    assert found == alone(name, plan)


@pytest.mark.skipif(
    layers() is None and not os.environ.get("CI"),
    reason="the native layers are not built (no CMake or compiler when this was installed)",
)
@pytest.mark.parametrize("name", ODD)
def test_sizes_that_fill_no_vector_have_the_same_bits_in_any_company(name: str) -> None:
    """Beside lanes of other batches, beside many, and alone, where the inputs are shared."""
    wanted = alone(name, "stacked")
    for size, slot, others in ((4, 1, (0, 3)), (3, 2, (0, 1)), (9, 4, (0, 1, 2, 3, 5, 6, 7, 8))):
        assert trajectory(name, "stacked", size=size, slot=slot, others=others) == wanted


@pytest.mark.parametrize("name", NETWORKS)
def test_lanes_of_one_seed_see_the_draws_of_the_plain_module(name: str) -> None:
    case = NETWORKS[name]
    model = model_of(case, SEED)
    network = PLANS["stacked"].make(model, 3)
    for slot in range(3):
        network.put(slot, copy.deepcopy(model))
    stream, own = Stream(3), Stream(3)
    model.train()
    for step in range(2):
        batch = batch_of(case, step)
        with own.active():
            wanted = CLASSES.loss(model(batch[0]), batch[1]).detach()
        measured = network.train_step([batch] * 3, [0, 1, 2], CLASSES, [stream] * 3)
        torch.testing.assert_close(measured.losses, wanted.expand(3))
        assert measured.losses.unique().numel() == 1
