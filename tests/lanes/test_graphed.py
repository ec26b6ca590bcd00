"""A graphed network trains as the stacked one, and captures only what one graph can do again."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from evolute.lanes.batched import Found
from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.graphed import MOST_GRAPHS, WARM_UPS, GraphedNetwork, Pass

CRITERION = LaneCriterion(functional.cross_entropy, named_loss="cross_entropy")
LANES = 4


class FakeGraphs:
    """Does a pass again in place of a replay, and overwrites what it returned before."""

    def __init__(self, *, fault: str | None = None) -> None:
        self.captured, self.replayed, self.fault = 0, 0, fault

    def capture(self, run: Pass) -> Pass:
        if self.fault is not None:
            raise RuntimeError(self.fault)
        self.captured += 1
        held: list[Found] = []

        def replay() -> Found:
            self.replayed += 1
            found = run()
            if not held:
                held.append(found)
                return found
            pairs = zip(held[0].gradients, found.gradients, strict=True)
            for own, new in [(held[0].losses, found.losses), *pairs]:
                own.copy_(new)
            return Found(held[0].losses, found.outputs, held[0].gradients)

        return replay


def model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)
    )


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return (
        torch.randn(6, 1, 8, 8, generator=generator),
        torch.randint(3, (6,), generator=generator),
    )


def graphed(graphs: FakeGraphs) -> GraphedNetwork:
    return filled(GraphedNetwork(model(), LANES, capture=graphs.capture))


def filled(network: GraphedNetwork) -> GraphedNetwork:
    for slot in range(network.size):
        network.put(slot, model(slot))
    return network


def step(network: GraphedNetwork, number: int, slots: list[int]) -> list[Tensor]:
    """Losses, gradients and buffers after a step, of which the gradients move the weights."""
    shared = batch(number)
    losses = network.train_step([shared] * len(slots), slots, CRITERION).losses
    for weight, gradient in zip(network.weights, network.gradients, strict=True):
        weight[slots] -= 0.1 * gradient[slots]
    everything = [losses, *network.gradients, *network.weights, *network.state.held.values()]
    return [each.clone() for each in everything]


def test_replays_train_as_passes_without_graphs_do_to_the_bit() -> None:
    graphs = FakeGraphs()
    network, plain = graphed(graphs), filled(GraphedNetwork(model(), LANES))
    for number in range(6):
        pairs = zip(
            step(network, number, [0, 1, 2, 3]), step(plain, number, [0, 1, 2, 3]), strict=True
        )
        for found, expected in pairs:
            assert torch.equal(found, expected)
    assert (graphs.captured, graphs.replayed) == (1, 6 - WARM_UPS)


def test_lanes_that_do_not_lie_side_by_side_run_without_a_graph() -> None:
    graphs = FakeGraphs()
    network, plain = graphed(graphs), filled(GraphedNetwork(model(), LANES))
    for number in range(5):
        pairs = zip(step(network, number, [0, 2]), step(plain, number, [0, 2]), strict=True)
        for found, expected in pairs:
            assert torch.equal(found, expected)
    assert graphs.captured == 0


def test_other_lanes_other_sizes_and_other_tensors_are_captured_anew() -> None:
    graphs = FakeGraphs()
    network = graphed(graphs)
    for number in range(WARM_UPS + 2):
        step(network, number, [0, 1, 2, 3])
        step(network, number, [1, 2])
    assert graphs.captured == 2
    network.resize(LANES, keep=[0, 1, 2, 3])
    for number in range(WARM_UPS + 1):
        step(network, number, [0, 1, 2, 3])
    assert graphs.captured == 3


def test_no_more_graphs_are_kept_than_memory_is_meant_for() -> None:
    network = filled(GraphedNetwork(model(), 10, capture=FakeGraphs().capture))
    for last in range(2, 12):
        for number in range(WARM_UPS + 1):
            step(network, number, list(range(min(last, 10))))
    assert len(network._graphs) <= MOST_GRAPHS


def test_what_cannot_be_captured_goes_on_without_graphs_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = graphed(FakeGraphs(fault="operation not permitted"))
    plain = filled(GraphedNetwork(model(), LANES))
    with caplog.at_level(logging.WARNING, "evolute"):
        for number in range(WARM_UPS + 3):
            found = step(network, number, [0, 1, 2, 3])
            expected = step(plain, number, [0, 1, 2, 3])
            assert all(map(torch.equal, found, expected))
    assert [record.getMessage() for record in caplog.records] == [
        "plan 'stacked graphed' goes on without CUDA graphs, as a pass could not be captured: "
        "operation not permitted"
    ]


def test_a_model_that_draws_is_never_captured() -> None:
    graphs = FakeGraphs()
    network = graphed(graphs)

    class Stream:
        def active(self) -> AbstractContextManager[None]:
            return torch.random.fork_rng()

    for number in range(WARM_UPS + 2):
        network.train_step([batch(number)] * 2, [0, 1], CRITERION, [Stream()] * 2)
    assert graphs.captured == 0
