"""The loop holds no more than it needs."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from evolute.lanes.criterion import LaneCriterion
from evolute.lanes.loop import LoopNetwork

CLASSES = LaneCriterion(nn.functional.cross_entropy, named_loss="cross_entropy")


def test_one_batch_of_an_evaluation_is_there_at_a_time() -> None:
    made: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(4):
            gc.collect()
            alive.append(sum(each() is not None for each in made))
            inputs = torch.randn(5, 3, 4, 4)
            made.append(weakref.ref(inputs))
            yield inputs, torch.zeros(5, dtype=torch.int64)
            del inputs

    network = LoopNetwork(nn.Sequential(nn.Conv2d(3, 2, 4), nn.Flatten()), 2, channels_last=True)
    first, second = network.evaluate(batches(), [0, 1], CLASSES)
    assert first == second
    assert max(alive) <= 1
    assert all(each.training for each in (network.module(0), network.module(1)))


class Draws(nn.Module):
    """Draws in evaluation mode, other numbers in each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.layer(inputs) + torch.rand(3)
        return output


def test_what_a_lane_draws_in_an_evaluation_does_not_depend_on_the_lanes_beside_it() -> None:
    network = LoopNetwork(Draws(), 3)
    given = [(torch.ones(2, 4), torch.zeros(2, dtype=torch.int64))] * 3
    for slot in range(3):
        torch.manual_seed(0)
        network.put(slot, Draws())
    together = []
    for slots in ([0, 1, 2], [1]):
        torch.manual_seed(1)
        together += network.evaluate(given, slots, CLASSES)
    assert len(set(together)) == 1
