"""A chain, one native call for a whole network, equals the plain module to rounding."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from lanes.networks import CLASSES, SQUARES, Transformer
from torch import Tensor, nn
from torch.nn import functional

from evolute.lanes import chains
from evolute.lanes.native_layers import layers
from evolute.lanes.stacked import network as stacked_network
from evolute.lanes.stacked.network import StackedNetwork
from evolute.tasks.networks import perceptron
from evolute.tasks.transformer import CharacterModel

pytestmark = pytest.mark.skipif(
    layers() is None and not os.environ.get("CI"),
    reason="the native layers are not built (no CMake or compiler when this was installed)",
)

Build = Callable[[], nn.Module]


class Sums(nn.Module):
    """Sums whose terms are read again by what makes the other, and twice in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 8)
        self.first, self.second, self.third = (nn.Linear(8, 8) for _ in range(3))
        self.norm, self.gelu, self.head = nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 9)

    def forward(self, text: Tensor) -> Any:
        x = self.words(text)
        y = x + self.first(x)
        z = self.gelu(self.second(y)) + self.third(self.norm(y))
        w = z + y
        return self.head(w + self.gelu(w + x)).transpose(1, 2)


class Words(nn.Module):
    """One word in, a class out."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(7, 5), nn.Linear(5, 3, bias=False)

    def forward(self, text: Tensor) -> Any:
        return self.head(self.words(text))


def drawn(*shape: int, classes: int = 0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    if classes:
        return torch.randint(classes, shape, generator=generator)
    return torch.randn(*shape, generator=generator)


def text(examples: int, places: int, words: int) -> tuple[Tensor, Tensor]:
    shape = (examples, places)
    return drawn(*shape, classes=words), drawn(*shape, classes=words, seed=1)


NETWORKS: dict[str, tuple[Build, tuple[Tensor, Tensor]]] = {
    "perceptron": (partial(perceptron, [20, 33, 10]), (drawn(300, 20), drawn(300, classes=10))),
    "character model": (partial(CharacterModel, 65, 64), text(10, 64, 65)),
    "small sizes": (partial(CharacterModel, 11, 7, width=12, heads=3), text(5, 7, 11)),
    "joined queries": (Transformer, text(16, 16, 11)),
    "sums": (Sums, text(6, 5, 9)),
    "words": (Words, (drawn(40, classes=7), drawn(40, classes=3))),
}


def models_of(build: Build, count: int) -> list[nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return [build() for _ in range(count)]


def network_of(models: list[nn.Module]) -> StackedNetwork:
    network = StackedNetwork(models[0], len(models))
    for slot, model in enumerate(models):
        network.put(slot, copy.deepcopy(model))
    return network


def is_chained(network: StackedNetwork) -> bool:
    return all(each is not None for each in network._chains.values()) and bool(network._chains)


def in_double(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, list[Tensor]]:
    model = copy.deepcopy(model).double()
    inputs = batch[0].double() if batch[0].is_floating_point() else batch[0]
    loss = CLASSES.loss(model(inputs), batch[1])
    return loss, list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize("rows", [1, 32, 256])
@pytest.mark.parametrize("name", NETWORKS)
def test_loss_metric_and_gradients_equal_the_plain_modules_in_double(
    name: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "ROWS", rows)
    build, batch = NETWORKS[name]
    models = models_of(build, 3)
    network = network_of(models)
    for gradient in network.gradients:
        gradient.fill_(float("nan"))
    found = network.train_step([batch] * 2, [2, 0], CLASSES)
    assert is_chained(network)
    assert found.metrics is not None
    for place, slot in enumerate((2, 0)):
        loss, gradients = in_double(models[slot], batch)
        assert abs(found.losses[place].item() - loss.item()) < 1e-6 * (1 + loss.item())
        assert CLASSES.metric is not None
        right = float(CLASSES.metric(models[slot](batch[0]), batch[1]))
        assert found.metrics[place].item() == pytest.approx(right)
        size = max(each.norm().item() for each in gradients)
        for wanted, given in zip(gradients, network.gradients, strict=True):
            distance = (wanted - given[slot]).norm().item()
            assert distance <= 2e-6 * (wanted.norm().item() + 0.1 * size)
    assert all(gradient[1].isnan().all() for gradient in network.gradients)


def test_right_answers_are_the_first_of_the_largest_scores_as_torch_has_it() -> None:
    scores = [[1.0, 1.0, 0.0, 1.0], [-0.0, 0.0, -1.0, 0.0], [-5.0, -5.0, -7.0, -4.0]]
    first, last = nn.Embedding(3, 4), nn.Linear(4, 4)
    with torch.no_grad():
        first.weight.copy_(torch.tensor(scores))
        last.weight.copy_(torch.eye(4))
        last.bias.zero_()
    model = nn.Sequential(first, last)
    words = torch.arange(3).repeat(7)
    network = network_of([model])
    for choice in range(4):
        targets = torch.full_like(words, choice)
        found = network.train_step([(words, targets)], [0], CLASSES)
        right = (model(words).argmax(1) == targets).float().mean()
        assert found.metrics is not None
        assert found.metrics[0].item() == pytest.approx(right.item())
    assert is_chained(network)


@pytest.mark.parametrize("broken", [[2], [1, 2], [0, 3], [3]])
def test_a_score_that_is_nan_is_the_answer_and_the_loss(broken: list[int]) -> None:
    model = nn.Linear(5, 4)
    with torch.no_grad():
        model.bias[broken] = float("nan")
    for choice in range(4):
        batch = (drawn(37, 5), torch.full((37,), choice))
        network = network_of([nn.Sequential(model)])
        found = network.train_step([batch], [0], CLASSES)
        assert is_chained(network)
        assert found.losses.isnan().all()
        assert found.metrics is not None
        assert found.metrics[0].item() == float(choice == broken[0])


def test_a_weight_used_twice_and_a_frozen_one_get_what_they_should() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.offset = nn.Embedding(9, 6), nn.Parameter(torch.randn(5, 6))
            self.map = nn.Linear(6, 6)
            self.map.weight.requires_grad_(False)

        def forward(self, text: Tensor) -> Any:
            x = self.map(self.map(self.words(text) + self.offset[: text.shape[1]]))
            return nn.functional.linear(x, self.words.weight).transpose(1, 2)

    batch = text(4, 5, 9)
    model = models_of(Tied, 1)[0]
    network = network_of([model, model])
    network.train_step([batch] * 2, [0, 1], CLASSES)
    assert is_chained(network)
    loss = CLASSES.loss(model(batch[0]), batch[1])
    wanted = torch.autograd.grad(loss, [each for each in model.parameters() if each.requires_grad])
    for one, two in zip(wanted, network.gradients, strict=True):
        torch.testing.assert_close(two[0], one)


class Dropped(nn.Module):
    """A transformer of one layer with dropout, which chains do not know."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.drop = perceptron([6, 5, 3]), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Any:
        return self.inner(self.drop(x))


def test_what_a_chain_does_not_know_runs_as_before() -> None:
    batch = drawn(8, 6), drawn(8, classes=3)
    network = network_of(models_of(Dropped, 2))
    assert network.train_step([batch] * 2, [0, 1], CLASSES).losses.isfinite().all()
    assert not is_chained(network)
    network = network_of(models_of(partial(perceptron, [6, 5, 3]), 2))
    network.train_step([(batch[0], torch.ones(8, 3))] * 2, [0, 1], SQUARES)
    assert not network._chains


def test_a_neighbour_that_is_not_finite_stays_apart() -> None:
    build, batch = NETWORKS["character model"]
    alone, beside = (network_of(models_of(build, 3)) for _ in range(2))
    with torch.no_grad():
        for weight in beside.weights:
            weight[1] = float("nan")
            weight[2] = float("inf")
    one = alone.train_step([batch], [0], CLASSES)
    two = beside.train_step([batch] * 3, [1, 0, 2], CLASSES)
    assert two.losses[0].isnan()
    assert torch.equal(one.losses[0], two.losses[1])
    for first, second in zip(alone.gradients, beside.gradients, strict=True):
        assert torch.equal(first[0], second[0])
        assert not second[1].isfinite().any() or second[1].isnan().any()


def test_a_resized_network_goes_on_with_its_new_tensors() -> None:
    build, batch = NETWORKS["perceptron"]
    models = models_of(build, 3)
    network = network_of(models)
    before = network.train_step([batch], [2], CLASSES).losses
    network.resize(5, keep=[2])
    assert torch.equal(network.train_step([batch], [0], CLASSES).losses, before)
    _, wanted = in_double(models[2], batch)
    torch.testing.assert_close(network.gradients[0][0], wanted[0].float())


def test_targets_and_words_that_there_are_not_are_refused() -> None:
    build, (inputs, targets) = NETWORKS["character model"]
    network = network_of(models_of(build, 1))
    for wrong in (65, -1):
        broken = targets.clone()
        broken[3, 5] = wrong
        with pytest.raises(IndexError, match="a target is no class: 65 scores"):
            network.train_step([(inputs, broken)], [0], CLASSES)
        broken = inputs.clone()
        broken[3, 5] = wrong
        with pytest.raises(IndexError, match="an index of an embedding is out of range"):
            network.train_step([(broken, targets)], [0], CLASSES)


def test_targets_that_are_ignored_count_neither_way() -> None:
    build, (inputs, targets) = NETWORKS["small sizes"]
    models = models_of(build, 1)
    some = targets.clone()
    some[1:4] = -100
    network = network_of(models)
    found = network.train_step([(inputs, some)], [0], CLASSES)
    loss, wanted = in_double(models[0], (inputs, some))
    assert found.losses.item() == pytest.approx(loss.item(), rel=1e-6)
    torch.testing.assert_close(network.gradients[0][0], wanted[0].float(), atol=1e-6, rtol=1e-4)


def test_a_class_left_out_may_be_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The score that would be the 256th of row 0 is the largest by far, and another row's."""
    monkeypatch.setattr(stacked_network, "IGNORED", 255)
    words, head = nn.Embedding(2, 4), nn.Linear(4, 40)
    with torch.no_grad():
        for weight in (words.weight, head.weight, head.bias):
            weight.zero_()
        words.weight[1, 0] = head.weight[255 % 40, 0] = 3.0
    text, targets = torch.zeros(16, dtype=torch.int64), torch.full((16,), 3)
    text[255 // 40], targets[0] = 1, 255
    network = network_of([nn.Sequential(words, head)])
    found = network.train_step([(text, targets)], [0], CLASSES)
    assert is_chained(network)
    assert found.metrics is not None
    assert found.metrics.item() == 0.0
    assert found.losses.isfinite().all()


class Part(nn.Module):
    """A layer whose weight is the first row of a larger one."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.head = nn.Parameter(torch.randn(60, 8)), nn.Linear(1, 4)

    def forward(self, x: Tensor) -> Any:
        return self.head(functional.linear(x, self.rows[:1]))


class PartOfTheWords(nn.Module):
    """Words of which a part can be looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Parameter(torch.randn(9, 6)), nn.Linear(6, 4)

    def forward(self, text: Tensor) -> Any:
        return self.head(functional.embedding(text, self.words[:5])).transpose(1, 2)


@pytest.mark.parametrize(
    ("build", "batch"),
    [
        (Part, (drawn(16, 8), drawn(16, classes=4))),
        (PartOfTheWords, (drawn(3, 5, classes=5), drawn(3, 5, classes=4))),
    ],
)
def test_parts_of_weights_are_no_chain_and_train_all_the_same(
    build: Build, batch: tuple[Tensor, Tensor]
) -> None:
    models = models_of(build, 2)
    network = network_of(models)
    found = network.train_step([batch, batch], [0, 1], CLASSES)
    for slot, model in enumerate(models):
        loss, _ = in_double(model, batch)
        assert found.losses[slot].item() == pytest.approx(loss.item(), rel=1e-5)
