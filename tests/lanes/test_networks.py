"""Slots of every plan: put, take, resize, gradients of the lanes asked for alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from lanes.networks import CASES, CLASSES, Case, images, vectors
from torch import Tensor, nn

from evolute.errors import TaskError
from evolute.lanes.base import LaneNetwork
from evolute.lanes.choose import PLANS
from evolute.lanes.loop import LoopNetwork
from evolute.seeds.streams import Stream


def filled(plan: str, case: Case, size: int) -> tuple[LaneNetwork, list[nn.Module]]:
    models = [case.build() for _ in range(size)]
    network = PLANS[plan].make(models[0], size)
    for slot, model in enumerate(models):
        network.put(slot, copy.deepcopy(model))
    return network, models


@pytest.mark.parametrize("plan", PLANS)
def test_a_slot_gives_back_what_was_put_into_it(plan: str) -> None:
    network, models = filled(plan, CASES["convnet"], 3)
    wanted = models[1].state_dict()
    found = network.take(1)
    assert list(found) == list(wanted)
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("plan", ["stacked", "stacked/1", "loop", "vmap"])
def test_gradients_of_other_slots_are_left_alone(plan: str) -> None:
    network, _ = filled(plan, CASES["perceptron"], 4)
    for gradient in network.gradients:
        gradient.fill_(5.0)
    network.train_step([CASES["perceptron"].batch] * 2, [3, 1], CLASSES)
    for gradient in network.gradients:
        assert (gradient[[0, 2]] == 5.0).all()
        assert (gradient[[1, 3]] != 5.0).any()


@pytest.mark.parametrize("plan", ["stacked", "stacked/1", "loop", "vmap"])
def test_weights_stay_where_they_are_and_move_only_when_resized(plan: str) -> None:
    network, models = filled(plan, CASES["perceptron"], 4)
    before = [weight.data_ptr() for weight in network.weights]
    network.train_step([CASES["perceptron"].batch] * 4, range(4), CLASSES)
    network.put(0, models[3])
    assert [weight.data_ptr() for weight in network.weights] == before
    kept = network.take(2)
    network.resize(2, keep=[2])
    assert network.size == 2
    assert all(len(weight) == 2 and weight.is_contiguous() for weight in network.weights)
    assert all(torch.equal(network.take(0)[key], kept[key]) for key in kept)
    network.train_step([CASES["perceptron"].batch] * 2, range(2), CLASSES)


@pytest.mark.parametrize("plan", ["stacked", "loop"])
def test_a_slot_that_holds_an_infinite_number_is_told(plan: str) -> None:
    network, _ = filled(plan, CASES["convnet"], 3)
    with torch.no_grad():
        network.weights[0][1].fill_(float("inf"))
    assert network.finite([0, 1, 2]) == [True, False, True]


def test_a_lane_that_diverges_leaves_the_others_as_they_are() -> None:
    network, _ = filled("stacked", CASES["convnet"], 3)
    alone, _ = filled("stacked", CASES["convnet"], 3)
    for slot in (0, 2):
        alone.put(slot, network.module(slot))
    with torch.no_grad():
        network.weights[0][1].fill_(float("nan"))
    batch = CASES["convnet"].batch
    found = [
        each.train_step([batch] * 3, range(3), CLASSES, [Stream(1)] * 3).losses
        for each in (network, alone)
    ]
    assert found[0][1].isnan()
    assert torch.equal(found[0][[0, 2]], found[1][[0, 2]])


def test_a_model_of_another_kind_is_refused() -> None:
    network, _ = filled("stacked", CASES["perceptron"], 2)
    with pytest.raises(TaskError, match="must always return the same kind of network"):
        network.put(0, nn.Linear(6, 3))


class Sometimes(nn.Module):
    """Leaves out a layer now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.rarely, self.calls = nn.Linear(6, 3), nn.Linear(6, 3), 0

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        return self.always(x) + (self.rarely(x) if self.calls % 2 else 0)


def test_a_weight_without_a_gradient_on_some_steps_is_refused() -> None:
    network = LoopNetwork(Sometimes(), 1)
    network.put(0, Sometimes())
    network.train_step([vectors()], [0], CLASSES)
    with pytest.raises(TaskError, match="'rarely.weight' had a gradient on the first step"):
        network.train_step([vectors()], [0], CLASSES)


def test_a_weight_that_is_held_and_gets_a_gradient_later_is_refused() -> None:
    model = Sometimes()
    model.calls = 1
    network = LoopNetwork(model, 1, without=frozenset({"rarely.weight", "rarely.bias"}))
    network.put(0, model)
    network.train_step([vectors()], [0], CLASSES)
    with pytest.raises(TaskError, match="'rarely.* had no gradient on the first step"):
        network.train_step([vectors()], [0], CLASSES)


def test_lanes_that_share_a_stream_draw_the_same_in_a_loop_and_it_goes_on_once() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    network = LoopNetwork(model, 3)
    for slot in range(3):
        network.put(slot, copy.deepcopy(model))
    stream, once = Stream(0), Stream(0)
    losses = network.train_step([vectors()] * 3, range(3), CLASSES, [stream] * 3).losses
    assert losses.unique().numel() == 1
    network.train_step([vectors()], [0], CLASSES, [once])
    with stream.active():
        first = torch.rand(3)
    with once.active():
        assert torch.equal(first, torch.rand(3))


def test_batches_of_other_shapes_share_a_step() -> None:
    network, models = filled("stacked", CASES["convnet"], 2)
    inputs, targets = images()
    batches = [(inputs, targets), (inputs[:5], targets[:5])]
    losses = network.train_step(batches, [0, 1], CLASSES, [Stream(0), Stream(0)]).losses
    for model, batch, loss, stream in zip(models, batches, losses, [0, 0], strict=True):
        with Stream(stream).active():
            torch.testing.assert_close(CLASSES.loss(model(batch[0]), batch[1]).detach(), loss)
